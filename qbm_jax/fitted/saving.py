"""A model to a folder and back: settings, parameters and history, which have to fit together."""

import dataclasses
import os
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax import samplers
from qbm_jax.data.names import some
from qbm_jax.errors import InputError
from qbm_jax.fitted.document import Model
from qbm_jax.fitted.history import History
from qbm_jax.fitted.settings import Settings, as_tuples, build_model, check_settings
from qbm_jax.model.vae import Params
from qbm_jax.runtime import saved_model
from qbm_jax.runtime.identity import digest_names
from qbm_jax.runtime.saved_model import SETTINGS_FILE
from qbm_jax.runtime.user_cache import expand_home
from qbm_jax.runtime.versions import of_another, own_version, versions
from qbm_jax.training.checkpoint import first_difference
from qbm_jax.training.sharding import host_copy

_HISTORY = "history"  # beside the parameters, in the file of arrays
_VERSIONS, _GENES_SUM = "versions", "genes_digest"  # beside the settings, in `model.json`


def save(model: Model, path: str | Path, *, overwrite: bool = False) -> None:
    """Writes the model, with its history and the versions of what made it, to a folder.

    Whatever goes wrong, the folder holds the earlier model whole, or this one; see
    `saved_model`. A sampler of the user's own is not in it, of which a warning tells.

    Args:
      model: the fitted model.
      path: the folder.
      overwrite: whether a model that was saved there before is replaced.

    Raises:
      InputError: the folder has a model already, settings that could not be loaded again, a
        folder with other files in it, or one that cannot be written.
    """
    folder = expand_home(path)
    if not overwrite and os.path.isfile(folder / SETTINGS_FILE):
        raise InputError(
            f"{folder} has a saved model already; choose another folder, or give "
            f"overwrite=True to replace it"
        )
    check_settings(model.settings)
    _check(model.settings, saved_model.by_path(model.params))
    history = {} if model.measured is None else {_HISTORY: model.measured.as_tree()}
    made_by = {_VERSIONS: versions(), _GENES_SUM: digest_names(model.settings.genes)}
    fields = dataclasses.asdict(model.settings) | made_by
    saved_model.write(folder, fields, host_copy({**model.params, **history}), "genes")
    samplers.warn_if_given(model.settings.sampler)


def read(folder: Path) -> tuple[Settings, Params, History | None]:
    """Settings, parameters and history of the model that `save` wrote to a folder.

    Raises:
      InputError: there is no such model or no sound one.
    """
    fields, arrays = saved_model.read(folder, ("genes", "model"))
    history = saved_model.taken(arrays, _HISTORY)
    file = folder / SETTINGS_FILE
    if theirs := of_another(fields.pop(_VERSIONS, None) or {}):
        warnings.warn(
            f"{folder} was saved by qbm_jax {theirs}, this is {own_version()}: numbers may differ",
            stacklevel=3,
        )
    genes_sum = fields.pop(_GENES_SUM, None)
    if unknown := sorted(fields.keys() - {field.name for field in dataclasses.fields(Settings)}):
        raise InputError(
            f"{file} has settings that qbm_jax {own_version()} does not know: {some(unknown)}; "
            f"load it with {f'qbm_jax {theirs}' if theirs else 'the version that saved it'}"
        )
    try:
        settings = Settings(**{name: as_tuples(value) for name, value in fields.items()})
        check_settings(settings)
        if genes_sum not in (None, digest_names(settings.genes)):
            raise InputError("its genes are not those that it was saved with")
        _check(settings, arrays)
    except InputError as error:
        raise InputError(f"{file} cannot be used: {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged; save the model again") from error
    kept = None if history is None else History.from_tree(history)
    return settings, _as_tree(settings, arrays), kept


def _check(settings: Settings, arrays: dict[str, Any]) -> None:
    """Raises an InputError if an array, by its path, is missing, of another shape or too many."""
    expected, found = (
        {path: [str(leaf.dtype), list(leaf.shape)] for path, leaf in each.items()}
        for each in (saved_model.by_path(_template(settings)), arrays)
    )
    difference = first_difference(expected, found)
    if difference is not None:
        raise InputError(f"the parameters do not fit the model's options ({difference})")


def _as_tree(settings: Settings, arrays: dict[str, np.ndarray]) -> Params:
    """Arrays by their paths as the tree of the model's parameters."""
    template = _template(settings)
    leaves = [jnp.array(arrays[path]) for path in saved_model.by_path(template)]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _template(settings: Settings) -> Params:
    """Shapes of the model's parameters, without values."""
    return jax.eval_shape(build_model(settings).init, jax.random.key(0))
