"""scIB scores of embeddings: is the biology kept, are the batches mixed?

The numbers are those of `scib_metrics.benchmark.Benchmarker` 0.5.10 at its defaults: five scores
of bio conservation, five of batch correction, the mean of each group, and
total = 0.6 bio + 0.4 batch (Luecken et al. 2022, 10.1038/s41592-021-01336-8). Leiden NMI and ARI
and the older batch silhouette are reported beside them and enter no mean, as in the Benchmarker.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import jax
import numpy as np
import scib_metrics
from scib_metrics.nearest_neighbors import NeighborsResults

from qbm_jax.errors import InputError
from qbm_jax.metrics.checks import check_names, check_points
from qbm_jax.metrics.kbet import MIN_CELLS, KbetScore, kbet_per_type
from qbm_jax.metrics.neighbors import exact_neighbors
from qbm_jax.metrics.silhouette import bras, silhouette_batch, type_silhouette

BIO_CONSERVATION = ("isolated_labels", "kmeans_nmi", "kmeans_ari", "silhouette_label", "clisi")
BATCH_CORRECTION = ("bras", "ilisi", "kbet", "graph_connectivity", "pcr_comparison")
LABEL_FREE = ("ilisi", "pcr_comparison")  # of them, those that need no cell types
UNWEIGHTED = ("leiden_nmi", "leiden_ari", "silhouette_batch")
AGGREGATES = ("total", "bio_conservation", "batch_correction")
METRICS = (*AGGREGATES, *BIO_CONSERVATION, *BATCH_CORRECTION, *UNWEIGHTED)

BIO_WEIGHT = 0.6
NO_SHARE = 1e-12  # of variance: what rounding leaves
GRAPH_NEIGHBORS, KBET_NEIGHBORS, LISI_NEIGHBORS = 15, 50, 90


class IntegrationScores(NamedTuple):
    """Scores by embedding and metric (all of `METRICS`; NaN where undefined), and remarks.

    `kbet_failed` names, by embedding, the types that kbet misses because their computation failed.
    """

    values: dict[str, dict[str, float]]
    notes: list[str]
    kbet_failed: dict[str, tuple[str, ...]]


def score_embeddings(
    embeddings: Mapping[str, np.ndarray],
    batch: np.ndarray,
    labels: np.ndarray | None,
    *,
    uncorrected: np.ndarray,
    max_cells: int | None = None,
    seed: int = 0,
) -> IntegrationScores:
    """Scores embeddings of the same cells; higher is better, 1 is the best for every metric.

    With one batch no batch metric is defined and `total` is `bio_conservation`; without labels
    neither `bio_conservation` nor `total` is. The notes say so, and name the types left out.

    Args:
      embeddings: name to coordinates [cells, dims]; left as they are.
      batch: experimental batch of every cell [cells], names or codes.
      labels: cell type of every cell [cells], names or codes, or None.
      uncorrected: principal components [cells, dims] of the data before any correction, the
        reference of PCR comparison (see `pca_embedding`).
      max_cells: score a sample of this size when there are more cells, with batches and types
        in their proportions; the silhouettes' cost grows with the square of the number of cells.
      seed: of that sample.

    Returns:
      Scores and notes.

    Raises:
      InputError: arrays of different lengths, values that are not finite, missing batches or
        labels, or fewer than 10 cells.
    """
    _check(embeddings, batch, labels, uncorrected)
    notes: list[str] = []
    batch = np.unique(check_names(batch, "batch"), return_inverse=True)[1]
    labels = None if labels is None else check_names(labels, "cell type")
    chosen = _sample(batch, labels, max_cells, seed)
    if len(chosen) < len(batch):
        notes.append(
            f"scores are of {len(chosen)} of {len(batch)} cells, drawn in proportion to"
            f" batches and types with seed {seed}"
        )
        batch, labels = batch[chosen], None if labels is None else labels[chosen]
    notes += _describe_gaps(batch, labels)
    batch_share = _batch_share(np.asarray(uncorrected)[chosen], batch)
    values, kbet_failed = {}, {}
    remarks: dict[str, list[str]] = {}
    for name, embedding in embeddings.items():
        points = np.asarray(embedding)[chosen].astype(np.float32)
        with _third_party():
            scored = _score(points, batch, labels, batch_share)
        values[name], kbet_failed[name], own_remarks = scored
        for remark in own_remarks:
            remarks.setdefault(remark, []).append(name)
    for remark, names in remarks.items():
        notes.append(remark if len(names) == len(embeddings) else f"{', '.join(names)}: {remark}")
    return IntegrationScores(values, notes, kbet_failed)


def _check(
    embeddings: Mapping[str, np.ndarray],
    batch: np.ndarray,
    labels: np.ndarray | None,
    uncorrected: np.ndarray,
) -> None:
    """Raises InputError unless all arrays are finite and describe the same cells."""
    num_cells = len(batch)
    if num_cells < 10:
        raise InputError(f"expected at least 10 cells to score, got {num_cells}")
    if labels is not None and len(labels) != num_cells:
        raise InputError(f"expected one label per cell, got {len(labels)} for {num_cells} cells")
    for name, embedding in {**embeddings, "uncorrected": uncorrected}.items():
        check_points(embedding, num_cells, f"embedding {name}")


def _sample(
    batch: np.ndarray, labels: np.ndarray | None, max_cells: int | None, seed: int
) -> np.ndarray:
    """Sorted indices of at most `max_cells` cells, strata of batch and type in proportion."""
    if max_cells is None or len(batch) <= max_cells:
        return np.arange(len(batch))
    types = (
        np.zeros(len(batch), int) if labels is None else np.unique(labels, return_inverse=True)[1]
    )
    stratum = np.unique(batch * (types.max() + 1) + types, return_inverse=True)[1]
    sizes = np.bincount(stratum)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(batch))
    order = order[np.argsort(stratum[order], kind="stable")]  # strata in turn, shuffled within
    rank = np.arange(len(batch)) - (np.cumsum(sizes) - sizes)[stratum[order]]
    # the k-th of n cells has position (k + u) / n: the first positions hold all strata evenly
    position = (rank + rng.uniform(size=len(sizes))[stratum[order]]) / sizes[stratum[order]]
    return np.sort(order[np.argsort(position)[:max_cells]])


def _describe_gaps(batch: np.ndarray, labels: np.ndarray | None) -> list[str]:
    """What cannot be scored for these cells, whatever the embedding."""
    notes = []
    one_batch = len(np.unique(batch)) == 1
    if one_batch:
        notes.append("one batch: no batch metrics, and total is bio_conservation alone")
    if labels is None:
        notes.append(
            f"no cell-type labels: no label metrics, batch_correction is the mean of"
            f" {' and '.join(LABEL_FREE)}, and total is not defined"
        )
    elif len(np.unique(labels)) in (1, len(labels)):
        notes.append(
            "one cell type, or as many as cells: no bio conservation metrics, and total is not"
            " defined"
        )
    if labels is not None:
        names, sizes = np.unique(labels, return_counts=True)
        if single := names[sizes == 1].tolist():
            notes.append(f"types with one cell have silhouette 0: {', '.join(single)}")
        if small := names[sizes < MIN_CELLS].tolist():
            notes.append(
                f"types with fewer than {MIN_CELLS} cells have no kbet: {', '.join(small)}"
            )
        in_one = [name for name in names if len(np.unique(batch[labels == name])) == 1]
        if in_one and not one_batch:
            notes.append(f"types in one batch are left out of bras and kbet: {', '.join(in_one)}")
    if len(batch) < LISI_NEIGHBORS:
        notes.append(f"ilisi and clisi use {len(batch)} neighbours instead of {LISI_NEIGHBORS}")
    return notes


@contextmanager
def _third_party() -> Iterator[None]:
    """scib-metrics broadcasts across ranks, and warns of what is in the notes already."""
    with jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _score(
    points: np.ndarray, batch: np.ndarray, labels: np.ndarray | None, batch_share: float
) -> tuple[dict[str, float], tuple[str, ...], list[str]]:
    """All metrics of one embedding, the types whose kBET failed, and remarks."""
    neighbors = exact_neighbors(points, min(LISI_NEIGHBORS, len(points)))
    scores = dict.fromkeys(METRICS, np.nan)
    failed: tuple[str, ...] = ()
    remarks: list[str] = []
    if labels is not None and 1 < len(np.unique(labels)) < len(labels):
        scores |= _bio_conservation(points, neighbors, batch, labels)
        scores["bio_conservation"] = _mean(scores, BIO_CONSERVATION)
    if len(np.unique(batch)) == 1:
        scores["total"] = scores["bio_conservation"]
        return _floats(scores), failed, remarks
    scores["ilisi"] = scib_metrics.ilisi_knn(neighbors, batch)
    scores["pcr_comparison"] = _pcr_comparison(points, batch, batch_share)
    if labels is not None:
        by_type, kbet = _mixing_within_types(points, neighbors, batch, labels)
        scores |= by_type
        failed, remarks = kbet.failed, list(kbet.notes)
    asked = LABEL_FREE if labels is None else BATCH_CORRECTION
    if missing := [name for name in asked if np.isnan(scores[name])]:
        remarks.append(f"batch_correction leaves out {', '.join(missing)}: not defined")
    scores["batch_correction"] = _mean(scores, BATCH_CORRECTION)
    scores["total"] = (
        BIO_WEIGHT * scores["bio_conservation"] + (1 - BIO_WEIGHT) * scores["batch_correction"]
    )
    return _floats(scores), failed, remarks


def _bio_conservation(
    points: np.ndarray, neighbors: NeighborsResults, batch: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """Metrics that compare the embedding with at least two cell types."""
    graph = neighbors.subset_neighbors(min(GRAPH_NEIGHBORS, len(points)))
    # a copy, because it centres its input in place and back, with rounding
    kmeans = scib_metrics.nmi_ari_cluster_labels_kmeans(points.copy(), labels)
    leiden = scib_metrics.nmi_ari_cluster_labels_leiden(graph, labels)
    silhouette = type_silhouette(points, labels)
    return {
        "isolated_labels": _isolated_labels(silhouette, batch, labels),
        "kmeans_nmi": kmeans["nmi"],
        "kmeans_ari": kmeans["ari"],
        "leiden_nmi": leiden["nmi"],
        "leiden_ari": leiden["ari"],
        "silhouette_label": silhouette.mean(),
        "clisi": scib_metrics.clisi_knn(neighbors, labels),
    }


def _isolated_labels(silhouette: np.ndarray, batch: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette, types weighing equally, over the types that the fewest batches hold."""
    num_batches = {name: len(np.unique(batch[labels == name])) for name in np.unique(labels)}
    fewest = min(num_batches.values())
    isolated = [name for name, number in num_batches.items() if number == fewest]
    return np.mean([silhouette[labels == name].mean() for name in isolated])


