"""log Z of a Boltzmann machine: enumeration, or annealed importance sampling with a bracket.

Annealed importance sampling (Neal, Statistics and Computing 11, 2001) runs chains through machines
between a product law of known log Z and the target, with fields (1 - beta) h0 + beta h and
couplings beta J. With U(s) = E_0(s) - E(s), a forward path s_0 ... s_{K-1}, s_k sampled at
beta = k/K, has log weight x = (1/K) sum_k U(s_k) and E[exp(x)] = Z / Z_0. The reverse path starts
from the target, uses the same betas and the time-reversed transitions downwards, and has
E[exp(-x)] = Z_0 / Z. By Jensen's inequality the forward estimate is too low and the reverse one
too high in expectation: they bracket log Z. Since the two laws of x differ by the factor
exp(x) Z_0 / Z (Crooks, 1999), both sets of paths together give the estimate of least variance
(Bennett, J. Comput. Phys. 22, 1976; maximum likelihood by Shirts et al., PRL 91, 140601, 2003).
"""

import inspect
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax import boltzmann
from qbm_jax.boltzmann import Boltzmann
from qbm_jax.errors import InputError
from qbm_jax.samplers import build as build_sampler
from qbm_jax.samplers.base import check_count, check_positive
from qbm_jax.samplers.exact import log_weights
from qbm_jax.samplers.gibbs import GibbsState

logger = logging.getLogger(__name__)

LARGEST_BASE_MEAN = 0.999  # of a spin under the product law, so that its field stays finite
BISECTIONS = 40  # of the interval of all log weights: 1e-12 of its width


