"""Samplers of the Boltzmann machine, one protocol, chosen by name."""

import inspect
from typing import Any

import jax

from qbm_jax.errors import InputError
from qbm_jax.samplers.amplitude_control import cac, cfc
from qbm_jax.samplers.annealing import annealing
from qbm_jax.samplers.auxiliary_cim import auxiliary_cim
from qbm_jax.samplers.auxiliary_langevin import auxiliary_langevin
from qbm_jax.samplers.base import Sampler, check_draw
from qbm_jax.samplers.bifurcation import bifurcation
from qbm_jax.samplers.cim import cim
from qbm_jax.samplers.exact import exact
from qbm_jax.samplers.gibbs import gibbs
from qbm_jax.samplers.ground_states import optimising
from qbm_jax.samplers.metropolis_cim import metropolis_cim
from qbm_jax.samplers.noisy_analog import noisy_analog
from qbm_jax.samplers.tempering import KERNELS, tempering

SAMPLERS = {
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

__all__ = ["KERNELS", "SAMPLERS", "Sampler", "build", "check_draw", "optimising", "traceable"]


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
    if name not in SAMPLERS:
        raise InputError(f"expected a sampler name in {sorted(SAMPLERS)}, got {name!r}")
    valid = list(inspect.signature(SAMPLERS[name]).parameters)
    unknown = sorted(set(options) - set(valid))
    if unknown:
        raise InputError(f"expected options of sampler {name} in {valid}, got {unknown}")
    return SAMPLERS[name](**options)