def _mixing_within_types(
    points: np.ndarray, neighbors: NeighborsResults, batch: np.ndarray, labels: np.ndarray
) -> tuple[dict[str, float], KbetScore]:
    """Batch metrics that look inside every type, and kBET with all it has to say."""
    graph = neighbors.subset_neighbors(min(GRAPH_NEIGHBORS, len(points)))
    kbet = kbet_per_type(
        neighbors.subset_neighbors(min(KBET_NEIGHBORS, len(points))), batch, labels
    )
    scores = {
        "kbet": kbet.mean,
        "graph_connectivity": scib_metrics.graph_connectivity(graph, labels),
        "bras": bras(points, batch, labels),
        "silhouette_batch": silhouette_batch(points, batch, labels),
    }
    return scores, kbet


def _batch_share(points: np.ndarray, batch: np.ndarray) -> float:
    """Share of the variance of `points` that lies between batches.

    It equals principal component regression on all components: their explained variances add up
    to the sum of squares between batches, which no rotation changes.
    """
    centred = np.asarray(points, dtype=np.float64) - points.mean(axis=0, dtype=np.float64)
    members = batch[:, None] == np.unique(batch)
    means = (members.T @ centred) / members.sum(axis=0)[:, None]
    between = (members.sum(axis=0)[:, None] * means**2).sum()
    total = (centred**2).sum()
    return float(between / total) if total > 0 else np.nan


def _pcr_comparison(points: np.ndarray, batch: np.ndarray, batch_share: float) -> float:
    """Share of the uncorrected data's batch variance that is gone, at least 0; NaN without any."""
    if batch_share < NO_SHARE:
        return np.nan
    return float(np.maximum(0, 1 - _batch_share(points, batch) / batch_share))


def _mean(scores: Mapping[str, float], names: tuple[str, ...]) -> float:
    """Mean over the metrics that are defined, or NaN."""
    defined = [scores[name] for name in names if not np.isnan(scores[name])]
    return float(np.mean(defined)) if defined else np.nan


def _floats(scores: Mapping[str, float]) -> dict[str, float]:
    """Plain numbers, for JSON."""
    return {name: float(score) for name, score in scores.items()}
