"""Annealed importance sampling in both directions, combined by acceptance ratio.

Annealed importance sampling (Neal, Statistics and Computing 11, 2001) runs chains through machines
between a product law of known log Z and the target, with fields (1 - beta) h0 + beta h and
couplings beta J. With U(s) = E_0(s) - E(s), a forward path s_0 ... s_{K-1}, s_k sampled at
beta = k/K, has log weight x = (1/K) sum_k U(s_k) and E[exp(x)] = Z / Z_0. The reverse path starts
from the target, goes through the same betas downwards and has E[exp(-x)] = Z_0 / Z. By Jensen's
inequality the forward estimate is too low and the reverse one too high in expectation: they
bracket log Z. Both hold for any transitions that leave their law invariant. Only if the reverse
path's are the time reversals of the forward path's do the two laws of x differ by the factor
exp(x) Z_0 / Z (Crooks, Phys. Rev. E 60, 1999), on which the acceptance ratio of both rests.

The reversal of a Gibbs sweep over spins 0 ... N - 1 is the sweep over N - 1 ... 0. The other
kernels satisfy detailed balance and treat all spins alike. So for every kernel, the reversal is the
kernel of the machine with its spins in the opposite order.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.partition.acceptance_ratio import acceptance_ratio, log_mean_exp, variance
from qbm_jax.partition.estimate import LogZ
from qbm_jax.runtime.keys import check_key
from qbm_jax.runtime.options import check, choice
from qbm_jax.runtime.room import check_room
from qbm_jax.samplers.base import Kernel, check_count, check_steps, init_spins, is_concrete
from qbm_jax.samplers.replicas import KERNELS

# Mean spins of the product law, over those found at the target. With more, too few paths reach all
# modes where there are several: of 48 machines with N = 20, b = 3 and 4, shares of 0.8 and 1 left
# some 0.2 and 0.5 nat off, at over ten error bars; with 0.5 the error bars hold.
BASE_MEAN_SHARE = 0.5


def annealed_importance_sampling(
    key: jax.Array,
    params: Boltzmann,
    *,
    kernel: str = "gibbs",
    num_temperatures: int = 1000,
    num_chains: int = 128,
    num_equilibration: int = 500,
    target_spins: jax.Array | None = None,
) -> LogZ:
    """Log Z by forward and reverse annealing, combined by acceptance ratio.

    Pure, so that it can be transformed; one compilation for each number of spins and options.

    Args:
      key: for all draws.
      params: the machine, J dense.
      kernel: a name in `samplers.KERNELS`. auxiliary_cim factorises J at every temperature.
      num_temperatures: equal steps of beta from the product law to the target.
      num_chains: number of forward paths, and of reverse paths, at least 2; `target_spins` brings
        its own number.
      num_equilibration: kernel steps at the target before the annealing. Their second half fits the
        product law to half the mean spins; with `target_spins` they also precede the reverse paths.
      target_spins: [chains, spins] in {-1, +1}, independent draws from the target, such as the
        persistent chains of training, at which the reverse paths start. None: as many more forward
        paths give these draws, resampled by their weights, because steps at the target alone would
        not balance separate modes.

    Raises:
      InputError: the kernel is unknown, J is sparse, a count is out of range, or `target_spins` has
        another number of spins, or values other than -1 and +1.
    """
    check("kernel", kernel, choice(KERNELS))
    check_key(key)
    params = boltzmann.checked(params)
    params = params.replace(J=params.dense_J)
    if target_spins is not None:
        expected = f"target_spins [chains, {params.num_spins}]"
        target_spins = boltzmann.as_floats(target_spins, expected)
        if target_spins.ndim != 2 or target_spins.shape[1] != params.num_spins:
            raise InputError(f"expected {expected}, got {target_spins.shape}")
        if is_concrete(target_spins) and not bool(np.all(np.abs(target_spins) == 1)):
            raise InputError(f"expected {expected} of -1 and +1, got other values")
    check_count(num_chains=num_chains)
    check_room("their spins", 4 * params.num_spins, num_chains=num_chains)
    check_steps(num_temperatures=num_temperatures, num_equilibration=num_equilibration)
    num_chains = num_chains if target_spins is None else target_spins.shape[0]
    if num_chains < 2:
        raise InputError(f"expected at least 2 chains for a standard error, got {num_chains}")
    return _ais(key, params, target_spins, kernel, num_temperatures, num_chains, num_equilibration)


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _ais(
    key: jax.Array,
    params: Boltzmann,
    target: jax.Array | None,
    kernel_name: str,
    num_temperatures: int,
    num_chains: int,
    num_equilibration: int,
) -> LogZ:
    kernel = KERNELS[kernel_name]()
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    key_start, key_run, key_base, key_forward, key_resample, key_reverse = jax.random.split(key, 6)
    if target is None:
        spins = init_spins(key_start, params, num_chains)
    else:
        spins = jnp.asarray(target, jnp.float32)
    spins, mean_spins = _equilibrate(key_run, kernel, params, spins, num_equilibration)

    h0 = jnp.arctanh(BASE_MEAN_SHARE * mean_spins)
    base = Boltzmann(J=jnp.zeros_like(params.J), h=h0)
    betas = jnp.arange(1, num_temperatures) / num_temperatures

    # Further paths, apart from the forward estimate's, end as draws from the target if none came.
    num_pilots = num_chains if target is None else 0
    start = init_spins(key_base, base, num_chains + num_pilots)
    forward, ends = _anneal(key_forward, kernel, params, base, start, betas)
    ancestors = jnp.arange(num_chains)
    if num_pilots:
        ancestors = _resample(key_resample, forward[num_chains:])
        spins = ends[num_chains:][ancestors]
    backward = (_renumber(params), _renumber(base), spins[:, ::-1])
    reverse, _ = _anneal(key_reverse, kernel, *backward, betas[::-1])
    return combine(jnp.sum(jnp.logaddexp(h0, -h0)), forward[:num_chains], reverse, ancestors)


def _equilibrate(
    key: jax.Array, kernel: Kernel, params: Boltzmann, spins: jax.Array, num_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Spins after the steps, and mean spins [spins] over chains and the second half of them."""
    keys = jax.random.split(key, num_steps)
    counted = 2 * jnp.arange(num_steps) >= num_steps - 1
    prepared, beta = kernel.prepare(params), jnp.ones(spins.shape[0])

    def advance(
        carry: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        spins, total = carry
        key, count = inputs
        spins = kernel.update(key, prepared, spins, beta)
        return (spins, total + count * spins.mean(axis=0)), None

    (spins, total), _ = jax.lax.scan(advance, (spins, jnp.zeros_like(params.h)), (keys, counted))
    return spins, total / counted.sum()


def _anneal(
    key: jax.Array,
    kernel: Kernel,
    target: Boltzmann,
    base: Boltzmann,
    spins: jax.Array,
    betas: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Log weights (1/K) sum_k U(s_k) [chains], over the start and a step at each beta; spins."""
    difference = Boltzmann(J=target.J - base.J, h=target.h - base.h)
    keys, at_one = jax.random.split(key, betas.shape[0]), jnp.ones(spins.shape[0])

    def advance(
        carry: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        spins, total = carry
        key, beta = inputs
        between = Boltzmann(J=beta * target.J, h=(1 - beta) * base.h + beta * target.h)
        spins = kernel.update(key, kernel.prepare(between), spins, at_one)
        return (spins, total - boltzmann.energy(difference, spins)), None

    carry = (spins, -boltzmann.energy(difference, spins))
    (spins, total), _ = jax.lax.scan(advance, carry, (keys, betas))
    return total / (betas.shape[0] + 1), spins


def _resample(key: jax.Array, log_weights: jax.Array) -> jax.Array:
    """Chains drawn in proportion to their weights, by systematic resampling: copies differ < 1."""
    cumulative = jnp.cumsum(jax.nn.softmax(log_weights))
    num_chains = cumulative.shape[0]
    points = (jnp.arange(num_chains) + jax.random.uniform(key)) / num_chains
    chosen = jnp.searchsorted(cumulative, points * cumulative[-1])
    return jnp.minimum(chosen, num_chains - 1)


def _renumber(params: Boltzmann) -> Boltzmann:
    """The same machine with its spins in the opposite order."""
    return Boltzmann(J=params.J[::-1, ::-1], h=params.h[::-1])


def combine(
    base_log_z: jax.Array, forward: jax.Array, reverse: jax.Array, ancestors: jax.Array
) -> LogZ:
    """Estimates from log weights [chains] of either path.

    Args:
      base_log_z: of the product law.
      forward: x of forward paths.
      reverse: x of as many reverse paths.
      ancestors: [chains] integers; reverse paths with the same one started from the same draw.
    """

    def error(up: jax.Array, down: jax.Array) -> jax.Array:
        # Copies of one draw are one piece of evidence, however many paths start from them.
        families = jnp.zeros_like(down).at[ancestors].add(down)
        sizes = jnp.zeros_like(down).at[ancestors].add(1)
        return jnp.sqrt(variance(up) + variance(families, sizes))

    ratio, up, down = acceptance_ratio(forward, reverse)
    low, low_influences = log_mean_exp(forward)
    high, high_influences = log_mean_exp(-reverse)
    none = jnp.zeros_like(reverse)
    return LogZ(
        base_log_z + ratio,
        error(up, down),
        base_log_z + low,
        error(low_influences, none),
        base_log_z - high,
        error(none, high_influences),
    )
