"""Replicas at inverse temperatures up to the target's, which trade places.

Each chain has one replica per temperature, p_k(s) proportional to exp(-beta_k E(s)), beta from
`beta_min` to 1. Replicas advance by an exact kernel; then neighbours swap with probability
min(1, exp((beta_k - beta_k+1) (E_k - E_k+1))), which leaves the product law of all replicas
invariant (Swendsen and Wang, PRL 57, 2607, 1986; Hukushima and Nemoto, J. Phys. Soc. Jpn. 65,
1604, 1996). Pairs from even and from odd rungs are tried in turn: unlike random pairs, this lets
replicas drift through the ladder instead of diffusing (Okabe et al., Chem. Phys. Lett. 335, 435,
2001; Syed et al., J. R. Stat. Soc. B 84, 321, 2022).

Ladder. Between neighbours the symmetrised divergence is (beta_k+1 - beta_k)(<E>_k - <E>_k+1) = x^2,
and x adds up along the ladder for small steps: it is a length. For normal energies the swap rate is
erfc(x / 2), so rungs at equal lengths swap equally often. As in Syed et al., section 5, the length
is interpolated and the rungs are placed anew in rounds of doubling size; mean energies say more
than swap rates where the first ladder is too wide for any swap.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.scipy.special import erfinv

from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.runtime.options import field, fraction, optional, real, whole
from qbm_jax.samplers.auxiliary_cim import auxiliary_cim_kernel
from qbm_jax.samplers.base import Kernel, check_steps, init_spins, is_concrete
from qbm_jax.samplers.colouring import Colouring
from qbm_jax.samplers.gibbs import gibbs_kernel
from qbm_jax.samplers.metropolis_cim import metropolis_cim_kernel
from qbm_jax.samplers.options import SamplerOptions, chosen, count

# What replicas, and the chains of annealed importance sampling, can advance by.
KERNELS: dict[str, Callable[[], Kernel]] = {
    "gibbs": gibbs_kernel,
    "auxiliary_cim": auxiliary_cim_kernel,
    "metropolis_cim": metropolis_cim_kernel,
}
DEFAULT_NUM_TEMPERATURES = 16  # where couplings are unknown or zero
_ROUNDS = 5
_MEMORY = 50  # tries of a pair that its logged swap rate is averaged over
_SMALLEST_LENGTH = 1e-3  # of the whole ladder: with J = h = 0 all places are equally good


class TemperingState(struct.PyTreeNode):
    """Replicas and the ladder, which is fixed after `init`. Temperatures move, spins stay.

    Attributes:
      spins: [replicas, chains, spins].
      rung: int32 [replicas, chains], index into `betas` of the replica's temperature.
      heading: int32 [replicas, chains], 1 from the lowest beta upwards, -1 from the target back, 0
        before the first visit to the lowest.
      betas: [temperatures], increasing; the last is 1.
      parity: int32, 0 or 1: whether pairs from even or from odd rungs are tried next.
      swap_rates: [temperatures - 1], between neighbours, averaged over chains and recent tries.
      round_trips: int32, from the lowest beta to the target and back, of all replicas since `init`.
      colouring: of a sparse J that is swept; None otherwise.
    """

    spins: jax.Array
    rung: jax.Array
    heading: jax.Array
    betas: jax.Array
    parity: jax.Array
    swap_rates: jax.Array
    round_trips: jax.Array
    colouring: Colouring | None = None


@dataclasses.dataclass(frozen=True)
class LadderOptions(SamplerOptions):
    """How replicas start, and where on the ladder.

    None as `num_temperatures` means as many as give the target swap rate at the parameters of
    `init` (for weak couplings 2, with more swaps); where these are traced or without couplings, as
    when training starts, `DEFAULT_NUM_TEMPERATURES`.
    """

    kernel: str = chosen("gibbs", KERNELS, "what replicas advance by")
    num_temperatures: int | None = field(
        None, optional(whole(2)), "replicas of a chain; None: by the target swap rate"
    )
    beta_min: float = field(0.0, real(0, below=1), "lowest inverse temperature")
    target_swap_rate: float = field(0.3, fraction(open_ends=True), "between neighbours")
    burn_in: int = count(
        500,
        "steps of init, in which temperatures are placed",
        source="Syed et al. 2022, J. R. Stat. Soc. B 84, 321, section 5",
    )

    def check(self) -> None:
        """Keys of the burn-in are made at once."""
        check_steps(burn_in=self.burn_in)


def start_replicas(
    key: jax.Array, params: Boltzmann, kernel: Kernel, num_chains: int, options: LadderOptions
) -> TemperingState:
    """Replicas after the burn-in, with temperatures placed for `params`."""
    key_pilot, key_ladder = jax.random.split(key)
    rungs, burn_in = options.num_temperatures or DEFAULT_NUM_TEMPERATURES, options.burn_in
    betas = jnp.linspace(options.beta_min, 1, rungs, dtype=jnp.float32)
    state, lengths = _burn_in(key_pilot, kernel, params, betas, num_chains, burn_in)
    J, *others = jax.tree.leaves(params)  # leaves, because J may be sparse
    if options.num_temperatures or not is_concrete(key, J, *others) or not bool(jnp.any(J)):
        return state
    step = float(2 * erfinv(1 - options.target_swap_rate))
    betas = _place(state.betas, lengths, max(2, 1 + round(float(jnp.sum(lengths)) / step)))
    return _burn_in(key_ladder, kernel, params, betas, num_chains, burn_in)[0]


def advance_replicas(
    key: jax.Array, kernel: Kernel, params: Boltzmann, prepared: Any, state: TemperingState
) -> tuple[TemperingState, jax.Array]:
    """A kernel step of every replica, then swaps; (state, energies [temperatures, chains]).

    Energies are those before the swaps, in the order of `betas`, in units of kT at the target.

    Args:
      key: consumed.
      kernel: what replicas advance by.
      params: the machine, float32.
      prepared: what the kernel prepared for it.
      state: the replicas.
    """
    key_update, key_swap = jax.random.split(key)
    shape = state.spins.shape
    beta = state.betas[state.rung].reshape(-1)
    spins = kernel.update(key_update, prepared, state.spins.reshape(-1, shape[-1]), beta)
    state = state.replace(spins=spins.reshape(shape))
    replicas = jnp.argsort(state.rung, axis=0)
    energies = jnp.take_along_axis(energy(params, state.spins), replicas, axis=0)
    return _swap(key_swap, state, energies), energies


def swap_probability(betas: jax.Array, energies: jax.Array) -> jax.Array:
    """Chance of a swap between rungs k and k + 1, [temperatures - 1, chains].

    Args:
      betas: [temperatures].
      energies: of the replicas at these temperatures, [temperatures, chains].
    """
    return jnp.exp(jnp.minimum(jnp.diff(betas)[:, None] * jnp.diff(energies, axis=0), 0))


def target_spins(state: TemperingState) -> jax.Array:
    """Spins [chains, spins] of the replicas at beta = 1."""
    replica = jnp.argmax(state.rung, axis=0)
    return jnp.take_along_axis(state.spins, replica[None, :, None], axis=0)[0]


def _swap(key: jax.Array, state: TemperingState, energies: jax.Array) -> TemperingState:
    chance = swap_probability(state.betas, energies)
    tried = jnp.arange(chance.shape[0]) % 2 == state.parity
    accepted = tried[:, None] & (jax.random.uniform(key, chance.shape, jnp.float32) < chance)
    up = accepted.astype(jnp.int32)
    moves = jnp.pad(up, ((0, 1), (0, 0))) - jnp.pad(up, ((1, 0), (0, 0)))  # of rungs
    rung = state.rung + jnp.take_along_axis(moves, state.rung, axis=0)

    bottom, top = rung == 0, rung == chance.shape[0]
    returned = bottom & (state.heading == -1)
    turned = jnp.where(top & (state.heading == 1), -1, state.heading)
    change = (jnp.mean(chance, axis=1) - state.swap_rates) / _MEMORY
    return state.replace(
        rung=rung,
        heading=jnp.where(bottom, 1, turned),
        parity=1 - state.parity,
        swap_rates=state.swap_rates + jnp.where(tried, change, 0),
        round_trips=state.round_trips + jnp.sum(returned, dtype=jnp.int32),
    )


_Totals = tuple[jax.Array, jax.Array, jax.Array]  # number, energies, chances of swaps
_Placing = tuple[TemperingState, _Totals, jax.Array]  # and the lengths in the last round


@partial(jax.jit, static_argnames=("kernel", "num_chains", "num_steps"))
def _burn_in(
    key: jax.Array,
    kernel: Kernel,
    params: Boltzmann,
    betas: jax.Array,
    num_chains: int,
    num_steps: int,
) -> tuple[TemperingState, jax.Array]:
    """Places the temperatures in rounds; (state, lengths [temperatures - 1] in the last round)."""
    key_start, key_run = jax.random.split(key)
    spins = init_spins(key_start, params, betas.size * num_chains)
    state = _replicas(spins.reshape(betas.size, num_chains, -1), betas)
    prepared = kernel.prepare(params)
    rounds = np.arange(1, _ROUNDS + 1)
    ends = np.zeros(num_steps, bool)
    ends[np.maximum(num_steps * (2**rounds - 1) // (2**_ROUNDS - 1), 1) - 1] = True

    def step(carry: _Placing, inputs: tuple[jax.Array, jax.Array]) -> tuple[_Placing, None]:
        (state, totals, _), (key, end) = carry, inputs
        state, energies = advance_replicas(key, kernel, params, prepared, state)
        chance = jnp.mean(swap_probability(state.betas, energies), axis=1)
        totals = jax.tree.map(jnp.add, totals, (1.0, jnp.mean(energies, axis=1), chance))
        lengths = _lengths(state.betas, totals[1] / totals[0])
        placed = state.replace(
            betas=_place(state.betas, lengths, betas.size), swap_rates=totals[2] / totals[0]
        )
        state, totals = jax.tree.map(
            lambda new, old: jnp.where(end, new, old), (placed, zero), (state, totals)
        )
        return (state, totals, lengths), None

    zero = (jnp.float32(0), jnp.zeros_like(betas), jnp.zeros_like(betas[1:]))
    carry = (state, zero, zero[2])
    inputs = jax.random.split(key_run, num_steps), jnp.asarray(ends)
    (state, _, lengths), _ = jax.lax.scan(step, carry, inputs)
    by_rung = jnp.argsort(state.rung, axis=0)[:, :, None]
    fresh = _replicas(jnp.take_along_axis(state.spins, by_rung, axis=0), state.betas)
    return fresh.replace(swap_rates=state.swap_rates), lengths


def _replicas(spins: jax.Array, betas: jax.Array) -> TemperingState:
    """Replicas with spins [temperatures, chains, spins] that have not travelled yet."""
    rung = jnp.arange(betas.size, dtype=jnp.int32)[:, None]
    rung = jnp.broadcast_to(rung, spins.shape[:2])
    return TemperingState(
        spins=spins,
        rung=rung,
        heading=(rung == 0).astype(jnp.int32),
        betas=betas,
        parity=jnp.int32(0),
        swap_rates=jnp.zeros_like(betas[1:]),
        round_trips=jnp.int32(0),
    )


def _lengths(betas: jax.Array, mean_energies: jax.Array) -> jax.Array:
    """Length x of each step of the ladder, [temperatures - 1]; see the module's text."""
    steps = jnp.diff(betas)
    return jnp.sqrt(jnp.maximum(-steps * jnp.diff(mean_energies), 0))


def _place(betas: jax.Array, lengths: jax.Array, num_temperatures: int) -> jax.Array:
    """That many inverse temperatures at equal lengths, between the same ends."""
    lengths = lengths + _SMALLEST_LENGTH * jnp.diff(betas)
    travelled = jnp.concatenate([jnp.zeros_like(betas[:1]), jnp.cumsum(lengths)])
    inner = jnp.linspace(0, travelled[-1], num_temperatures, dtype=betas.dtype)[1:-1]
    return jnp.concatenate([betas[:1], jnp.interp(inner, travelled, betas), betas[-1:]])
