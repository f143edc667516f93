"""Samplers that somebody built, by name: what is trained and saved is told by names."""

import uuid
import warnings

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import shown
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.devices import DEVICES
from qbm_jax.samplers.registry import SAMPLERS

GIVEN: dict[str, Sampler] = {}
"""Those of this process. A name keeps its sampler, for programs are found again by names."""

UNNAMED = "object-"  # begins the name of one that nobody named; no two processes share it


def register(name: str, sampler: Sampler) -> str:
    """Gives a sampler a name, which in this process then stands where a negative phase is named.

    Whoever loads a model that was trained with it registers an equal sampler by the same name
    first. A sampler that is given without a name gets one, `object-...`, of this process alone.

    Args:
      name: of no other sampler.
      sampler: what the name stands for.

    Returns:
      The name.

    Raises:
      InputError: not a `Sampler`, or a name that another one has.

    Example:
      >>> samplers.register("mine", samplers.build("gibbs", num_steps=5))
      >>> qbm_jax.fit(adata, sampler="mine")
    """
    if not isinstance(sampler, Sampler):
        raise InputError(f"expected a Sampler to register, got {shown(sampler)}")
    if not isinstance(name, str) or not name or name in {*SAMPLERS, *DEVICES}:
        raise InputError(f"expected a name that no sampler has, got {shown(name)}")
    if GIVEN.setdefault(name, sampler) != sampler:
        raise InputError(
            f"{name} is the name of another sampler in this process; choose a new name"
        )
    return name


def name_of(sampler: str | Sampler) -> str:
    """The name of a sampler; one that is built, and that nobody registered, gets one."""
    if not isinstance(sampler, Sampler):
        return sampler
    known = (name for name, each in GIVEN.items() if each == sampler)
    return next(known, None) or register(f"{UNNAMED}{uuid.uuid4().hex[:8]}", sampler)


def warn_if_given(name: str | None) -> None:
    """Warns whoever called to save a model that its sampler, by name, is not in the file."""
    if name in GIVEN:
        warnings.warn(
            f"sampler {name} is no part of what was saved; to load the model in another process, "
            f"first build an equal one and call qbm_jax.samplers.register({name!r}, sampler)",
            stacklevel=3,
        )


def check_known(name: object) -> None:
    """Raises InputError for a name of no sampler; of one that is missing, says how to bring it."""
    if isinstance(name, str) and name in {*SAMPLERS, *GIVEN}:
        return
    if isinstance(name, str) and name.startswith(UNNAMED):
        raise InputError(
            f"sampler {name} was an object of another process; build one that draws as it did, and "
            f"call qbm_jax.samplers.register({name!r}, sampler) first"
        )
    raise InputError(
        f"expected a sampler name in {sorted([*SAMPLERS, *GIVEN])}, got {shown(name)}; one of your "
        f"own gets its name by qbm_jax.samplers.register"
    )
