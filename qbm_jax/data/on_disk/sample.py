"""The sample of cells on disk that the variable genes are chosen on."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from qbm_jax.data.names import distinct
from qbm_jax.data.on_disk.csr_file import CsrFile
from qbm_jax.data.on_disk.stored_cells import StoredCells
from qbm_jax.data.on_disk.survey import Survey, stratified_sample
from qbm_jax.data.preprocess import choose_genes, keep_expressed

MAX_SAMPLE_COUNTS = 40_000_000
"""Stored counts of these cells: 320 MB, of which choosing genes needs some five times as much."""


def sample_size(files: Sequence[CsrFile], max_sample: int) -> int:
    """Cells to choose genes on: fewer where the mean cell has many stored counts."""
    stored = sum(int(file.indptr[-1]) for file in files)
    rows = sum(file.shape[0] for file in files)
    return max(min(max_sample, MAX_SAMPLE_COUNTS * rows // max(stored, 1)), 1)


def sampled_rows(obs: pd.DataFrame, batch_column: str | None, size: int) -> np.ndarray:
    """Rows of the sample [size], in ascending order, drawn within each batch."""
    strata = np.zeros(len(obs), int)
    if batch_column is not None:
        strata = np.unique(distinct(obs[batch_column])[0], return_inverse=True)[1]
    return stratified_sample(strata, size)


def choose_from_sample(
    cells: StoredCells,
    facts: Survey,
    sampled: np.ndarray,
    num_genes: int,
    min_cells_per_gene: int,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Positions [chosen genes] of the genes to model among those of `cells`, and notes on them."""
    index = np.searchsorted(cells.rows, sampled)
    index = np.minimum(index, cells.num_cells - 1)
    kept = cells.rows[index] == sampled
    expressed = facts.seen > 0
    counts, facts.sample = facts.sample, facts.sample[:0]
    if not kept.all():
        counts = counts[kept]
    if not expressed.all():
        counts = counts[:, expressed]
    few = cells.in_memory(counts, index[kept])
    del counts  # a copy for each step would be more than the bound on the sample allows for
    few = keep_expressed(few, facts.seen[expressed], min_cells_per_gene)
    chosen = choose_genes(few, num_genes)
    notes = chosen.notes
    if kept.sum() < cells.num_cells and chosen.num_genes < few.num_genes:
        notes += (
            f"Variable genes were chosen on a sample of {kept.sum()} of {cells.num_cells} cells, "
            f"drawn within each batch; it has at most about {MAX_SAMPLE_COUNTS} stored counts.",
        )
    return pd.Index(cells.genes).get_indexer(list(chosen.genes)), notes
