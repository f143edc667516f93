"""Samplers of the Boltzmann machine, one protocol, chosen by name."""

from typing import Any

import jax

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.runtime.options import (
    check_all,
    check_mapping,
    field_kinds,
    traceable_fields,
)
from qbm_jax.samplers.base import Sampler, check_draw
from qbm_jax.samplers.devices import DEVICES, DeviceError, build_device, device_errors
from qbm_jax.samplers.given import GIVEN, check_known, name_of, register, warn_if_given
from qbm_jax.samplers.registry import SAMPLERS, SamplerEntry
from qbm_jax.samplers.replicas import KERNELS
from qbm_jax.samplers.running import SamplerRun, run_sampler

__all__ = [
    "DEVICES",
    "GIVEN",
    "KERNELS",
    "SAMPLERS",
    "DeviceError",
    "Sampler",
    "SamplerEntry",
    "SamplerRun",
    "build",
    "check_draw",
    "check_options",
    "device_errors",
    "name_of",
    "negative_phase",
    "optimising",
    "register",
    "run",
    "traceable",
    "warn_if_given",
]  # fmt: skip


def traceable(name: str) -> tuple[str, ...]:
    """Options of a sampler that may be traced arrays, so that one program takes any of them.

    Raises:
      InputError: no sampler has this name.
    """
    check_options(name, {})
    return () if name in GIVEN else traceable_fields(SAMPLERS[name].options)


def build(name: str | Sampler, **options: Any) -> Sampler:
    """The sampler called `name` with its options, which `SamplerEntry.options` documents.

    No sampler has an option for the temperature: J and h are in units of kT, so a machine at
    another one is another machine, `boltzmann.scale(params, beta)` at beta = 1/T. Only `annealing`
    and `tempering` have temperatures, those on their way to the machine's own.

    Args:
      name: in `SAMPLERS`; or in `DEVICES`, see `devices.build_device`; or of one that was given to
        `register`; or a sampler that is built, which is given back as it is.
      **options: of the sampler called by name.

    Raises:
      InputError: an unknown name or option (the message lists the valid ones), an option out of
        its range, or options for a sampler that is built.
    """
    if isinstance(name, str) and name in DEVICES:
        return build_device(name, options)
    if isinstance(name, Sampler):
        _check_none(options)
        return name
    checked = check_options(name, options)
    return GIVEN[name] if name in GIVEN else SAMPLERS[name](**checked)


def run(
    key: jax.Array,
    sampler: str | Sampler,
    params: Boltzmann,
    /,  # a device has an option called sampler
    num_draws: int = 1000,
    num_chains: int = 16,
    burn_in: int = 0,
    thin: int = 1,
    **options: Any,
) -> SamplerRun:
    """Runs chains of a sampler and says how well they mixed and at which temperature they drew.

    For another temperature T run `boltzmann.scale(params, 1 / T)`.

    Args:
      key: consumed.
      sampler: a name with its options, or a `Sampler`, as `build` takes them.
      params: the machine.
      num_draws: kept of each chain; from 4 on mixing is measured.
      num_chains: independent ones.
      burn_in: draws of each chain that are left out first.
      thin: draws of a chain for one that is kept.
      **options: of a sampler by name.

    Raises:
      InputError: what `build` and the sampler's `init` raise, or a draw that is not finite.
    """
    return run_sampler(key, build(sampler, **options), params, num_draws, num_chains, burn_in, thin)


def check_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of the sampler called `name` as plain values; traced ones as they are.

    Raises:
      InputError: an unknown name or option, or a value out of its range; whether values go together
        is checked by `build`.
    """
    check_known(name)
    options = check_mapping("sampler_options", options)
    if name in GIVEN:
        _check_none(options)
        return {}
    valid = field_kinds(SAMPLERS[name].options)
    unknown = sorted(set(options) - set(valid))
    if unknown:
        advice = "; for another temperature, scale J and h by 1/T" * ("temperature" in unknown)
        raise InputError(
            f"expected options of sampler {name} in {list(valid)}, got {unknown}{advice}"
        )
    return check_all(options, valid)


def _check_none(options: dict[str, Any]) -> None:
    if options:
        raise InputError(f"a sampler that is built takes no more options, got {sorted(options)}")


def negative_phase() -> dict[str, dict[str, Any]]:
    """Options in the negative phase of a training, of every sampler of `SAMPLERS` by name."""
    return {name: dict(entry.negative_phase) for name, entry in SAMPLERS.items()}


def optimising(name: str, **variant: str) -> dict[str, Any]:
    """Options with which a sampler looks for ground states, for `samplers.build(name, **options)`.

    They work for couplings of any scale, with or without a mean: temperatures are lost, and the
    law of the draws means nothing.

    Args:
      name: a sampler that can optimise.
      **variant: `variant="discrete"` and the like (or `kind=`), for samplers that have variants.

    Raises:
      InputError: an unknown name or variant, or a sampler that only draws at its own temperature.
    """
    able = {known: entry.ground_states for known, entry in SAMPLERS.items() if entry.ground_states}
    if name not in tuple(able):
        raise InputError(
            f"expected a sampler that looks for ground states, {sorted(able)}, got {name!r}"
        )
    variants = able[name]
    unknown = sorted(set(variant) - {"variant", "kind"})
    if unknown or len(variant) > 1:
        raise InputError(f"expected variant alone for sampler {name}, got {sorted(variant)}")
    chosen = next(iter(variant.values()), next(iter(variants)))
    if chosen not in tuple(variants):
        valid = [known for known in variants if known is not None]
        if not valid:
            raise InputError(f"sampler {name} has no variants to choose from, got {chosen!r}")
        raise InputError(f"expected a variant of sampler {name} in {valid}, got {chosen!r}")
    return dict(variants[chosen])
