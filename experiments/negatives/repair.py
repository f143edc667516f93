"""Finishing sweeps behind the draws of a heuristic, on a machine that another phase trained."""

import functools

import jax
import jax.numpy as jnp

from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.gibbs import GibbsState


@functools.partial(jax.jit, static_argnames=("sampler", "num_chains", "num_sweeps"))
def draw_and_sweep(
    keys: jax.Array, machine: Boltzmann, sampler: Sampler, num_chains: int, num_sweeps: int
) -> jax.Array:
    """Fresh chains of a sampler, and Gibbs sweeps from each of its draws.

    Args:
      keys: one for the start and one a draw, [draws + 1].
      machine: N spins.
      sampler: what draws.
      num_chains: of it.
      num_sweeps: behind each draw; they do not change the chains.

    Returns:
      Spins int8 [draws, num_sweeps + 1, chains, N]; entry k follows k sweeps.
    """
    gibbs = samplers.build("gibbs", num_steps=1)

    def sweep(state, key):
        spins, state, _ = gibbs.sample(key, machine, state)
        return state, spins.astype(jnp.int8)

    def draw(chains, key):
        key_draw, key_sweeps = jax.random.split(key)
        spins, chains, _ = sampler.sample(key_draw, machine, chains)
        keys = jax.random.split(key_sweeps, num_sweeps)
        _, swept = jax.lax.scan(sweep, GibbsState(spins=spins.T), keys)
        return chains, jnp.concatenate([spins[None].astype(jnp.int8), swept])

    chains = sampler.init(keys[0], machine, num_chains)
    return jax.lax.scan(draw, chains, keys[1:])[1]
