"""Acceptance ratios between the neighbouring temperatures of a tempering run.

Replicas of `samplers.tempering` visit p_k(s) proportional to exp(-beta_k E(s)) from beta_0 = 0,
where log Z = N log 2, to 1. Between neighbours x = -(beta_k+1 - beta_k) E(s) has
E_k[exp(x)] = Z_k+1 / Z_k and E_k+1[exp(-x)] = Z_k / Z_k+1: Bennett's acceptance ratio on both sets
of draws estimates each ratio, and their sum log Z. Using all temperatures at once (MBAR; Shirts and
Chodera, J. Chem. Phys. 129, 124105, 2008) gains little where only neighbours overlap, as on a
ladder with swap rates near 0.3, and takes a table of draws by temperatures and a nonlinear system
where here are independent roots of one unknown.

Chains are independent of each other, the replicas and draws of one chain are not. So influences are
summed over all draws and temperatures of a chain, and the error is the spread of these sums:
correlation in time and along the ladder is in it.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, checked
from qbm_jax.machine.couplings import single_precision
from qbm_jax.partition.acceptance_ratio import acceptance_ratio, log_mean_exp, variance
from qbm_jax.partition.estimate import LogZ
from qbm_jax.runtime.keys import check_key
from qbm_jax.runtime.room import check_room
from qbm_jax.samplers.base import Kernel, check_count, check_steps
from qbm_jax.samplers.replicas import (
    KERNELS,
    LadderOptions,
    TemperingState,
    advance_replicas,
    start_replicas,
)


def tempered_acceptance_ratio(
    key: jax.Array,
    params: Boltzmann,
    *,
    kernel: str = "gibbs",
    num_temperatures: int | None = None,
    num_chains: int = 32,
    num_steps: int = 1000,
    burn_in: int = 1000,
) -> LogZ:
    """Log Z by parallel tempering from beta = 0 and acceptance ratios between neighbours.

    The bracket shows neighbours that do not overlap. Only the standard error shows replicas that
    have not mixed, and only as far as chains then differ.

    Args:
      key: for all draws.
      params: the machine.
      kernel: a name in `samplers.KERNELS`.
      num_temperatures: replicas of a chain; None: as in `samplers.tempering`, which needs concrete
        parameters to choose.
      num_chains: independent sets of replicas, at least 2; the standard error is as good as that of
        a variance from so many draws.
      num_steps: steps whose energies the estimate uses.
      burn_in: steps before these, in which the temperatures are placed.

    Raises:
      InputError: the kernel is unknown, or a count is out of range.
    """
    check_key(key)
    ladder = LadderOptions(kernel=kernel, num_temperatures=num_temperatures, burn_in=burn_in)
    params = single_precision(checked(params))
    check_count(num_chains=num_chains)
    check_room("their spins", 4 * params.num_spins, num_chains=num_chains)
    check_steps(num_steps=num_steps)
    if num_chains < 2:
        raise InputError(f"expected at least 2 chains for a standard error, got {num_chains}")
    moves = KERNELS[ladder.kernel]()
    key_start, key_run = jax.random.split(key)
    state = start_replicas(key_start, params, moves, num_chains, ladder)
    energies = _run(key_run, moves, params, state, num_steps)
    return combine(state.betas, energies, params.num_spins)


@partial(jax.jit, static_argnames=("kernel", "num_steps"))
def _run(
    key: jax.Array, kernel: Kernel, params: Boltzmann, state: TemperingState, num_steps: int
) -> jax.Array:
    """Energies [temperatures, steps, chains] of the replicas at each temperature."""
    prepared = kernel.prepare(params)
    _, energies = jax.lax.scan(
        lambda state, key: advance_replicas(key, kernel, params, prepared, state),
        state,
        jax.random.split(key, num_steps),
    )
    return energies.swapaxes(0, 1)


@partial(jax.jit, static_argnames="num_spins")
def combine(betas: jax.Array, energies: jax.Array, num_spins: int) -> LogZ:
    """Estimates from energies [temperatures, steps, chains] at inverse temperatures [...]."""
    steps = jnp.diff(betas)[:, None, None]
    forward, reverse = -steps * energies[:-1], -steps * energies[1:]
    ratio, up, down = jax.lax.map(lambda pair: acceptance_ratio(*pair), (forward, reverse))
    low, low_influences = jax.lax.map(log_mean_exp, forward)
    high, high_influences = jax.lax.map(log_mean_exp, -reverse)

    def error(influences: jax.Array) -> jax.Array:
        return jnp.sqrt(variance(influences.sum(axis=(0, 1))))

    base = num_spins * np.log(2)
    return LogZ(
        base + ratio.sum(),
        error(up + down),
        base + low.sum(),
        error(low_influences),
        base - high.sum(),
        error(high_influences),
    )
