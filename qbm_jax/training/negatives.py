"""Contrastive divergence, and the draws that a training would make next."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import DeviceCounts, Minibatch, gather
from qbm_jax.model.vae import VAE, Params, redrawn
from qbm_jax.samplers.base import Sampler, spins_from_fields
from qbm_jax.samplers.gibbs import GibbsState
from qbm_jax.training.step import Restarted


def contrastive_divergence(gibbs: Sampler) -> Restarted:
    """Gibbs chains that start anew at posterior spins of each minibatch (Hinton 2002).

    The model's posterior must be factorial, and a minibatch have at least as many cells as there
    are chains. A few sweeps from the data are not the machine's law, whatever sweeps them.
    """
    return Restarted.of(gibbs, chains_at_cells)._replace(targets_boltzmann=False)


def chains_at_cells(
    key: jax.Array, vae: VAE, params: Params, cells: Minibatch, chains: GibbsState
) -> GibbsState:
    """Gibbs chains at one posterior draw of each of the first cells, as many as there were.

    Raises:
      InputError: there are fewer cells than chains, or the posterior is not factorial.
    """
    num_chains, num_cells = chains.spins.shape[-1], len(cells.counts)
    if num_cells < num_chains:
        raise InputError(
            f"expected as many cells in a minibatch as chains that start at them, {num_chains}, "
            f"got {num_cells}; use fewer chains, or more cells"
        )
    if not vae.posterior.factorial:
        raise InputError("chains that start at cells need posterior factorial, got two_groups")
    logits: Any = vae.encode(params, cells.counts[:num_chains])  # factorial: an array
    return GibbsState(spins=spins_from_fields(key, 0.5 * logits).T)


@functools.partial(jax.jit, static_argnames=("vae", "sampler"))
def next_draws(
    key: jax.Array,
    vae: VAE,
    sampler: Sampler | Restarted,
    data: DeviceCounts,
    params: Params,
    chains: Any,
    rows: jax.Array,
) -> jax.Array:
    """The draws that a training would make next if its parameters stood still.

    Args:
      key: consumed.
      vae: the model.
      sampler: of the negative phase.
      data: counts, or means of bits that each draw makes anew (`vae.redrawn`), as a training does.
      params: of the whole model.
      chains: the sampler's state after the last step.
      rows: the cells that restarted chains start at, [draws, chains].

    Returns:
      Spins int8 [draws, chains, N].
    """

    def draw(chains: Any, item: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        key, cells = item
        key_data, key_draw = jax.random.split(key)
        if isinstance(sampler, Restarted):
            given = redrawn(vae, key, gather(data, cells))
            chains = sampler.restart(key_data, vae, params, given, chains)
        spins, chains, _ = sampler.sample(key_draw, params["prior"], chains)
        return chains, spins.astype(jnp.int8)

    return jax.lax.scan(draw, chains, (jax.random.split(key, rows.shape[0]), rows))[1]
