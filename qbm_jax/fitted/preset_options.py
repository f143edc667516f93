"""The options of a fit: what a preset's authors ship, and what is given beside it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from qbm_jax import samplers
from qbm_jax.model import priors
from qbm_jax.model.options import ModelOptions, check_options
from qbm_jax.model.presets import PRESETS, Parts
from qbm_jax.runtime.options import check, check_mapping, choice, from_dict
from qbm_jax.training import TrainOptions


class Chosen(NamedTuple):
    """What is trained.

    Attributes:
      model: fields of `ModelOptions`.
      sampler: name of the sampler of the negative phase.
      sampler_options: its options; None: those that suit a negative phase.
      options: how to train.
    """

    model: dict[str, Any]
    sampler: str
    sampler_options: Mapping[str, Any] | None
    options: TrainOptions

    @property
    def has_bound(self) -> bool:
        """Whether the numbers of its validation are bounds, see `priors.has_bounds`."""
        relaxation = self.model.get("relaxation", ModelOptions.relaxation)
        return priors.has_bounds(self.model.get("prior", ModelOptions.prior), relaxation)


def choose(
    preset: str,
    model: Mapping[str, Any],
    sampler: str | samplers.Sampler | None,
    sampler_options: Mapping[str, Any] | None,
    training: Mapping[str, Any] | None,
) -> Chosen:
    """A preset's settings, and before them what is given.

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
    check_options(dict(parts.model))
    options = from_dict(TrainOptions, "training", parts.training)
    name, of_sampler = parts.sampler or drawn_by
    name = "gibbs" if name is None else name
    samplers.check_options(name, dict(of_sampler or {}))
    return Chosen(dict(parts.model), name, of_sampler, options)


def for_cells(
    options: TrainOptions, preset: str, training: Mapping[str, Any] | None, num_cells: int
) -> TrainOptions:
    """The options with the epochs that the preset's authors train on so many cells."""
    epochs_of = PRESETS[preset].epochs_of
    if epochs_of is None or {"num_epochs", "num_steps"} & set(training or {}):
        return options
    return dataclasses.replace(options, num_epochs=epochs_of(num_cells))
