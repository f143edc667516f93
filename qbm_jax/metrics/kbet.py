"""kBET within cell types: do a cell's neighbours of its own type mix the batches as the type does?

The definition is that of scib-metrics 0.5.10 (`kbet_per_label`), after Buettner et al. 2019
(10.1038/s41592-018-0254-1) and Luecken et al. 2022 (10.1038/s41592-021-01336-8): a diffusion map of
the type's own graph, its k nearest neighbours there, Pearson's test of their batch counts, and
the share of cells that pass at level 0.05. It departs in three ways. The start vector of the
eigenvalue problem is fixed, so the score is deterministic; neighbours are exact; and a diffusion
map that fails leaves that type out, with a reason, where scib-metrics counts it as 0.
"""

from typing import NamedTuple

import numpy as np
from scib_metrics.nearest_neighbors import NeighborsResults
from scipy import sparse, stats
from threadpoolctl import threadpool_limits

from qbm_jax.metrics.neighbors import exact_neighbors

LEVEL = 0.05
MIN_CELLS = 10
NUM_COMPONENTS = 100
USABLE_SHARE = 0.75  # of a type's cells that must lie in components large enough to test


class KbetScore(NamedTuple):
    """Acceptance rate: mean over types, for each type (NaN: left out), and remarks.

    Types of fewer than `MIN_CELLS` cells or of one batch are left out without a remark, because
    that is a property of the data. `failed` types had a computation that failed, which scib-metrics
    would count as 0; `limited` types would score otherwise if types were named in another order.
    """

    mean: float
    per_type: dict[str, float]
    notes: list[str]
    failed: tuple[str, ...]
    limited: tuple[str, ...]


def kbet_per_type(neighbors: NeighborsResults, batch: np.ndarray, labels: np.ndarray) -> KbetScore:
    """Share of cells whose neighbourhood within their type has that type's batch proportions.

    As in scib-metrics, types are taken in sorted order and a small type limits the number of
    diffusion components of all types after it; the totals of the two agree only if that is kept,
    and a remark says where it happened.

    Args:
      neighbors: of all cells; scIB takes 50.
      batch: batch of every cell, integers [cells].
      labels: type of every cell [cells].

    Returns:
      The score; its mean is NaN if no type could be tested.
    """
    graph = sparse.csr_matrix(neighbors.knn_graph_connectivities)
    per_type, notes, failed, limited, limit = {}, [], [], [], NUM_COMPONENTS
    for label in np.unique(labels):
        mask = labels == label
        result = _score_type(graph[mask][:, mask], batch[mask], limit)
        per_type[str(label)], limit = result.score, result.limit
        if result.remark:
            notes.append(f"kBET of {label}: {result.remark}")
        if result.failed:
            failed.append(str(label))
        if result.limited:
            limited.append(str(label))
    tested = [score for score in per_type.values() if not np.isnan(score)]
    mean = float(np.mean(tested)) if tested else np.nan
    return KbetScore(mean, per_type, notes, tuple(failed), tuple(limited))


class _TypeResult(NamedTuple):
    """Score of one type, the limit on components for the next types, and what to say."""

    score: float
    limit: int
    remark: str
    failed: bool = False
    limited: bool = False


def _score_type(graph: sparse.csr_matrix, batch: np.ndarray, limit: int) -> _TypeResult:
    """Scores the cells of one type with connectivities `graph` [cells, cells]."""
    if len(batch) < MIN_CELLS or len(np.unique(batch)) == 1:
        return _TypeResult(np.nan, limit, "")
    depth = _num_neighbors(batch)
    usable = _usable_cells(graph, depth)
    if usable is None:  # scIB's rule, unlike a failed computation
        return _TypeResult(0.0, limit, "0, its graph is in many small pieces")
    graph, batch = graph[usable][:, usable], batch[usable]
    most = min(NUM_COMPONENTS, len(batch) - 1)
    used = min(limit, most)
    if len(np.unique(batch)) == 1:  # in scib-metrics a test without freedom, which no cell passes
        return _TypeResult(0.0, used, "0, its pieces large enough to test are of one batch")
    try:
        embedding = _diffusion_map(graph, used)
    except sparse.linalg.ArpackError as error:
        remark = f"left out, its diffusion map failed ({error})"
        return _TypeResult(np.nan, used, remark, failed=True)
    indices = exact_neighbors(embedding, min(depth + 1, len(batch))).indices
    score = _acceptance_rate(indices, batch)
    if used == most:
        return _TypeResult(score, used, "")
    less = f"{used} diffusion components instead of {most}, as scib-metrics has it"
    return _TypeResult(score, used, less, limited=True)


def _num_neighbors(batch: np.ndarray) -> int:
    """A quarter of the mean batch size, within [10, 70]."""
    mean_size = len(batch) / len(np.unique(batch))
    return int(np.clip(mean_size // 4, 10, 70))


def _usable_cells(graph: sparse.csr_matrix, depth: int) -> np.ndarray | None:
    """Cells in components that can be tested, or None if they are less than 75 %."""
    num_components, component = sparse.csgraph.connected_components(graph, connection="strong")
    if num_components == 1:
        return np.arange(graph.shape[0])
    large = np.bincount(component) >= 3 * depth
    usable = np.flatnonzero(large[component])
    return usable if len(usable) >= USABLE_SHARE * len(component) else None


def _diffusion_map(graph: sparse.csr_matrix, num_components: int) -> np.ndarray:
    """Diffusion coordinates [cells, components] summed over all times (Coifman et al. 2005)."""
    density = np.asarray(graph.sum(axis=0)).ravel()
    kernel = sparse.diags_array(1 / density) @ graph @ sparse.diags_array(1 / density)
    root_degree = np.sqrt(np.asarray(kernel.sum(axis=0)).ravel())
    transitions = sparse.diags_array(1 / root_degree) @ kernel @ sparse.diags_array(1 / root_degree)
    start = np.random.default_rng(0).uniform(-1, 1, graph.shape[0])
    with threadpool_limits(1, user_api="blas"):  # products too small to share; threads only spin
        values, vectors = sparse.linalg.eigsh(
            transitions.astype(np.float64), k=num_components, which="LM", v0=start
        )
    # in float32 the leading eigenvalue is exactly 1: the stationary direction keeps weight 1
    values = values.astype(np.float32)
    stationary = values == 1
    weights = np.where(stationary, 1, values / np.where(stationary, 1, 1 - values))
    return (vectors * weights).astype(np.float32)


def _acceptance_rate(indices: np.ndarray, batch: np.ndarray) -> float:
    """Share of rows of `indices` whose batch counts pass Pearson's test against all cells'."""
    _, codes, sizes = np.unique(batch, return_inverse=True, return_counts=True)
    observed = (codes[indices][..., None] == np.arange(len(sizes))).sum(axis=1)
    expected = sizes / len(batch) * indices.shape[1]
    statistic = ((observed - expected) ** 2 / expected).sum(axis=1)
    return float((stats.chi2.sf(statistic, len(sizes) - 1) >= LEVEL).mean())
