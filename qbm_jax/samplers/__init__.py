"""Samplers of the Boltzmann machine, one protocol, chosen by name."""

from typing import Any

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import (
    check_all,
    check_mapping,
    field_kinds,
    shown,
    traceable_fields,
)
from qbm_jax.samplers.base import Sampler, check_draw
from qbm_jax.samplers.registry import SAMPLERS, SamplerEntry
from qbm_jax.samplers.replicas import KERNELS

__all__ = [
    "KERNELS",
    "SAMPLERS",
    "Sampler",
    "SamplerEntry",
    "build",
    "check_draw",
    "check_options",
    "negative_phase",
    "optimising",
    "traceable",
]  # fmt: skip


def traceable(name: str) -> tuple[str, ...]:
    """Options of a sampler that may be traced arrays, so that one program takes any of them.

    Raises:
      InputError: no sampler has this name.
    """
    check_options(name, {})
    return traceable_fields(SAMPLERS[name].options)


def build(name: str, **options: Any) -> Sampler:
    """The sampler called `name` with its options, which `SamplerEntry.options` documents.

    Raises:
      InputError: an unknown name or option (the message lists the valid ones), or an option out of
        its range.
    """
    checked = check_options(name, options)
    return SAMPLERS[name](**checked)


def check_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of the sampler called `name` as plain values; traced ones as they are.

    Raises:
      InputError: an unknown name or option, or a value out of its range; whether values go together
        is checked by `build`.
    """
    if not isinstance(name, str) or name not in SAMPLERS:
        raise InputError(f"expected a sampler name in {sorted(SAMPLERS)}, got {shown(name)}")
    options, valid = check_mapping("sampler_options", options), field_kinds(SAMPLERS[name].options)
    unknown = sorted(set(options) - set(valid))
    if unknown:
        raise InputError(f"expected options of sampler {name} in {list(valid)}, got {unknown}")
    return check_all(options, valid)


def negative_phase() -> dict[str, dict[str, Any]]:
    """Options in the negative phase of a training, of every sampler by name."""
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
