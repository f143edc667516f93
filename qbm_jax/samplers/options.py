"""How a sampler's options are born, and those that several samplers share.

The options of a sampler are one frozen dataclass. What it inherits from here says which wrappers
the sampler takes, see `wrappers.composed`.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

import jax

from qbm_jax.errors import InputError
from qbm_jax.machine import couplings
from qbm_jax.runtime.options import (
    Kind,
    check_fields,
    choice,
    field,
    flag,
    fraction,
    optional,
    traceable,
    whole,
)
from qbm_jax.samplers.numerics.noise import GENERATORS, LAWS

Number = jax.Array | float


def number(
    default: float | None, kind: Kind, meaning: str, *, unit: str = "", source: str = ""
) -> Any:
    """A field for a number that may be a traced array, so that one program takes any of them."""
    kind = traceable(kind)
    kind = optional(kind) if default is None else kind
    return field(default, kind, meaning, unit=unit, traceable=True, source=source)


def count(default: int, meaning: str, least: int = 1, *, source: str = "") -> Any:
    """A field for a whole number."""
    return field(default, whole(least), meaning, source=source)


def chosen(default: str, names: Collection[str], meaning: str, *, source: str = "") -> Any:
    """A field for one of some names."""
    return field(default, choice(names), meaning, source=source)


def generator() -> Any:
    """A field for what makes the noise of steps."""
    return field(
        None,
        optional(choice(GENERATORS)),
        "makes the noise of steps; None: the key's own",
        source="threefry: Salmon et al. 2011, SC'11",
    )


def noise_law() -> Any:
    """A field for the law of the noise of an SDE's step."""
    return chosen("normal", LAWS, "law of the noise of a step, of mean 0 and variance 1")


@dataclasses.dataclass(frozen=True)
class SamplerOptions:
    """The options of one sampler."""

    def __post_init__(self) -> None:
        """Checks every field by its kind, keeps plain values, and checks that they go together.

        Raises:
          InputError: a value out of its range, or at odds with another.
        """
        check_fields(self)
        self.check()

    def check(self) -> None:
        """Raises InputError where values are at odds with each other; of most samplers none are."""


@dataclasses.dataclass(frozen=True)
class Generator(SamplerOptions):
    """The generator of samplers that `generated` wraps."""

    noise_generator: str | None = generator()


@dataclasses.dataclass(frozen=True)
class Products(SamplerOptions):
    """The type of the products with J, which may be in fewer bits, see `couplings.reduced`."""

    couplings_dtype: str = chosen("float32", couplings.DTYPES, "of the products with J")


@dataclasses.dataclass(frozen=True)
class Calibration(SamplerOptions):
    """The options of `calibrated`; with a gain of 0 the machine is as it is.

    Finishing sweeps are Gibbs' at the machine's temperature; if normalised, rounds of a descent at
    T = 0.
    """

    calibration_gain: float = field(0.3, fraction(), "share of log beta_eff that a draw mends")
    finishing_sweeps: int = count(0, "sweeps from the machine's spins, in a draw alone", 0)

    @property
    def calibrates(self) -> bool:
        """Whether the machine is calibrated at all, be it with a gain of 0."""
        return True


@dataclasses.dataclass(frozen=True)
class Normalised(Calibration):
    """The units of samplers that look for ground states, in units of each spin's typical field.

    Defaults then work at any N, any scale of J and with a mean (`conditioning`); the temperature is
    lost.
    """

    normalised: bool = field(False, flag(), "fields in units of the typical one: to optimise")

    def check(self) -> None:
        """Normalised parameters have no temperature that a calibration could reach."""
        if self.normalised and self.calibration_gain != 0:
            raise InputError(
                "calibration_gain must be 0 with normalised parameters, which have no temperature, "
                f"got {self.calibration_gain}"
            )


FIELDS = ("scaled", "gauge_spin")  # h scaled by the rms amplitude, or as couplings to a spin more


@dataclasses.dataclass(frozen=True)
class Amplitudes(Normalised, Products, Generator):
    """The amplitudes of samplers whose spins are their signs; these may have no fields."""

    fields: str = chosen("scaled", FIELDS, "how h reaches the machine")
    noise_law: str = noise_law()
