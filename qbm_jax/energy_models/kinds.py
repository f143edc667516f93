"""Kinds of options that energy-based models alone have."""

import dataclasses
from typing import Any

import optax

from qbm_jax import samplers
from qbm_jax.energy_models.learning import OPTIMIZERS
from qbm_jax.energy_models.phases import OWN
from qbm_jax.runtime.options import (
    Kind,
    check_mapping,
    choice,
    optional,
)
from qbm_jax.samplers import SAMPLERS


def optimizer() -> Kind:
    """A name of `OPTIMIZERS`, or a transformation of optax."""
    named = choice(OPTIMIZERS)

    def read(value: Any) -> Any:
        return value if isinstance(value, optax.GradientTransformation) else named.read(value)

    return Kind(f"{', '.join(OPTIMIZERS)}, or a transformation of optax", read)


def negative_phase() -> Kind:
    """The name of a negative phase, or a built sampler."""

    def read(value: Any) -> str:
        name = samplers.name_of(value)
        return choice((*OWN, *SAMPLERS, *samplers.GIVEN)).read(name)

    named = choice((*OWN, *SAMPLERS))
    return dataclasses.replace(named, says=f"{named.says}, or a built Sampler", read=read)


def sampler_options() -> Kind:
    """Options of a sampler by name, or None."""
    return optional(Kind("a dict", lambda value: check_mapping("sampler_options", value)))
