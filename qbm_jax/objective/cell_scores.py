"""How unusual a trained model finds each cell: energy, reconstruction, and the bound's terms."""

import functools
from typing import NamedTuple

import jax
import numpy as np

from qbm_jax import objective
from qbm_jax.feed.minibatches import DeviceCounts, Minibatch, gather, pad_rows
from qbm_jax.model.vae import VAE, Params, prior_params, redrawn


class CellScores(NamedTuple):
    """Scores of cells [cells], in nats: high ones are of cells unlike the training set.

    Attributes:
      energy: energy of the cell's embedding under the prior, as `inference.embed` gives it; it is
        E_q[E] where that has a closed form.
      reconstruction: -log p(x | latent, batch), one draw from the posterior.
      negative_bound: minus the bound on log p(x | batch), without log Z, which all cells share.
      entropy: H(q) of the posterior.
    """

    energy: np.ndarray
    reconstruction: np.ndarray
    negative_bound: np.ndarray
    entropy: np.ndarray


@functools.partial(jax.jit, static_argnums=1)
def _terms_and_energy(
    key: jax.Array, vae: VAE, params: Params, cells: Minibatch
) -> tuple[objective.Terms, jax.Array]:
    values = objective.terms(vae, params, key, redrawn(vae, key, cells))
    encoded = vae.encode(params, cells.counts)
    return values, vae.posterior.embed(prior_params(vae, params), encoded)[1]


def score_cells(
    key: jax.Array, vae: VAE, params: Params, data: DeviceCounts, width: int = 256
) -> CellScores:
    """Scores every cell of `data`.

    Args:
      key: for the posterior draws.
      vae: the model.
      params: its parameters.
      data: the cells.
      width: cells at a time.
    """
    terms, energy = cell_terms(key, vae, params, data, width)
    reconstruction = np.asarray(terms.reconstruction)
    negative_bound = reconstruction + np.asarray(objective.kl(terms, 0.0))
    return CellScores(energy, reconstruction, negative_bound, np.asarray(terms.entropy))


def cell_terms(
    key: jax.Array, vae: VAE, params: Params, data: DeviceCounts, width: int = 256
) -> tuple[objective.Terms, np.ndarray]:
    """The terms of the bound of every cell of `data`, and its energy, [cells] each, in nats.

    With 256 cells at a time the posterior draws are those of `training.build_evaluation`.

    Args:
      key: for one posterior draw of each cell.
      vae: the model.
      params: its parameters.
      data: the cells.
      width: cells at a time.
    """
    rows, _, num_chunks = pad_rows(np.arange(data.num_cells), width)
    # Sets differ in shape, their minibatches do not: the model is compiled once for all of them.
    scored = [
        jax.device_get(
            _terms_and_energy(jax.random.fold_in(key, index), vae, params, gather(data, rows_))
        )
        for index, rows_ in enumerate(rows[:num_chunks])
    ]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: data.num_cells], *scored)
