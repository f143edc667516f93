"""Draws of an optimiser brought down to a minimum: no spin that is flipped alone lowers the energy.

A machine that follows continuous amplitudes ends near minima and seldom in one: its last steps are
as long as its first. Rounds of zero-temperature updates close the gap with products alone, so that
they work for dense and sparse couplings.
"""

import jax
import jax.numpy as jnp

from qbm_jax.machine.boltzmann import Boltzmann, local_field
from qbm_jax.samplers.base import Info, Sampler, State, check_count, draw_info

_SHARE = 0.25  # of the spins in a round; where all move at once, neighbours swap for ever


def descended(machine: Sampler, num_rounds: int) -> Sampler:
    """The machine, with the best state of a descent from its spins in place of its draw.

    Args:
      machine: any sampler.
      num_rounds: in each a random quarter of the spins turns towards its field; 0 changes nothing.

    Raises:
      InputError: num_rounds is neither 0 nor a count.
    """
    if num_rounds == 0:
        return machine
    check_count(finishing_sweeps=num_rounds)

    def sample(key: jax.Array, params: Boltzmann, state: State) -> tuple[jax.Array, State, Info]:
        key_draw, key_descent = jax.random.split(key)
        spins, state, info = machine.sample(key_draw, params, state)
        spins = descend(key_descent, params, spins, num_rounds)
        return spins, state, info | draw_info(params, spins)

    return machine._replace(sample=sample, targets_boltzmann=False)


def descend(key: jax.Array, params: Boltzmann, spins: jax.Array, num_rounds: int) -> jax.Array:
    """The best states [chains, spins] of a descent from `spins`; NaN stays NaN."""

    def energies(spins: jax.Array, fields: jax.Array) -> jax.Array:
        return -0.5 * jnp.sum(spins * (fields + params.h[None, :]), axis=-1)

    def turn(
        carry: tuple[jax.Array, jax.Array, jax.Array], key: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], None]:
        spins, best, lowest = carry
        fields = local_field(params, spins)
        reached = energies(spins, fields)
        better = reached < lowest
        best = jnp.where(better[:, None], spins, best)
        towards = jnp.where(fields == 0, spins, jnp.sign(fields))
        moves = jax.random.bernoulli(key, _SHARE, spins.shape)
        spins = jnp.where(moves, towards, spins).astype(spins.dtype)
        return (spins, best, jnp.where(better, reached, lowest)), None

    start = (spins, spins, energies(spins, local_field(params, spins)))
    # One round more than turns: the state after the last turn is judged as well.
    (_, best, _), _ = jax.lax.scan(turn, start, jax.random.split(key, num_rounds + 1))
    return best
