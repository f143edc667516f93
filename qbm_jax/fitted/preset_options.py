"""The options of a fit: what a preset's authors ship, and what is given beside it."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from qbm_jax import samplers
from qbm_jax.model.presets import PRESETS, Parts
from qbm_jax.runtime.options import check, check_mapping, choice, from_dict
from qbm_jax.training import Training, TrainOptions
from qbm_jax.training.unused import SAMPLER, unused

LOGGER = logging.getLogger("qbm_jax")


def choose(
    preset: str,
    model: Mapping[str, Any],
    sampler: str | samplers.Sampler | None,
    sampler_options: Mapping[str, Any] | None,
    training: Mapping[str, Any] | None,
) -> Training:
    """The training of a preset's settings, and before them what is given.

    The log tells what is given and changes nothing.

    Args:
      preset: its name.
      model: given fields of `ModelOptions`.
      sampler: given name, or a built one; None: the preset's, "gibbs" where it has none.
      sampler_options: given options.
      training: given fields of `TrainOptions`.

    Raises:
      InputError: an unknown preset, or options that cannot be used.
    """
    own = PRESETS[check("preset", preset, choice(PRESETS))]
    fields = {} if training is None else check_mapping("training_options", training)
    given = None if sampler_options is None else check_mapping("sampler_options", sampler_options)
    drawn_by = (None if sampler is None else samplers.name_of(sampler), given)
    parts = own.parts(given=Parts(model, fields, drawn_by), published=True)
    name, of_sampler = parts.sampler or drawn_by
    options = from_dict(TrainOptions, "training", parts.training)
    one = Training.of(parts.model, name or "gibbs", of_sampler, options)
    drawn = [] if drawn_by == (None, None) else [SAMPLER]
    _tell_unused(one, [*model, *fields, *drawn])
    return one


def _tell_unused(one: Training, given: Iterable[str]) -> None:
    """Warns, in the log, of options that are given and change nothing beside others."""
    rulings = unused(one)
    for name in given:
        if name in rulings:
            LOGGER.warning("%s is not used beside %s %s", name, *rulings[name])


def for_cells(
    one: Training, preset: str, given: Mapping[str, Any] | None, num_cells: int
) -> Training:
    """The training for the epochs of the preset's authors on so many cells, if none are given."""
    epochs_of = PRESETS[preset].epochs_of
    if epochs_of is None or {"num_epochs", "num_steps"} & set(given or {}):
        return one
    options = dataclasses.replace(one.options, num_epochs=epochs_of(num_cells))
    return dataclasses.replace(one, options=options)
