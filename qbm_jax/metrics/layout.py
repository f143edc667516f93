"""Two-dimensional pictures of an embedding."""

import warnings

import anndata
import numpy as np
import scanpy

from qbm_jax.errors import InputError

NUM_NEIGHBORS = 15
EXACT_LIMIT = 50_000  # cells; below it an exact search is quicker than compiling an approximate one


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
    if embedding.ndim != 2 or len(embedding) < 4 or not np.isfinite(embedding).all():
        raise InputError(
            f"expected a finite embedding [cells, dims] of 4 cells or more, got {embedding.shape}"
        )
    cells = anndata.AnnData(np.array(embedding, dtype=np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn warns that a seed forbids parallel threads
        scanpy.pp.neighbors(
            cells,
            use_rep="X",
            n_neighbors=min(NUM_NEIGHBORS, len(embedding) - 1),
            transformer="sklearn" if len(embedding) <= EXACT_LIMIT else None,
            random_state=seed,
        )
        # the spectral start needs more cells than it has components
        start = "spectral" if len(embedding) > NUM_NEIGHBORS else "random"
        scanpy.tl.umap(cells, init_pos=start, random_state=seed)
    return np.asarray(cells.obsm["X_umap"], dtype=np.float32)
