"""A model in one file: arrays as npz, all else as a sealed JSON document among them; no pickle."""

import inspect
import io
import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.runtime.identity import digest_of, plain
from qbm_jax.runtime.options import shown
from qbm_jax.runtime.sealed import broken_seal, sealed
from qbm_jax.runtime.user_cache import expand_home
from qbm_jax.runtime.whole_file import write_whole
from qbm_jax.samplers.given import UNNAMED

HEADER = "header"
FORMAT = 2


class Saved(ABC):
    """A model that can be saved. Its machines are itself, or those of its layers."""

    def save(self, path: str | Path) -> None:
        """Writes the model to one file (.npz with a sealed header); `load` goes on from it.

        Raises:
          InputError: unfitted, or an optimizer that has no name.
        """
        save(self, _path("path", path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The model of a file that `save` wrote.

        Raises:
          InputError: no such file, a damaged one, or one of another kind of model.
        """
        header, arrays = _read(_path("path", path), {"model": cls.__name__})
        valid = inspect.signature(cls).parameters
        if unknown := sorted(set(header["params"]) - set(valid)):
            raise InputError(
                f"{path} has options that {cls.__name__} has not: {', '.join(unknown)}; load it by "
                "the version that saved it"
            )
        model = cls(**_params(header["params"]))
        _restore(model, header, arrays)
        return model

    @abstractmethod
    def _machines(self) -> list[Any]:
        """The machine itself, or those of the layers."""


def path_of(checkpoint: str | Path | None) -> Path | None:
    """The path of a checkpoint, None for none.

    Raises:
      InputError: it is no path, or there is no such folder.
    """
    if checkpoint is None:
        return None
    path = _path("checkpoint", checkpoint)
    if not path.absolute().parent.is_dir():
        raise InputError(f"checkpoint: there is no folder {path.absolute().parent}")
    return path


def _path(name: str, given: Any) -> Path:
    if not isinstance(given, str | os.PathLike):
        raise InputError(f"{name} must be the path of a file, got {shown(given)}")
    return expand_home(Path(given))


def save(model: Any, path: Path, rows: np.ndarray | None = None) -> None:
    """Writes a trained model.

    Args:
      model: an estimator of this room.
      path: of the file.
      rows: the data [rows, features], where the file is a checkpoint of a training on them.

    Raises:
      InputError: an optimizer that has no name, which no file can hold, or options that have been
        set since and that no model can have.
    """
    model.check_options()
    machines = model._machines()
    for machine in machines:
        machine.check_unchanged()
    arrays: dict[str, np.ndarray] = {}
    for number, machine in enumerate(machines):
        arrays |= {f"{number}_{name}": values for name, values in _state(machine).items()}
    params = params_of(model)
    content = {
        "format": FORMAT,
        "params": params,
        "machines": [_described(machine) for machine in machines],
        "arrays": {name: digest_of(values) for name, values in arrays.items()},
    }
    of = {"model": type(model).__name__} | ({} if rows is None else _data_of(model, rows))
    buffer = io.BytesIO()
    header: Any = np.array(json.dumps(sealed(plain(content), of)))
    np.savez(buffer, allow_pickle=False, **{HEADER: header}, **arrays)
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    samplers.warn_if_given(params.get("negative_phase"))


def _data_of(model: Any, rows: np.ndarray) -> dict[str, str | None]:
    """What tells the data of a training: its rows [rows, features], and how they were scaled."""
    scaling = {name: digest_of(getattr(model, name)) for name in model.scaling_arrays}
    return {"data": digest_of(rows)} | scaling


def _described(machine: Any) -> dict[str, Any]:
    return {
        "params": params_of(machine),
        "history": machine.history_,
        "features": getattr(machine, "feature_names_in_", np.array([])).tolist(),
        "num_features": machine.n_features_in_,
    }


def params_of(model: Any) -> dict[str, Any]:
    """The options as JSON gives them back.

    Raises:
      InputError: an optimizer without a name.
    """
    params = model.get_params(deep=False)
    if "optimizer" in params and not isinstance(params["optimizer"], str):
        raise InputError(
            "expected an optimizer by name in a model that is saved, got one of optax; "
            "name one, such as adam"
        )
    if "negative_phase" in params:
        params["negative_phase"] = samplers.name_of(params["negative_phase"])
    return {name: _listed(value) for name, value in params.items()}


def _listed(value: Any) -> Any:
    value = as_array(value)
    return value.tolist() if isinstance(value, np.ndarray) else value


def as_array(value: Any) -> Any:
    """A mask or pairs of edges as an array, of whatever kind: sparse, a table, JAX's; else itself.

    Tables and JAX's arrays say but a part of themselves where they are large.
    """
    if hasattr(value, "toarray"):
        return value.toarray()
    is_table = hasattr(value, "__array__") and not isinstance(value, np.generic)
    return np.asarray(value) if is_table else value


def _params(params: dict[str, Any]) -> dict[str, Any]:
    """Options from JSON: its lists are masks or pairs of units, or else tuples."""
    kinds = {name: np.array if name == "edges" else tuple for name in params}
    return {n: kinds[n](value) if isinstance(value, list) else value for n, value in params.items()}


def load_into(model: Any, path: Path, rows: np.ndarray) -> None:
    """Puts a checkpoint's state into a model about to train on these rows [rows, features].

    Raises:
      InputError: the file is damaged, or of other options or data.
    """
    header, arrays = _read(path, {"model": type(model).__name__} | _data_of(model, rows))
    mine = plain(params_of(model))
    mine.pop("progress", None)  # a bar changes nothing that is learnt
    if other := [name for name, value in mine.items() if header["params"].get(name) != value]:
        raise InputError(
            f"checkpoint {path} is of another {other[0]} ({header['params'].get(other[0])}, now "
            f"{mine[other[0]]}); name another file"
        )
    _restore(model, header, arrays)


def _read(path: Path, of: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop(HEADER)))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # whatever a damaged file makes the readers of numpy and zip raise
        raise InputError(f"{path} is no saved model, or is damaged") from error
    if reason := broken_seal(header):
        raise InputError(f"{path} {reason}")
    if header["format"] != FORMAT:
        raise InputError(
            f"{path} is of format {header['format']}, not {FORMAT}; fit and save again"
        )
    found = header["seal"]["of"]
    if other := [part for part in of if found.get(part) != plain(of[part])]:
        told = f"{found.get('model')}, not {of['model']}" if other == ["model"] else "other data"
        raise InputError(f"{path} is of {told}; name another file")
    for name, digest in header["arrays"].items():
        if name not in arrays or digest_of(arrays[name]) != digest:
            raise InputError(f"{path} is damaged: its array {name} is another")
    return header, arrays


def _state(machine: Any) -> dict[str, np.ndarray]:
    """Arrays by name: leaves of the learner in order, and what `saved_arrays` names."""
    leaves = jax.tree.leaves(machine.learner_)
    found = {f"learner_{number}": np.asarray(leaf) for number, leaf in enumerate(leaves)}
    return found | {name: np.asarray(getattr(machine, name)) for name in machine.saved_arrays}


def _restore(model: Any, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    described = header["machines"]
    if hasattr(model, "layer_of"):
        model.machines_ = [model.layer_of(_params(each["params"])) for each in described]
        machines = model.machines_
        model.n_features_in_ = int(described[0]["num_features"])
        if described[0]["features"]:
            model.feature_names_in_ = np.array(described[0]["features"], dtype=object)
    else:
        machines = [model]
    for number, (machine, each) in enumerate(zip(machines, described, strict=True)):
        prefix = f"{number}_"
        own = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        machine.n_features_in_ = int(each["num_features"])
        if each["features"]:
            machine.feature_names_in_ = np.array(each["features"], dtype=object)
        if str(machine.negative_phase).startswith(UNNAMED):
            samplers.check_known(machine.negative_phase)
        machine.blank()
        for name in machine.saved_arrays:
            setattr(machine, name, own[name])
        structure: Any = jax.tree.structure(machine.learner_)
        leaves = [jnp.asarray(own[f"learner_{n}"]) for n in range(structure.num_leaves)]
        machine.learner_ = jax.tree.unflatten(structure, leaves)
        machine.history_ = each["history"]
