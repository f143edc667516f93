"""The options with which each sampler looks for ground states; their one birthplace."""

from collections.abc import Mapping
from typing import Any

from qbm_jax.errors import InputError
from qbm_jax.samplers.annealing import OPTIMISING as ANNEALING
from qbm_jax.samplers.bifurcation import OPTIMISING as BIFURCATION
from qbm_jax.samplers.cim.amplitude_control import OPTIMISING as AMPLITUDE_CONTROL
from qbm_jax.samplers.cim.anneal import OPTIMISING as CIM
from qbm_jax.samplers.noisy_analog import OPTIMISING as NOISY_ANALOG
from qbm_jax.samplers.tempering import OPTIMISING as TEMPERING

# By sampler, then by variant; the first variant is the default, None where there is but one.
SETS: dict[str, Mapping[Any, Mapping[str, Any]]] = {
    "annealing": {None: ANNEALING},
    "bifurcation": BIFURCATION,
    "cac": {None: AMPLITUDE_CONTROL["cac"]},
    "cfc": {None: AMPLITUDE_CONTROL["cfc"]},
    "cim": CIM,
    "noisy_analog": {None: NOISY_ANALOG},
    "tempering": {None: TEMPERING},
}


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
    if name not in tuple(SETS):
        raise InputError(
            f"expected a sampler that looks for ground states, {sorted(SETS)}, got {name!r}"
        )
    variants = SETS[name]
    unknown = sorted(set(variant) - {"variant", "kind"})
    if unknown or len(variant) > 1:
        raise InputError(f"expected variant alone for sampler {name}, got {sorted(variant)}")
    chosen = next(iter(variant.values()), next(iter(variants)))
    if chosen not in tuple(variants):
        valid = [known for known in variants if known is not None]
        raise InputError(f"expected a variant of sampler {name} in {valid}, got {chosen!r}")
    return dict(variants[chosen])