class LogZ(NamedTuple):
    """An estimate of log Z in nats; scalars. By enumeration all three agree, with no error.

    Attributes:
      value: the estimate to use.
      standard_error: of `value`, from the spread between paths. It cannot see a region that no
        path visits; a bracket much wider than this error is the sign of one.
      forward: estimate from the product law upwards, too low in expectation.
      forward_standard_error: its standard error (delta method).
      reverse: estimate from the target downwards, too high in expectation.
      reverse_standard_error: its standard error (delta method).
    """

    value: jax.Array
    standard_error: jax.Array
    forward: jax.Array
    forward_standard_error: jax.Array
    reverse: jax.Array
    reverse_standard_error: jax.Array

    @property
    def bracket(self) -> jax.Array:
        """Reverse minus forward estimate, in nats; near 0 when the annealing is slow enough."""
        return self.reverse - self.forward


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
      params: the machine, concrete arrays.
      method: a name in `METHODS`: "exact" (at most 24 spins) or "ais".
      max_bracket: a wider bracket, in nats, is a warning in the log.
      **options: of the method's function.

    Raises:
      InputError: unknown method or option, invalid machine, too many spins for "exact", a count
        below 1, or target spins of the wrong shape.
    """
    if method not in METHODS:
        raise InputError(f"unknown log Z method {method!r}; choose from {', '.join(METHODS)}")
    function = METHODS[method]
    valid = [name for name in inspect.signature(function).parameters if name not in FIXED_ARGUMENTS]
    unknown = sorted(set(options) - set(valid))
    if unknown:
        raise InputError(f"expected options of log Z method {method} in {valid}, got {unknown}")
    check_positive(max_bracket=max_bracket)
    result = function(key, boltzmann.check(params), **options)
    if result.bracket > max_bracket:
        logger.warning(
            "log Z bracket is %.2f nats wide (forward %.2f, reverse %.2f); use more temperatures",
            *(result.bracket, result.forward, result.reverse),
        )
    return result


def enumeration(key: jax.Array, params: Boltzmann) -> LogZ:
    """Log Z as the sum over all 2^N states, for at most 24 spins; the key is not used.

    Raises:
      InputError: more than 24 spins.
    """
    del key
    weights = log_weights(params)
    # In two levels: one float32 sum of 2^24 terms would lose digits.
    rows = weights.reshape(2 ** (params.num_spins // 2), -1)
    value = jax.nn.logsumexp(jax.nn.logsumexp(rows, axis=1))
    zero = jnp.zeros_like(value)
    return LogZ(value, zero, value, zero, value, zero)


def annealed_importance_sampling(
    key: jax.Array,
    params: Boltzmann,
    *,
    num_temperatures: int = 1000,
    num_chains: int = 128,
    num_equilibration: int = 500,
    target_spins: jax.Array | None = None,
) -> LogZ:
    """Log Z by forward and reverse annealing with Gibbs sweeps, combined by acceptance ratio.

    Pure, so that it can be transformed; one compilation for each number of spins and options.

    Args:
      key: for all draws.
      params: the machine.
      num_temperatures: equal steps of beta from the product law to the target.
      num_chains: forward paths, and as many reverse paths; not used with `target_spins`.
      num_equilibration: sweeps at the target before the annealing. Their second half fits the
        product law to the mean spins; with `target_spins` they also precede the reverse paths.
      target_spins: [chains, spins] in {-1, +1}, draws from the target such as the persistent chains
        of training, where the reverse paths start. None draws them by as many more forward paths,
        resampled by their weights: sweeps at the target alone would not balance separate modes.

    Raises:
      InputError: a count below 1, or `target_spins` of another number of spins.
    """
    check_count(
        num_temperatures=num_temperatures,
        num_chains=num_chains,
        num_equilibration=num_equilibration,
    )
    if target_spins is not None and (
        target_spins.ndim != 2 or target_spins.shape[1] != params.num_spins
    ):
        raise InputError(
            f"expected target_spins [chains, {params.num_spins}], got {target_spins.shape}"
        )
    return _ais(key, params, target_spins, num_temperatures, num_chains, num_equilibration)


@partial(jax.jit, static_argnums=(3, 4, 5))
def _ais(key, params, target_spins, num_temperatures, num_chains, num_equilibration) -> LogZ:
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    gibbs = build_sampler("gibbs", num_steps=1)
    key_start, key_run, key_base, key_forward, key_resample, key_reverse = jax.random.split(key, 6)

    if target_spins is None:
        state = gibbs.init(key_start, params, num_chains)
    else:
        state = GibbsState(spins=jnp.asarray(target_spins, jnp.float32).T)
    num_chains = state.spins.shape[1]
    state, mean_spins = _equilibrate(key_run, gibbs.step, params, state, num_equilibration)

    h0 = jnp.arctanh(jnp.clip(mean_spins, -LARGEST_BASE_MEAN, LARGEST_BASE_MEAN))
    base = Boltzmann(J=jnp.zeros_like(params.J), h=h0)
    betas = jnp.arange(1, num_temperatures) / num_temperatures

    # Further paths, apart from the forward estimate's, end as draws from the target if none came.
    num_pilots = num_chains if target_spins is None else 0
    start = gibbs.init(key_base, base, num_chains + num_pilots)
    forward, ends = _anneal(key_forward, gibbs.step, params, base, start, betas)
    if num_pilots:
        pilots = GibbsState(spins=ends.spins[:, num_chains:])
        state = _resample(key_resample, forward[num_chains:], pilots)
    forward = forward[:num_chains]
    # The reversal of a sweep over spins 0 ... N - 1 is the sweep over N - 1 ... 0: renumber.
    backward = (_renumber(params), _renumber(base), GibbsState(spins=state.spins[::-1]))
    reverse, _ = _anneal(key_reverse, gibbs.step, *backward, betas[::-1])
    return _combine(jnp.sum(jnp.logaddexp(h0, -h0)), forward, reverse)


def _equilibrate(key, step, params, state, num_sweeps):
    """State after the sweeps, and mean spins [spins] over chains and the second half of them."""
    keys = jax.random.split(key, num_sweeps)
    counted = 2 * jnp.arange(num_sweeps) >= num_sweeps - 1

    def sweep(carry, inputs):
        state, total = carry
        key, count = inputs
        state, _ = step(key, params, state)
        return (state, total + count * state.spins.mean(axis=1)), None

    carry = (state, jnp.zeros(params.num_spins))
    (state, total), _ = jax.lax.scan(sweep, carry, (keys, counted))
    return state, total / counted.sum()


def _anneal(key, step, target, base, state, betas):
    """Log weights (1/K) sum_k U(s_k) [chains], over the start and a sweep at each beta; state."""
    difference = Boltzmann(J=target.J - base.J, h=target.h - base.h)
    keys = jax.random.split(key, betas.shape[0])

    def advance(carry, inputs):
        state, total = carry
        key, beta = inputs
        between = Boltzmann(J=beta * target.J, h=(1 - beta) * base.h + beta * target.h)
        state, _ = step(key, between, state)
        return (state, total - boltzmann.energy(difference, state.spins.T)), None

    carry = (state, -boltzmann.energy(difference, state.spins.T))
    (state, total), _ = jax.lax.scan(advance, carry, (keys, betas))
    return total / (betas.shape[0] + 1), state


def _resample(key, log_weights_, state):
    """Chains drawn in proportion to their weights, by systematic resampling: copies differ < 1."""
    cumulative = jnp.cumsum(jax.nn.softmax(log_weights_))
    num_chains = cumulative.shape[0]
    points = (jnp.arange(num_chains) + jax.random.uniform(key)) / num_chains
    chosen = jnp.searchsorted(cumulative, points * cumulative[-1])
    return GibbsState(spins=state.spins[:, jnp.minimum(chosen, num_chains - 1)])


def _renumber(params: Boltzmann) -> Boltzmann:
    """The same machine with its spins in the opposite order."""
    return Boltzmann(J=params.J[::-1, ::-1], h=params.h[::-1])


def _combine(base_log_z: jax.Array, forward: jax.Array, reverse: jax.Array) -> LogZ:
    """Forward, reverse and acceptance-ratio estimates from log weights [chains] of either path."""
    up, up_error = _log_mean_exp(forward)
    down, down_error = _log_mean_exp(-reverse)
    ratio, error = acceptance_ratio(forward, reverse)
    return LogZ(base_log_z + ratio, error, base_log_z + up, up_error, base_log_z - down, down_error)


def acceptance_ratio(forward: jax.Array, reverse: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log (Z / Z_0) from log weights [chains] of both paths, and its standard error.

    The root L of sum_forward sigmoid(x - L) = sum_reverse sigmoid(L - x), for equal numbers of
    paths; the error is Bennett's (1976) large-sample one.
    """
    both = jnp.concatenate([forward, reverse])

    def halve(_, interval):
        low, high = interval
        middle = 0.5 * (low + high)
        excess = jnp.sum(jax.nn.sigmoid(forward - middle)) - jnp.sum(
            jax.nn.sigmoid(middle - reverse)
        )
        return jnp.where(excess > 0, middle, low), jnp.where(excess > 0, high, middle)

    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (both.min() - 1, both.max() + 1))
    root = 0.5 * (low + high)
    variances = [
        _relative_variance(jax.nn.log_sigmoid(forward - root)),
        _relative_variance(jax.nn.log_sigmoid(root - reverse)),
    ]
    return root, jnp.sqrt(sum(variances) / forward.size)


def _log_mean_exp(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log of the mean of exp(values) and its standard error by the delta method."""
    estimate = jax.nn.logsumexp(values) - jnp.log(values.size)
    return estimate, jnp.sqrt(_relative_variance(values) / values.size)


def _relative_variance(log_values: jax.Array) -> jax.Array:
    """Variance over squared mean of exp(log_values)."""
    values = jnp.exp(log_values - log_values.max())
    return jnp.var(values, ddof=1) / jnp.square(values.mean())


FIXED_ARGUMENTS = ("key", "params")
METHODS: dict[str, Callable[..., LogZ]] = {
    "exact": enumeration,
    "ais": annealed_importance_sampling,
}
