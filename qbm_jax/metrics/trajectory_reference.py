"""The order that a trajectory is held against: known stages, or pseudotime before correction."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import sparse

from qbm_jax.errors import InputError
from qbm_jax.metrics.baselines import pca_embedding
from qbm_jax.metrics.checks import check_names
from qbm_jax.metrics.trajectory import MIN_CELLS, check_root, diffusion_pseudotime


class Reference(NamedTuple):
    """An order of cells and where it comes from.

    `source` is "stages", "known_times" or "pca_per_batch". `batch` is None where one order
    holds for all cells, and else the batch of every cell: pass it to `conservation`.
    """

    values: np.ndarray  # [cells], NaN for cells to leave out
    source: str
    batch: np.ndarray | None
    notes: list[str]


def stage_reference(stages: np.ndarray, ranks: Mapping[str, float]) -> Reference:
    """Known stages as numbers; cells of stages without a rank are left out.

    Args:
      stages: name of the stage of every cell [cells].
      ranks: position of a stage, NaN to leave it out; stages on one level share a rank.

    Raises:
      InputError: a rank for a stage that is not there, or fewer than two different ranks.
    """
    names = np.asarray(stages).astype(str)
    if missing := sorted(set(ranks) - set(names)):
        raise InputError(f"expected stages among {sorted(set(names))}, got ranks for {missing}")
    used = {name: rank for name, rank in ranks.items() if not np.isnan(rank)}
    if len(set(used.values())) < 2:
        raise InputError(f"expected at least two ranks of stages, got {sorted(used.values())}")
    values = np.array([used.get(name, np.nan) for name in names], dtype=np.float64)
    without = sorted(set(names) - set(used))
    notes = [f"stages without a rank are left out: {', '.join(without)}"] if without else []
    return Reference(values, "stages", None, notes)


def reference_pseudotime(
    counts: sparse.spmatrix,
    batch: np.ndarray,
    labels: np.ndarray | None,
    root: str,
    seed: int = 0,
) -> Reference:
    """Diffusion pseudotime on each batch's own principal components, without correction.

    Within a batch there is nothing to correct, so the order is that of the data; across batches
    the values are not comparable.

    Args:
      counts: raw counts [cells, genes].
      batch: batch of every cell [cells].
      labels: type of every cell [cells].
      root: the type where time starts; batches without it are left out.
      seed: as in `diffusion_pseudotime`.

    Raises:
      InputError: no labels, no such type, no batch of 30 cells that holds it, or arrays of
        different lengths.
    """
    labels, counts = check_root(labels, root), sparse.csr_matrix(counts)
    batch = check_names(batch, "batch", len(labels))
    if counts.shape[0] != len(labels):
        raise InputError(f"expected one label per cell, got {len(labels)} for {counts.shape[0]}")
    values, left_out = np.full(len(labels), np.nan), []
    for name in np.unique(batch):
        cells = np.flatnonzero(batch == name)
        types = set(labels[cells])
        if len(cells) < MIN_CELLS or root not in types or len(types) < 2:
            left_out.append(str(name))
            continue
        components = pca_embedding(counts[cells], seed=seed)
        values[cells] = diffusion_pseudotime(components, labels[cells], root, seed).values
    if np.isnan(values).all():
        raise InputError(
            f"expected a batch of {MIN_CELLS} cells or more with {root} and another type, got none;"
            " choose another root type"
        )
    notes = [f"batches without a reference pseudotime: {', '.join(left_out)}"] if left_out else []
    return Reference(values, "pca_per_batch", batch, notes)
