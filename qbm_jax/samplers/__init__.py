"""Samplers of the Boltzmann machine, one protocol, chosen by name."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax

from qbm_jax.errors import InputError
from qbm_jax.runtime import options as kinds
from qbm_jax.samplers.annealing import annealing
from qbm_jax.samplers.auxiliary_cim import auxiliary_cim
from qbm_jax.samplers.auxiliary_langevin import auxiliary_langevin
from qbm_jax.samplers.base import Sampler, check_draw
from qbm_jax.samplers.bifurcation import bifurcation
from qbm_jax.samplers.cim.amplitude_control import cac, cfc
from qbm_jax.samplers.cim.anneal import cim
from qbm_jax.samplers.exact import exact
from qbm_jax.samplers.gibbs import gibbs
from qbm_jax.samplers.ground_states import optimising
from qbm_jax.samplers.metropolis_cim import metropolis_cim
from qbm_jax.samplers.noisy_analog import noisy_analog
from qbm_jax.samplers.tempering import KERNELS, tempering

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "exact": exact,
    "gibbs": gibbs,
    "auxiliary_cim": auxiliary_cim,
    "auxiliary_langevin": auxiliary_langevin,
    "metropolis_cim": metropolis_cim,
    "tempering": tempering,
    "cim": cim,
    "cac": cac,
    "cfc": cfc,
    "noisy_analog": noisy_analog,
    "bifurcation": bifurcation,
    "annealing": annealing,
}

__all__ = [
    "KERNELS", "SAMPLERS", "Sampler", "build", "check_draw", "check_options", "optimising",
    "traceable",
]  # fmt: skip


def traceable(name: str) -> tuple[str, ...]:
    """Options of a sampler that may be traced arrays, so that one program takes any of them."""
    parameters = inspect.signature(SAMPLERS[name]).parameters.values()
    arrays = [p.name for p in parameters if jax.Array in getattr(p.annotation, "__args__", ())]
    return tuple(arrays)


def build(name: str, **options: Any) -> Sampler:
    """The sampler called `name` with its options, which its factory documents.

    Raises:
      InputError: an unknown name or option (the message lists the valid ones), or an option out of
        its range.
    """
    checked = check_options(name, options)
    return SAMPLERS[name](**checked)


def check_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of the sampler called `name` as plain values; traced ones as they are.

    Raises:
      InputError: an unknown name or option, or a value of another kind than the option's; ranges
        are checked by `build`.
    """
    if not isinstance(name, str) or name not in SAMPLERS:
        raise InputError(f"expected a sampler name in {sorted(SAMPLERS)}, got {kinds.shown(name)}")
    options, valid = kinds.check_mapping("sampler_options", options), _kinds(name)
    unknown = sorted(set(options) - set(valid))
    if unknown:
        raise InputError(f"expected options of sampler {name} in {list(valid)}, got {unknown}")
    return kinds.check_all(options, valid)


@functools.cache
def _kinds(name: str) -> dict[str, kinds.Kind]:
    return kinds.kinds_of(SAMPLERS[name])
