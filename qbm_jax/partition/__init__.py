"""log Z of a Boltzmann machine: enumeration, annealing or tempering; a value with a bracket."""

import inspect
import logging
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCOO

from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.partition.annealing import annealed_importance_sampling
from qbm_jax.partition.enumeration import enumeration
from qbm_jax.partition.estimate import LogZ
from qbm_jax.partition.tempering import tempered_acceptance_ratio
from qbm_jax.runtime.options import check, positive

logger = logging.getLogger(__name__)

FIXED_ARGUMENTS = ("key", "params")
METHODS: dict[str, Callable[..., LogZ]] = {
    "exact": enumeration,
    "ais": annealed_importance_sampling,
    "bar": tempered_acceptance_ratio,
}

__all__ = [
    "METHODS",
    "LogZ",
    "annealed_importance_sampling",
    "enumeration",
    "log_z",
    "tempered_acceptance_ratio",
]


def log_z(
    key: jax.Array,
    params: Boltzmann,
    method: str = "ais",
    *,
    max_bracket: float = 1.0,
    **options: Any,
) -> LogZ:
    """Log Z of `params` by the named method. Consumes the key.

    Args:
      key: not used by "exact".
      params: the machine, concrete arrays; a sparse J is made dense.
      method: a name in `METHODS`. "exact": at most 24 spins, or a restricted machine with at most
        24 spins on one side. "ais": annealing from a product law, for machines that mix at all
        temperatures or nearly so. "bar": tempering, for those that do not.
      max_bracket: the widest bracket, in nats, that is trusted, whichever of its ends is above.
        Beyond it the log has a warning, value and standard error are NaN, and the forward and
        reverse estimates are kept.
      **options: of the method's function.

    Raises:
      InputError: the method or an option is unknown, the machine is invalid or has too many spins
        for "exact", a count is below 1, or the target spins have the wrong shape.
    """
    if method not in tuple(METHODS):
        raise InputError(f"unknown log Z method {method!r}; choose from {', '.join(METHODS)}")
    function = METHODS[method]
    valid = [name for name in inspect.signature(function).parameters if name not in FIXED_ARGUMENTS]
    unknown = sorted(set(options) - set(valid))
    if unknown:
        raise InputError(f"expected options of log Z method {method} in {valid}, got {unknown}")
    max_bracket = check("max_bracket", max_bracket, positive())
    params = boltzmann.check(params)
    if isinstance(params.J, BCOO):
        params = params.replace(J=params.J.todense())
    result = function(key, params, **options)
    if abs(float(result.bracket)) <= max_bracket:
        return result
    cause, remedy = "", "more temperatures or method bar"
    if result.bracket < 0:  # in expectation the reverse estimate is above, of chains of the law
        cause = ": the chains behind the reverse one are not at the machine's law"
        remedy = "more num_equilibration or method bar"
    logger.warning(
        "log Z is not known: its bracket is %.2f nats wide (forward %.2f, reverse %.2f), more than "
        "%.2f%s; use %s",
        *(abs(float(result.bracket)), result.forward, result.reverse, max_bracket, cause),
        remedy if method == "ais" else "more steps, burn_in or chains",
    )
    nan = jnp.full_like(result.forward, jnp.nan)
    return result._replace(value=nan, standard_error=nan)
