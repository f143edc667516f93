"""Silhouettes: of cell types among each other, and of batches within a cell type.

The values are those of scib-metrics 0.5.10, computed by products instead of pairwise differences
and without compiling for every size of cell type.
"""

from collections.abc import Iterator

import numpy as np
import sklearn
from sklearn.metrics import silhouette_samples

WORKING_MEMORY = 128  # MiB of distances held at once


def type_silhouette(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Euclidean silhouette of every cell towards its type, from [-1, 1] to [0, 1]; [cells]."""
    with sklearn.config_context(working_memory=WORKING_MEMORY):
        return (silhouette_samples(points, labels) + 1) / 2


def silhouette_batch(points: np.ndarray, batch: np.ndarray, labels: np.ndarray) -> float:
    """1 - |silhouette of batches within a type|, mean over types; NaN if no type has batches.

    Points are [cells, dimensions], batches and labels [cells].
    """
    with sklearn.config_context(working_memory=WORKING_MEMORY):
        scores = [
            1 - np.abs(silhouette_samples(points[cells], batch[cells])).mean()
            for cells in _mixed_types(batch, labels)
        ]
    return float(np.mean(scores)) if scores else np.nan


def bras(points: np.ndarray, batch: np.ndarray, labels: np.ndarray) -> float:
    """Batch removal adapted silhouette (Rautenstrauch and Ohler 2025), mean over types.

    Cosine distance, and the mean distance to all other batches instead of the nearest one. The mean
    cosine distance to a set of cells is one product with the sum of their unit vectors.
    NaN if no type has batches. Points are [cells, dimensions], batches and labels [cells].
    """
    points = points.astype(np.float64)  # cosines of points far from 0 are 1 in single precision
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    units = points / np.where(lengths > 0, lengths, 1)
    scores = [
        1 - np.abs(_cosine_silhouette(units[cells], batch[cells])).mean()
        for cells in _mixed_types(batch, labels)
    ]
    return float(np.mean(scores)) if scores else np.nan


def _mixed_types(batch: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of the cells of every type that has several batches and fewer batches than cells."""
    for label in np.unique(labels):
        cells = np.flatnonzero(labels == label)
        if 1 < len(np.unique(batch[cells])) < len(cells):
            yield cells


def _cosine_silhouette(units: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Silhouette of unit vectors [cells, dims] towards their batch, against all other cells."""
    _, codes, sizes = np.unique(batch, return_inverse=True, return_counts=True)
    sums = (codes == np.arange(len(sizes))[:, None]) @ units
    own, size = sums[codes], sizes[codes]
    # of a cell to itself it is 0, of a vector without direction to all others 1
    within = size - 1 - (units * (own - units)).sum(axis=1)
    within /= np.maximum(size - 1, 1)
    others = len(units) - size
    between = (others - (units * (sums.sum(axis=0) - own)).sum(axis=1)) / others
    scale = np.maximum(within, between)
    # by convention 0 for a batch of one cell
    return np.where((size > 1) & (scale > 0), (between - within) / np.where(scale > 0, scale, 1), 0)
