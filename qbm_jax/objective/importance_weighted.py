"""The importance-weighted bound on log p(x): tighter than the ELBO, exact as samples grow.

Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders" (1509.00519), eq. 8:

    L_K = E[log (1/K) sum_k w_k],   w_k = p(x, z_k) / q(z_k | x),   z_k ~ q(z | x),

with L_1 the ELBO, L_K rising with K, and L_K -> log p(x). For relaxed bits z is the pair (b, zeta)
with zeta ~ r(zeta | b) in both model and posterior. There r cancels, and what is left is

    log w = log p(x | zeta) - E(b) - log Z - log q(b | x),

as for latents that the decoder reads as they are.

A latent library size is drawn with its own ratio of densities. Variables that belong to genes are
drawn once, for all cells and samples, and their KL is shared by the training cells.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import DeviceCounts, Minibatch, gather, pad_rows, scan_some
from qbm_jax.model import library_size
from qbm_jax.model.posteriors import Groups
from qbm_jax.model.vae import VAE, Params, log_likelihood, prior_params, redrawn
from qbm_jax.samplers.base import check_steps


class WeightedBound(NamedTuple):
    """The bound of each cell [cells] and its mean, in nats."""

    values: np.ndarray
    mean: float


def importance_weighted_bound(
    key: jax.Array,
    vae: VAE,
    params: Params,
    data: DeviceCounts,
    cells: np.ndarray,
    log_z: jax.Array | float,
    *,
    num_samples: int = 64,
    num_train_cells: int | None = None,
    width: int = 256,
) -> WeightedBound:
    """The bound L_K on log p(x | batch) of some cells.

    Samples are drawn one at a time for `width` cells, so memory does not grow with either number.

    Args:
      key: consumed.
      vae: the model.
      params: its parameters.
      data: all counts.
      cells: indices of the cells [cells].
      log_z: log Z of the prior (`training.estimate_log_z`); its error enters each value in full.
      num_samples: K.
      num_train_cells: number of training cells, which share the KL of variables that belong to
        genes; None for all cells of `data`.
      width: cells evaluated at a time.

    Raises:
      InputError: there are no samples or no cells, or the relaxation (gumbel) has no r(zeta | b),
        so that weights would not average to p(x).
    """
    check_steps(num_samples=num_samples)
    if len(cells) < 1:
        raise InputError("expected at least 1 cell, got none")
    relax = vae.prior.relax
    if relax is not None and not has_bits(vae):
        raise InputError(
            f"expected a relaxation that smears true bits, got {relax.name}: its latents have no "
            "density under the prior, so there is no bound; train with another relaxation"
        )
    key_genes, key_weights = jax.random.split(key)
    drawn = {**params, "genes": vae.likelihood.draw_gene_params(key_genes, params["genes"])}
    rows, _, num_chunks = pad_rows(np.asarray(cells), min(width, len(cells)))
    sums = _log_sums(vae, num_samples, key_weights, drawn, data, rows, log_z, num_chunks)
    share = num_train_cells or data.num_cells
    global_kl = float(vae.likelihood.global_kl(params["genes"])) / share
    values = np.asarray(sums).reshape(-1)[: len(cells)] - math.log(num_samples) - global_kl
    return WeightedBound(values, float(values.mean(dtype=np.float64)))


def has_bits(vae: VAE) -> bool:
    """Whether the decoder reads the latents themselves, or bits smeared by some r(zeta | b)."""
    return vae.prior.relax is None or vae.prior.relax.law.smears


@functools.partial(jax.jit, static_argnums=(0, 1))
def _log_sums(
    vae: VAE,
    num_samples: int,
    key: jax.Array,
    params: Params,
    data: DeviceCounts,
    rows: jax.Array,
    log_z: jax.Array,
    num_chunks: jax.Array | int,
) -> jax.Array:
    """Log of the sum of the weights of every cell, [room for chunks, width]."""

    def chunk(_: None, item: tuple[jax.Array, jax.Array]) -> tuple[None, jax.Array]:
        index, rows_ = item
        own = jax.random.fold_in(key, index)
        cells = redrawn(vae, own, gather(data, rows_))
        encoded = vae.encode(params, cells.counts)

        def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            return jnp.logaddexp(total, log_weight(key, vae, params, encoded, cells, log_z)), None

        keys = jax.random.split(own, num_samples)
        start = jnp.full(rows_.shape, -jnp.inf)
        return None, jax.lax.scan(add, start, keys)[0]

    return scan_some(chunk, None, (jnp.arange(rows.shape[0]), rows), num_chunks)[1]


def log_weight(
    key: jax.Array,
    vae: VAE,
    params: Params,
    encoded: jax.Array | Groups,
    cells: Minibatch,
    log_z: jax.Array | float,
) -> jax.Array:
    """Log w of one sample per cell [cells]; `params["genes"]` is a draw already.

    `encoded` is what `vae.encode` gives for the cells.
    """
    key_latent, key_library = jax.random.split(key)
    latent, log_ratio = _latents(key_latent, vae, params, encoded)
    log_ratio = log_ratio - log_z
    sizes = None
    if vae.encode_library is not None:
        assert vae.library_prior is not None, "a latent library size has a prior"
        sizes, library_ratio = library_size.draw_and_weigh(
            key_library, vae.encode_library(params, cells.counts), vae.library_prior, cells.batch
        )
        log_ratio = log_ratio + library_ratio
    return log_likelihood(vae, params, latent, cells, sizes) + log_ratio


def _latents(
    key: jax.Array, vae: VAE, params: Params, encoded: jax.Array | Groups
) -> tuple[jax.Array, jax.Array]:
    """(decoder's input [cells, N], -E(z) - log q(z | x) [cells])."""
    prior = vae.prior
    # Nothing is drawn where latents are read as they are.
    key_draw, key_read = jax.random.split(key) if prior.binary else (key, key)
    latents, log_q = vae.posterior.draw_latents(key_draw, encoded)
    energy = prior.energy(prior_params(vae, params), latents)
    return prior.read(key_read, latents), -energy - log_q
