"""Two-dimensional pictures of an embedding."""

import warnings

import numpy as np
import scanpy

from qbm_jax.errors import InputError
from qbm_jax.metrics.checks import check_points
from qbm_jax.metrics.graph import NUM_NEIGHBORS, cells_with_graph


def umap_layout(embedding: np.ndarray, seed: int = 0) -> np.ndarray:
    """UMAP coordinates by scanpy's defaults: 15 neighbours, Euclidean distance.

    Args:
      embedding: [cells, dims]; left as it is.
      seed: start and order of the optimisation; the same seed gives the same picture.

    Returns:
      Coordinates, float32 [cells, 2].

    Raises:
      InputError: not a finite matrix of at least 4 cells.
    """
    points = check_points(embedding, len(embedding))
    if len(points) < 4:
        raise InputError(
            f"expected a finite embedding [cells, dims] of 4 cells or more, got {points.shape}"
        )
    cells = cells_with_graph(points, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn warns that a seed forbids parallel threads
        # the spectral start needs more cells than it has components
        start = "spectral" if len(embedding) > NUM_NEIGHBORS else "random"
        scanpy.tl.umap(cells, init_pos=start, random_state=seed)
    return np.asarray(cells.obsm["X_umap"], dtype=np.float32)
