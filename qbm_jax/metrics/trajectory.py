"""Diffusion pseudotime on an embedding, and how well it keeps a reference order.

Pseudotime is that of Haghverdi et al. 2016 (10.1038/nmeth.3971) on scanpy's graph and diffusion
map; conservation is (1 + Spearman's rho) / 2 as in scIB (Luecken et al. 2022,
10.1038/s41592-021-01336-8). It departs from `scanpy.tl.dpt` where that fails: there every
eigenvalue from 0.9994 on counts as stationary, so on a long line, or between groups that hardly
touch, the slowest direction, which is time itself, loses its weight. Here the root's connected
component is taken first, and its one stationary direction is dropped.
"""

import warnings
from typing import NamedTuple

import anndata
import numpy as np
import scanpy
from scipy import sparse, stats

from qbm_jax.errors import InputError
from qbm_jax.metrics.checks import check_labels, check_names, check_points
from qbm_jax.metrics.graph import cells_with_graph

MIN_CELLS = 30  # fewer have no diffusion map worth a pseudotime
MIN_PAIRS = 3
NUM_COMPONENTS = 10


class Pseudotime(NamedTuple):
    """Distance from the root cell along the graph, in [0, 1]; NaN where the graph has no path."""

    values: np.ndarray  # [cells]
    root_cell: int
    unreached: float  # share of the cells without a value


def check_root(labels: np.ndarray | None, root: str) -> np.ndarray:
    """The labels [cells] as text.

    Raises:
      InputError: there are none, or the root type is not among them.
    """
    types = check_labels(labels, "a trajectory")
    names = np.unique(types)
    if root not in names:
        raise InputError(f"expected a root type among {', '.join(names)}, got {root!r}")
    return types


def diffusion_pseudotime(
    embedding: np.ndarray, labels: np.ndarray | None, root: str, seed: int = 0
) -> Pseudotime:
    """Pseudotime of every cell from the middle of the root type.

    The root cell is the cell of the root type nearest to the mean of that type in the embedding, so
    it is a typical cell of the type and depends on nothing but the embedding. Graph of 15
    neighbours and 10 diffusion components, the stationary one among them: scanpy's defaults.

    Args:
      embedding: [cells, dims].
      labels: type of every cell [cells].
      root: the type where time starts.
      seed: of the eigenvalue problem's start vector.

    Raises:
      InputError: no labels, no such type, fewer than 30 cells, or an unusable embedding.
    """
    types = check_root(labels, root)
    points = check_points(embedding, len(types))
    if len(points) < MIN_CELLS:
        raise InputError(f"expected at least {MIN_CELLS} cells for a pseudotime, got {len(points)}")
    members = np.flatnonzero(types == root)
    from_mean = np.linalg.norm(points[members] - points[members].mean(axis=0), axis=1)
    root_cell = int(members[np.argmin(from_mean)])
    cells = cells_with_graph(points, seed)
    component = sparse.csgraph.connected_components(cells.obsp["connectivities"])[1]
    reached = np.flatnonzero(component == component[root_cell])
    values = np.full(len(points), np.nan)
    root_reached = int(np.searchsorted(reached, root_cell))
    values[reached] = _distances(cells[reached].copy(), root_reached, seed)
    return Pseudotime(values, root_cell, float(np.isnan(values).mean()))


def _distances(cells: anndata.AnnData, root: int, seed: int) -> np.ndarray:
    """Diffusion distance over all times of connected cells from the cell `root`, at most 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scanpy.tl.diffmap(cells, NUM_COMPONENTS, random_state=seed)
    eigenvalues = cells.uns["diffmap_evals"][1:].astype(np.float64)  # the first is stationary
    gap = np.maximum(1 - eigenvalues, np.finfo(np.float32).eps)  # they come in single precision
    coordinates = cells.obsm["X_diffmap"][:, 1:] * (eigenvalues / gap)
    distances = np.linalg.norm(coordinates - coordinates[root], axis=1)
    return distances / max(distances.max(), np.finfo(np.float64).tiny)


def conservation(
    pseudotime: np.ndarray, reference: np.ndarray, batch: np.ndarray | None = None
) -> dict[str, float]:
    """Agreement of two orders, over the cells that both give a value.

    Cells that the pseudotime does not reach are left out of the correlations and reported, because
    an embedding that falls to pieces keeps the order within the root's piece easily.

    Args:
      pseudotime: [cells], NaN where unknown.
      reference: [cells], NaN for cells to leave out.
      batch: where references of different batches are on different scales: correlations are taken
        within batches and their plain mean is reported, over batches with 3 cells or more on
        several values.

    Returns:
      `spearman`, `kendall` (tau-b), `conservation` (1 + spearman) / 2 and `unreached`, the share of
      cells with a reference but without pseudotime. NaN where the pseudotime is constant, or
      reaches fewer than 3 cells of every batch.

    Raises:
      InputError: different lengths, or fewer than 3 cells with a reference, or all on one value.
    """
    pseudotime, reference = np.asarray(pseudotime, float), np.asarray(reference, float)
    if pseudotime.shape != reference.shape:
        raise InputError(
            f"expected one reference per cell, got {reference.shape}/{pseudotime.shape}"
        )
    known = np.isfinite(reference)
    if known.sum() < MIN_PAIRS or np.ptp(reference[known]) == 0:
        raise InputError(
            f"expected a reference of at least {MIN_PAIRS} cells on several values, got"
            f" {known.sum()} cells on {len(np.unique(reference[known]))}"
        )
    both = known & np.isfinite(pseudotime)
    pairs = [
        _correlations(pseudotime[chosen], reference[chosen])
        for chosen in ordered_groups(both, reference, batch)
    ]
    spearman, kendall = np.mean(pairs, axis=0) if pairs else (np.nan, np.nan)
    return {
        "spearman": float(spearman),
        "kendall": float(kendall),
        "conservation": float((1 + spearman) / 2),
        "unreached": float(1 - both.sum() / known.sum()),
    }


def ordered_groups(
    known: np.ndarray, reference: np.ndarray, batch: np.ndarray | None
) -> list[np.ndarray]:
    """Masks [cells] of the known cells whose references are on one scale, batch by batch.

    Those of fewer than 3 cells, or all on one value, have no order and are left out.

    Args:
      known: mask [cells].
      reference: [cells].
      batch: of every cell [cells]; None: all are on one scale.

    Raises:
      InputError: another number of batches than cells.
    """
    groups = np.zeros(len(known), int)
    if batch is not None:
        groups = np.unique(check_names(batch, "batch", len(known)), return_inverse=True)[1]
    masks = (known & (groups == group) for group in np.unique(groups))
    return [mask for mask in masks if mask.sum() >= MIN_PAIRS and np.ptp(reference[mask]) > 0]


def _correlations(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Spearman's rho and Kendall's tau-b; NaN if one side is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan, np.nan
    return stats.spearmanr(first, second).statistic, stats.kendalltau(first, second).statistic
