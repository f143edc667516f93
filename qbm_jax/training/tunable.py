"""The numbers of a training that its compiled program takes as arguments.

Trainings that differ in nothing else share one program: on an accelerator they are rows of one
`vmap`, on a CPU they need one compilation.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax.model.vae import VAE
from qbm_jax.samplers.base import Sampler
from qbm_jax.training.options import TrainOptions

TUNABLE = (
    "learning_rate", "final_learning_rate", "couplings_rate", "gradient_clip", "kl_weight",
)  # fmt: skip
"""Fields of `TrainOptions`."""


class Tunable(NamedTuple):
    """Float32 scalars; the first ones are the fields of `TrainOptions` of the same names.

    Attributes:
      sharpness: of the relaxation; None for the one that the model was built with.
      sampler: options of the sampler by name; None for those that it was built with.
    """

    learning_rate: jax.Array
    final_learning_rate: jax.Array
    couplings_rate: jax.Array
    gradient_clip: jax.Array
    kl_weight: jax.Array
    sharpness: jax.Array | None = None
    sampler: dict[str, jax.Array] | None = None


class Family(NamedTuple):
    """What trainings share whose models and samplers differ in numbers alone.

    Attributes:
      vae: the model of one of them; they differ in the sharpness of the relaxation.
      build_sampler: options that are numbers, by name, to the sampler; the same object for all.
        None where there is no sampler.
    """

    vae: VAE
    build_sampler: Callable[..., Sampler] | None


class Member(NamedTuple):
    """One training of a family.

    Attributes:
      family: which.
      sharpness: its own; None where the model has none, or it is the same for all.
      sampler: its own numbers, by name.
    """

    family: Family
    sharpness: float | None
    sampler: tuple[tuple[str, float], ...]

    def tunable(self, options: TrainOptions) -> Tunable:
        """All its tunable numbers."""
        sampler = {name: jnp.float32(value) for name, value in self.sampler}
        sharpness = None if self.sharpness is None else jnp.float32(self.sharpness)
        return tunable_of(options)._replace(sharpness=sharpness, sampler=sampler or None)


def tunable_of(options: TrainOptions) -> Tunable:
    """The tunable numbers of these options."""
    return Tunable(*(jnp.asarray(getattr(options, name), jnp.float32) for name in TUNABLE))


def untuned(options: TrainOptions) -> TrainOptions:
    """The options with every tunable number at its default: what a compiled program depends on."""
    defaults = {field.name: field.default for field in dataclasses.fields(TrainOptions)}
    return dataclasses.replace(options, **{name: defaults[name] for name in TUNABLE})
