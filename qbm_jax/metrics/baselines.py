"""The embeddings that need no training: principal components, Harmony on them, and Scanorama."""

import contextlib
import io

import anndata
import numpy as np
import scanpy
from scipy import sparse

from qbm_jax.errors import InputError
from qbm_jax.metrics.checks import check_names, check_points
from qbm_jax.runtime.optional import needed

MIN_HARMONY_CELLS = 30  # for one of Harmony's clusters, of which there is one per 30 cells
TARGET_COUNTS = 1e4  # scanpy's and scvi-tools' usual library size before the logarithm


def pca_embedding(
    counts: sparse.spmatrix,
    num_components: int = 50,
    seed: int = 0,
    fit_on: np.ndarray | None = None,
) -> np.ndarray:
    """Principal components of log(1 + counts scaled to 10,000 per cell), uncorrected for batches.

    It is both the baseline of the score table and the reference of PCR comparison, which is how
    scIB uses it (Luecken et al. 2022, 10.1038/s41592-021-01336-8).

    Args:
      counts: raw counts [cells, genes]; left as they are.
      num_components: at most this many; fewer when there are fewer cells or genes.
      seed: start vector of the singular value decomposition.
      fit_on: indices (or a mask) of the cells that give the components, onto which all are
        projected; None: all cells.

    Returns:
      Coordinates, float32 [cells, min(num_components, fitted cells - 1, genes - 1)].

    Raises:
      InputError: fewer than two cells (to fit on) or two genes, or cells that are all the same.
    """
    if fit_on is not None and np.asarray(fit_on).dtype == bool:
        fit_on = np.flatnonzero(fit_on)
    if min(counts.shape) < 2 or (fit_on is not None and len(fit_on) < 2):
        raise InputError(f"expected counts of at least 2 cells and 2 genes, got {counts.shape}")
    cells = _log_normalised(counts)
    fitted = cells if fit_on is None else cells[np.sort(fit_on)].copy()
    if not (fitted.X.max(axis=0) != fitted.X.min(axis=0)).nnz:
        raise InputError("expected cells of different counts for principal components, got equal")
    num_components = min(num_components, min(fitted.shape) - 1)
    scanpy.pp.pca(fitted, n_comps=num_components, svd_solver="arpack", random_state=seed)
    if fit_on is None:
        return np.ascontiguousarray(cells.obsm["X_pca"], dtype=np.float32)
    loadings = fitted.varm["PCs"]
    centre = np.asarray(fitted.X.mean(axis=0)).ravel()
    return np.ascontiguousarray(cells.X @ loadings - centre @ loadings, dtype=np.float32)


def _log_normalised(counts: sparse.spmatrix) -> anndata.AnnData:
    """log(1 + counts scaled to 10,000 per cell) [cells, genes]."""
    cells = anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float32, copy=True))
    scanpy.pp.normalize_total(cells, target_sum=TARGET_COUNTS)
    scanpy.pp.log1p(cells)
    return cells


def harmony_embedding(components: np.ndarray, batch: np.ndarray, seed: int = 0) -> np.ndarray:
    """Principal components corrected for batches by Harmony, at the package's defaults.

    Korsunsky et al. 2019 (10.1038/s41592-019-0619-0), as in harmonypy 2.

    Args:
      components: uncorrected principal components [cells, dims], see `pca_embedding`.
      batch: batch of every cell [cells].
      seed: of the clusters' start.

    Returns:
      Corrected coordinates, float32 [cells, dims].

    Raises:
      InputError: a single batch, fewer than 30 cells, values that are not finite, or another number
        of batches than cells.
    """
    names = check_names(batch, "batch")
    points = check_points(components, len(names), "principal components")
    if len(np.unique(names)) < 2 or len(names) < MIN_HARMONY_CELLS:
        raise InputError(
            f"expected at least two batches and {MIN_HARMONY_CELLS} cells for Harmony, got"
            f" {len(np.unique(names))} and {len(names)}; leave this method out"
        )
    if points.shape[1] >= len(points):  # it tells cells from components by their number
        raise InputError(f"expected fewer components than cells, got {points.shape}")
    result = needed("harmonypy").run_harmony(
        points, {"batch": names}, "batch", random_state=seed, ncores=1, verbose=False
    )
    return np.ascontiguousarray(result.Z_corr, dtype=np.float32)


def scanorama_embedding(counts: sparse.spmatrix, batch: np.ndarray, seed: int = 0) -> np.ndarray:
    """Batches put on each other by mutual nearest neighbours, at Scanorama's own defaults.

    Hie, Bryson and Berger 2019 (10.1038/s41587-019-0113-3), on log(1 + counts scaled to 10,000 per
    cell).

    Args:
      counts: raw counts [cells, genes]; left as they are.
      batch: batch of every cell [cells].
      seed: of the decomposition and of approximate neighbours.

    Returns:
      Coordinates, float32 [cells, at most 100].

    Raises:
      InputError: a single batch, another number of batches than cells, or Scanorama is not there.
    """
    names = check_names(batch, "batch", counts.shape[0])
    batches = np.unique(names)
    if len(batches) < 2:
        raise InputError("expected at least two batches for Scanorama, got one; leave it out")
    cells, genes = _log_normalised(counts), np.arange(counts.shape[1]).astype(str)
    places = [np.flatnonzero(names == each) for each in batches]
    scanorama = needed("scanorama")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints at any verbosity
        found, _ = scanorama.integrate(
            [sparse.csr_matrix(cells.X[rows]) for rows in places], [genes] * len(places),
            verbose=0, seed=seed,
        )  # fmt: skip
    embedding = np.zeros((len(names), found[0].shape[1]), np.float32)
    for rows, points in zip(places, found, strict=True):
        embedding[rows] = points
    return embedding
