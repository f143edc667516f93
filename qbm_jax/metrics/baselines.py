"""The embedding that needs no training: principal components of log-normalised counts."""

import anndata
import numpy as np
import scanpy
from scipy import sparse

from qbm_jax.errors import InputError

TARGET_COUNTS = 1e4  # scanpy's and scvi-tools' usual library size before the logarithm


def pca_embedding(counts: sparse.spmatrix, num_components: int = 50, seed: int = 0) -> np.ndarray:
    """Principal components of log(1 + counts scaled to 10,000 per cell), uncorrected for batches.

    It is both the baseline of the score table and the reference of PCR comparison, which is how
    scIB uses it (Luecken et al. 2022, 10.1038/s41592-021-01336-8).

    Args:
      counts: raw counts [cells, genes]; left as they are.
      num_components: at most this many; fewer when there are fewer cells or genes.
      seed: start vector of the singular value decomposition.

    Returns:
      Coordinates, float32 [cells, min(num_components, cells - 1, genes - 1)].

    Raises:
      InputError: fewer than two cells or two genes.
    """
    if min(counts.shape) < 2:
        raise InputError(f"expected counts of at least 2 cells and 2 genes, got {counts.shape}")
    cells = anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float32, copy=True))
    scanpy.pp.normalize_total(cells, target_sum=TARGET_COUNTS)
    scanpy.pp.log1p(cells)
    num_components = min(num_components, min(counts.shape) - 1)
    scanpy.pp.pca(cells, n_comps=num_components, svd_solver="arpack", random_state=seed)
    return np.ascontiguousarray(cells.obsm["X_pca"], dtype=np.float32)
