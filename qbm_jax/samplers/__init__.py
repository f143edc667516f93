"""Samplers of the Boltzmann machine, one protocol, chosen by name."""

import inspect
from typing import Any

from qbm_jax.errors import InputError
from qbm_jax.samplers.auxiliary_cim import auxiliary_cim
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.cim import cim
from qbm_jax.samplers.exact import exact
from qbm_jax.samplers.gibbs import gibbs

SAMPLERS = {
    "exact": exact,
    "gibbs": gibbs,
    "auxiliary_cim": auxiliary_cim,
    "cim": cim,
}


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
