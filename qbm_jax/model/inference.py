"""What a trained model says about cells: posteriors, embeddings, energies, new cells."""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.feed.cell_source import Streamed
from qbm_jax.feed.minibatches import DeviceCounts, gather, pad_rows, scan_some
from qbm_jax.model import likelihoods
from qbm_jax.model.vae import VAE, Params, gene_params, prior_params
from qbm_jax.samplers.base import Sampler


@functools.partial(jax.jit, static_argnums=0)
def _encode_rows(
    vae: VAE, params: Params, data: DeviceCounts, rows: jax.Array, num_chunks: jax.Array | int
) -> tuple[jax.Array, jax.Array]:
    def body(_: None, rows_: jax.Array) -> tuple[None, tuple[jax.Array, jax.Array]]:
        encoded = vae.encode(params, gather(data, rows_).counts)
        return None, vae.posterior.embed(prior_params(vae, params), encoded)

    return scan_some(body, None, rows, num_chunks)[1]


def embed(
    vae: VAE, params: Params, data: DeviceCounts, width: int = 512
) -> tuple[np.ndarray, np.ndarray]:
    """Embeds every cell, without random numbers.

    Args:
      vae: the model.
      params: its parameters.
      data: the cells.
      width: cells encoded at a time.

    Returns:
      The embedding, float32 [cells, N] (posterior mean spins in [-1, 1], or means), and
      the expected energy E_q[E] of each cell [cells], in nats; for a posterior in two groups, and
      where E_q[E] has no closed form, it is the energy of the embedding (`posteriors`).
    """
    rows, _, num_chunks = pad_rows(np.arange(data.num_cells), width)
    embedding, energy = jax.device_get(_encode_rows(vae, params, data, rows, num_chunks))
    embedding = embedding.reshape(-1, embedding.shape[-1])[: data.num_cells]
    return np.array(embedding), np.array(energy.reshape(-1)[: data.num_cells])


def embed_blocks(
    vae: VAE, params: Params, source: Streamed, width: int = 512, block_size: int = 8192
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Embeds cells on disk block by block, as `embed` does: memory does not grow with their number.

    Args:
      vae: the model.
      params: its parameters.
      source: the cells.
      width: cells encoded at a time.
      block_size: cells of a block, a multiple of `width`.

    Yields:
      The slice of each block's cells, their embedding [cells, N] and their energies [cells].

    Raises:
      InputError: the cells cannot be read.
    """
    rows = jnp.arange(block_size).reshape(-1, width)
    for where, data in source.blocks(block_size):
        embedding, energy = jax.device_get(_encode_rows(vae, params, data, rows, len(rows)))
        size = where.stop - where.start
        yield where, embedding.reshape(block_size, -1)[:size], energy.reshape(-1)[:size]


def generate(
    key: jax.Array,
    vae: VAE,
    params: Params,
    sampler: Sampler | None,
    batch: jax.Array,
    library_size: jax.Array,
) -> jax.Array:
    """Draws cells from the model: prior, then relaxation, then decoder, then likelihood.

    Args:
      key: consumed.
      vae: the model.
      params: its parameters.
      sampler: draws from a Boltzmann prior, with one fresh chain per cell that runs for the
        sampler's own number of steps. None for priors that need no sampler.
      batch: experimental batch of each cell [cells].
      library_size: total counts of each cell [cells].

    Returns:
      Counts [cells, genes].
    """
    key_latent, key_counts = jax.random.split(key)
    latent = draw_latent(key_latent, vae, params, sampler, batch.shape[0])
    outputs = vae.decode(params, latent, batch)
    return vae.likelihood.sample(key_counts, outputs, gene_params(params, batch), library_size)


def draw_latent(
    key: jax.Array, vae: VAE, params: Params, sampler: Sampler | None, num_cells: int
) -> jax.Array:
    """Draws from the prior what the decoder reads, [cells, N]; arguments as in `generate`.

    Raises:
      InputError: as `draw_unread`.
    """
    latents = draw_unread(key, vae, params, sampler, num_cells)
    return vae.prior.read(_keys_of_latents(key, vae)[2], latents)


def draw_unread(
    key: jax.Array, vae: VAE, params: Params, sampler: Sampler | None, num_cells: int
) -> jax.Array:
    """The latents behind `draw_latent` [cells, N]: spins are -1 or +1, which it may smear.

    Raises:
      InputError: the prior needs a sampler, and there is none.
    """
    prior, keys = vae.prior, _keys_of_latents(key, vae)
    if prior.sample is not None:
        return prior.sample(keys[1], prior_params(vae, params), (num_cells, vae.num_latents))
    if sampler is None:
        raise InputError(f"expected a sampler for prior {prior.name}, got None; give one")
    chains = sampler.init(keys[0], params["prior"], num_cells)
    return sampler.sample(keys[1], params["prior"], chains)[0]


def _keys_of_latents(key: jax.Array, vae: VAE) -> Sequence[jax.Array]:
    """Keys of the chains' start, of the draw and of what is read."""
    # Nothing more is drawn where latents are read as they are.
    return list(jax.random.split(key, 3)) if vae.prior.binary else [key, key, key]


def expression(
    vae: VAE, params: Params, latent: jax.Array, batch: jax.Array, totals: jax.Array
) -> jax.Array:
    """Expected expression [cells, genes]: shares of the totals, or means of what is no count."""
    outputs = vae.decode(params, latent, batch)
    if not vae.likelihood.of_counts:
        return vae.likelihood.mean(outputs, params["genes"], totals)
    return jnp.exp(likelihoods.log_mean_counts(outputs, totals))
