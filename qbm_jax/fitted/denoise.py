"""Normalised expression by the decoder, with batches corrected and with credible intervals.

A cell's expression is the decoder's mean, averaged over draws of the cell's posterior, as in scVI
(Lopez et al., Nature Methods 15, 2018). It is corrected for batches by decoding the same latents as
if the cell came from another batch. Zero inflation is left out: it is a fault of the measurement.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from qbm_jax.data import Cells
from qbm_jax.data.read import gene_positions
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import pad_rows
from qbm_jax.fitted.document import Model
from qbm_jax.fitted.empty_cells import full_rows, warn_of_empty_cells
from qbm_jax.fitted.generation import batch_code, check_library_size
from qbm_jax.fitted.model_cells import cells_in_batches, cells_of_model
from qbm_jax.model import likelihoods
from qbm_jax.model.inference import expression
from qbm_jax.model.vae import VAE, Params, prior_params
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import check, choice, fraction, whole

EACH, OBSERVED = "each", "observed"
NUM_SAMPLES = 25  # posterior draws of a cell: the error of a mean is a fifth of their spread
_NUMBERS = 2**25  # of expression held at a time


class CredibleInterval(NamedTuple):
    """Ends of the credible interval of each expression, DataFrames [cells, genes]."""

    lower: pd.DataFrame
    upper: pd.DataFrame


def denoise(
    model: Model,
    adata: Any,
    batch: Any = None,
    *,
    num_samples: int = NUM_SAMPLES,
    genes: str | Sequence[str] | None = None,
    return_: str = "mean",
    library_size: float | str | None = None,
    level: float = 0.9,
    batch_column: str | None = None,
    layer: str | None = None,
    seed: int = 0,
) -> Any:
    """Expression of each gene in each cell without the noise of counting, and without batches.

    Args:
      model: the fitted model.
      adata: cells with the model's genes.
      batch: experimental batch that all cells are decoded in, which removes the differences between
        batches; "each": the mean over all batches; None: each cell in its own.
      num_samples: posterior draws of each cell.
      genes: names of those that are wanted, or one name; None: all of the model.
      return_: "mean" over the draws, the "samples" themselves, or their "interval".
      library_size: total count that a cell's genes share; None: 10,000; "observed": the cell's own
        total in the model's genes, with what is expected of those that a mapped query lacks.
        Likelihoods normal and squared_error have none.
      level: probability of the interval, between its equally improbable tails.
      batch_column: column of `obs` with the experimental batch; None: that of the training, where
        `batch` leaves each cell in its own.
      layer: layer with the raw counts; None: that of the training, or `X`.
      seed: of the draws.

    Returns:
      A DataFrame [cells, genes]; float32 [samples, cells, genes] for "samples"; a
      `CredibleInterval` of two DataFrames. Under the likelihoods normal and squared_error the
      values are log-normalised, log(1 + counts / total * 1e4). Cells without any count in the
      model's genes get NaN, with a warning.

    Raises:
      InputError: as `embed`, or an argument that cannot be used.

    Example:
      >>> found = model.denoise(adata, batch="each", genes=["INS", "GCG"])
      >>> found.groupby(adata.obs.celltype).mean()
    """
    num_samples = check("num_samples", num_samples, whole(1))
    check("return_", return_, choice(("mean", "samples", "interval")))
    level = check("level", level, fraction(open_ends=True))
    cells, batches = _in_batches(model, adata, batch, batch_column, layer)
    names = model.settings.genes if genes is None else _named(genes)
    columns = gene_positions(model.settings.genes, names)
    totals = _totals(model, cells, library_size)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    blocks = []
    for drawn in expression_blocks(
        model, cells, batches, totals, columns, num_samples=num_samples, seed=seed
    ):
        if return_ == "mean":
            blocks.append(drawn.mean(axis=0, dtype=np.float64)[None].astype(np.float32))
        else:
            blocks.append(drawn if return_ == "samples" else np.quantile(drawn, tails, axis=0))
    warn_of_empty_cells(cells.num_cells, adata.n_obs, stacklevel=3)
    number = {"mean": 1, "samples": num_samples, "interval": len(tails)}[return_]
    nothing = np.empty((number, 0, len(names)), np.float32)
    found = np.concatenate(blocks, axis=1) if blocks else nothing
    full = np.stack([full_rows(one, cells.rows, adata.n_obs) for one in found])
    if return_ == "samples":
        return full
    frames = [pd.DataFrame(one, adata.obs_names, list(names)) for one in full]
    return frames[0] if return_ == "mean" else CredibleInterval(*frames)


def reconstruct(model: Model, adata: Any, **arguments: Any) -> pd.DataFrame:
    """Expected counts of each cell, in its own batch and of its own total, [cells, genes].

    Of a mapped query that lacks genes they are expected counts of those too; the counts of the
    genes that are there have the cell's observed total.

    Args:
      model: the fitted model.
      adata: cells with the model's genes.
      **arguments: of `denoise`.
    """
    return denoise(model, adata, **{"library_size": OBSERVED, **arguments})


def expression_blocks(
    model: Model,
    cells: Cells,
    batches: np.ndarray,
    totals: np.ndarray,
    columns: np.ndarray,
    *,
    num_samples: int,
    seed: int,
) -> Iterator[np.ndarray]:
    """Draws of the expression of cells, a block of cells after another.

    Args:
      model: the fitted model.
      cells: with the model's genes.
      batches: codes [batches, cells] that each cell is decoded in; expressions are averaged.
      totals: total count that each cell's genes share [cells].
      columns: genes that are wanted [genes].
      num_samples: draws of each cell.
      seed: of the draws.

    Yields:
      Float32 [samples, cells of the block, genes].
    """
    key = keys.key_of(seed, "expression")
    width = int(np.clip(_NUMBERS // (num_samples * len(model.settings.genes)), 1, 256))
    rows, weights, num_chunks = pad_rows(np.arange(cells.num_cells), width)
    for number, (rows_, weights_) in enumerate(
        zip(rows[:num_chunks], weights[:num_chunks], strict=True)
    ):
        drawn = _draws(
            model.vae, num_samples, jax.random.fold_in(key, number), model.params,
            cells.counts[rows_].toarray(), batches[:, rows_], totals[rows_], columns,
        )  # fmt: skip
        yield np.asarray(drawn)[:, : int(weights_.sum())]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _draws(
    vae: VAE,
    num_samples: int,
    key: jax.Array,
    params: Params,
    counts: jax.Array,
    batches: jax.Array,
    totals: jax.Array,
    columns: jax.Array,
) -> jax.Array:
    """Expression [samples, cells, genes] of cells in the batches [batches, cells], averaged."""
    encoded = vae.encode(params, counts)
    of_prior = prior_params(vae, params)

    def draw(_: None, key: jax.Array) -> tuple[None, jax.Array]:
        zeta = vae.posterior.draw(key, of_prior, encoded).zeta

        def add(total: jax.Array, batch: jax.Array) -> tuple[jax.Array, None]:
            return total + expression(vae, params, zeta, batch, totals)[:, columns], None

        start = jnp.zeros((counts.shape[0], columns.shape[0]))
        return None, jax.lax.scan(add, start, batches)[0] / batches.shape[0]

    return jax.lax.scan(draw, None, jax.random.split(key, num_samples))[1]


def _in_batches(
    model: Model, adata: Any, batch: Any, batch_column: str | None, layer: str | None
) -> tuple[Cells, np.ndarray]:
    """The cells, and the codes [batches, cells] of the batches that they are decoded in."""
    if batch is None:
        cells = cells_in_batches(model, adata, layer=layer, batch_column=batch_column)
        return cells, cells.batch[None]
    names = model.settings.batch_names
    each = isinstance(batch, str) and batch == EACH
    if each and EACH in names:
        raise InputError(
            f'batch "{EACH}" stands for all batches, and a batch has that name; rename it, and fit '
            "again"
        )
    chosen = range(len(names)) if each else [batch_code(batch, names)]
    cells = cells_of_model(model, adata, layer=layer)
    return cells, np.repeat(np.array(chosen, np.int32)[:, None], cells.num_cells, axis=1)


def _named(genes: str | Sequence[str]) -> tuple[str, ...]:
    """The genes asked for; one text is one gene, and no gene for each letter."""
    return (genes,) if isinstance(genes, str) else tuple(map(str, genes))


def _totals(model: Model, cells: Cells, library_size: Any) -> np.ndarray:
    """The total count that each cell's genes share, float32 [cells]."""
    if isinstance(library_size, str):
        if library_size != OBSERVED:
            raise InputError(
                f'expected library_size as a number, "{OBSERVED}" or None, got {library_size!r}'
            )
        return cells.totals
    check_library_size(library_size, model.vae.likelihood)
    total = likelihoods.TARGET_LIBRARY if library_size is None else float(library_size)
    return np.full(cells.num_cells, total, np.float32)
