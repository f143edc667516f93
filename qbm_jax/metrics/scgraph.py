"""scGraph: are the distances between cell types those that each batch's own PCA shows?

The score is that of the package scgraph-eval (Wang, Leskovec and Regev 2025,
10.1038/s41587-025-02702-z). Its reference is PCA geometry within batches by definition, so an
embedding by PCA starts with an advantage: put it in the table.
"""

import contextlib
import io
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import anndata
import numpy as np
import pandas as pd
import scanpy
from scipy import sparse, stats

from qbm_jax.errors import InputError
from qbm_jax.metrics.baselines import TARGET_COUNTS
from qbm_jax.metrics.checks import check_labels, check_names, check_points

with warnings.catch_warnings():  # importing it silences the warnings of the whole process
    from scgraph import scGraph

MIN_BATCH, MIN_TYPE = 100, 10  # cells; the package's own thresholds
NUM_COMPONENTS, TRIMMED = (
    10,
    0.05,
)  # of a batch's PCA, share of a type's cells on each side; its own
COLUMNS = {"Rank-PCA": "rank", "Corr-PCA": "correlation", "Corr-Weighted": "weighted"}


class ScGraph(NamedTuple):
    """Scores by embedding, and remarks.

    All in [-1, 1], best at 1: `scgraph_weighted` is Pearson's correlation with weights that fall
    with the distance, `scgraph_correlation` the plain one, and `scgraph_rank` Spearman's.
    """

    values: dict[str, dict[str, float]]
    notes: list[str]


def score_scgraph(
    embeddings: Mapping[str, np.ndarray],
    counts: sparse.spmatrix,
    batch: np.ndarray,
    labels: np.ndarray | None,
) -> ScGraph:
    """Correlates distances between cell types with their consensus over the batches' own PCA.

    Args:
      embeddings: name to coordinates [cells, dims].
      counts: raw counts [cells, genes], of which the package takes each batch's 1,000 most variable
        genes and 10 components.
      batch: batch of every cell [cells]; those of fewer than 100 cells give no reference.
      labels: type of every cell [cells]; those of fewer than 10 cells, or in no batch of 100 cells
        with another such type, have no distances, with a note. Cells of small types still count
        in their batches.

    Returns:
      The scores; NaN for an embedding in which all types are at one point.

    Raises:
      InputError: no labels, fewer than three usable types, ten genes or fewer, or arrays that do
        not fit together.
    """
    types = check_labels(labels, "scGraph", counts.shape[0])
    points = {n: check_points(e, len(types), f"embedding {n}") for n, e in embeddings.items()}
    batch = check_names(batch, "batch", len(types))
    if counts.shape[1] <= NUM_COMPONENTS:
        raise InputError(
            f"expected more than {NUM_COMPONENTS} genes for scGraph, got {counts.shape[1]}; leave"
            " this score out"
        )
    chosen, notes = _usable_cells(batch, types)
    flat = [n for n, e in points.items() if _is_flat(e[chosen], types[chosen])]
    if flat:
        notes.append(f"embeddings with all types at one point have no scGraph: {', '.join(flat)}")
    cells = anndata.AnnData(
        sparse.csr_matrix(counts, dtype=np.float32)[chosen],
        obs=pd.DataFrame({"batch": batch[chosen], "type": types[chosen]}).set_index(
            np.arange(chosen.sum()).astype(str)
        ),
        obsm={name: coordinates[chosen] for name, coordinates in points.items()},
    )
    scanpy.pp.normalize_total(cells, target_sum=TARGET_COUNTS)
    scanpy.pp.log1p(cells)
    table = _run(cells, [name for name in points if name not in flat]).reindex(list(points))
    values = {
        name: {
            f"scgraph_{ours}": float(table.loc[name, theirs]) for theirs, ours in COLUMNS.items()
        }
        for name in points
    }
    return ScGraph(values, notes)


def _usable_cells(batch: np.ndarray, types: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The cells that the package gets [cells], and notes on types and batches that do not enter.

    It skips small types itself, after it has counted a batch's cells and found their components. It
    fails at a type that is in no batch large enough, or in such batches alone, and at a batch that
    has small types alone.
    """
    all_types, sizes = np.unique(types, return_counts=True)
    enough = all_types[sizes >= MIN_TYPE]
    names, sizes = np.unique(batch, return_counts=True)
    num_types = np.array([len(np.intersect1d(types[batch == name], enough)) for name in names])
    large = names[(sizes >= MIN_BATCH) & (num_types > 1)]
    seen = np.unique(types[np.isin(batch, large)])
    usable = np.intersect1d(enough, seen)
    with_types = np.unique(batch[np.isin(types, usable)])
    if len(usable) < 3:
        raise InputError(
            f"expected three types of {MIN_TYPE} cells in batches of {MIN_BATCH} cells for scGraph,"
            f" got {len(usable)} in {len(large)} such batches; leave this score out"
        )
    notes = []
    if len(left_out := np.setdiff1d(all_types, usable)):
        in_large = np.unique(types[np.isin(batch, names[sizes >= MIN_BATCH])])
        alone = np.isin(left_out, np.intersect1d(enough, in_large)).any()
        why = "too small or alone in their batches" if alone else "too small"
        notes.append(f"scGraph leaves out types that are {why}: {', '.join(left_out)}")
    if len(without := np.setdiff1d(names, large)):
        why = f"fewer than {MIN_BATCH} cells"
        if (sizes[np.isin(names, without)] >= MIN_BATCH).any():
            why += f" or two types of {MIN_TYPE}"
        notes.append(f"batches of {why} give no reference: {', '.join(without)}")
    return np.isin(types, seen) & np.isin(batch, with_types), notes


def _is_flat(points: np.ndarray, types: np.ndarray) -> bool:
    """Whether the trimmed means of the types that the package compares are all equal."""
    names, sizes = np.unique(types, return_counts=True)
    compared = [points[types == name] for name in names[sizes >= MIN_TYPE]]
    centres = np.array([stats.trim_mean(each, TRIMMED, axis=0) for each in compared])
    return bool((np.ptp(centres, axis=0) == 0).all())


def _run(cells: anndata.AnnData, names: list[str]) -> pd.DataFrame:
    """The package's table; it reads a file and prints, so both stay in here."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        path = Path(folder) / "cells.h5ad"
        cells.write_h5ad(path)
        graph = scGraph(
            str(path),
            "batch",
            "type",
            only_umap=False,
            thres_batch=MIN_BATCH,
            thres_celltype=MIN_TYPE,
        )
        return graph.main(names)
