"""Are the rare cell types still there? Scores of types under 3 % of the cells, not pictures."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.metrics.checks import check_labels
from qbm_jax.metrics.clustering import Clusters

MAX_SHARE = 0.03


class RareTypes(NamedTuple):
    """Means over rare types, and every score of every rare type (NaN f1: no test cells)."""

    scores: dict[str, float]
    per_type: dict[str, dict[str, float]]
    notes: list[str]


class Recall(NamedTuple):
    """A type, its share of all cells, its test cells, the share named right, its standard error."""

    name: str
    abundance: float
    num_cells: int
    recall: float
    standard_error: float


def rare_types(labels: np.ndarray | None, max_share: float = MAX_SHARE) -> tuple[str, ...]:
    """Names of the types with less than `max_share` of the labels [cells], rarest first.

    Raises:
      InputError: no labels, one type, or no type so rare.
    """
    names, sizes = np.unique(check_labels(labels, "rare types"), return_counts=True)
    shares = sizes / sizes.sum()
    order = np.argsort(shares, kind="stable")
    rare = tuple(str(names[i]) for i in order if shares[i] < max_share)
    if not rare:
        raise InputError(
            f"expected types with less than {max_share:.1%} of the cells, but the rarest,"
            f" {names[order[0]]}, has {shares[order[0]]:.1%}; leave this task out"
        )
    return rare


def score_rare_types(
    clusters: Clusters,
    labels: np.ndarray | None,
    f1: Mapping[str, float],
    max_share: float = MAX_SHARE,
) -> RareTypes:
    """Three scores of every rare type in [0, 1], and their means over the rare types.

    `f1` is that of a classifier on unseen cells. `isolated_f1` is the F1 of the one Leiden cluster,
    over all resolutions, that matches the type best (scIB's isolated-label F1, Luecken et al.
    2022, 10.1038/s41592-021-01336-8; there for types in few batches, here for rare ones).
    `knn_purity` is the share of a cell's nearest others that have its type, with as many
    neighbours as the type has other cells if that is less than 14, mean over the type's cells.

    Args:
      clusters: of the embedding, see `leiden_clusters`.
      labels: type of every cell [cells].
      f1: by type, see `classification.Classification`.
      max_share: rare is below this share of the cells.

    Raises:
      InputError: no labels, one type, or no rare type.
    """
    check_labels(labels, "rare types", clusters.codes.shape[1])
    rare = rare_types(labels, max_share)
    names = np.asarray(labels).astype(str)
    per_type = {
        name: {
            "f1": float(f1.get(name, np.nan)),
            "isolated_f1": isolated_label_f1(clusters.codes, names == name),
            "knn_purity": knn_purity(clusters.neighbors.indices, names == name),
        }
        for name in rare
    }
    scores = {}
    for metric in ("f1", "isolated_f1", "knn_purity"):
        values = [row[metric] for row in per_type.values() if not np.isnan(row[metric])]
        scores[f"rare_{metric}"] = float(np.mean(values)) if values else np.nan
    untested = [name for name in rare if name not in f1]
    notes = [f"rare types without test cells have no f1: {', '.join(untested)}"] if untested else []
    notes += [f"{name}: one cell, no knn_purity" for name in rare if (names == name).sum() == 1]
    return RareTypes(scores, per_type, notes)


def isolated_label_f1(codes: np.ndarray, members: np.ndarray) -> float:
    """Best F1 of one cluster, over rows of `codes` [resolutions, cells], for cells `members`."""
    best = 0.0
    for clusters in codes:
        sizes = np.bincount(clusters)
        shared = np.bincount(clusters[members], minlength=len(sizes))
        best = max(best, (2 * shared / np.maximum(sizes + members.sum(), 1)).max())
    return float(best)


def knn_purity(indices: np.ndarray, members: np.ndarray) -> float:
    """Share of `members` among the nearest others of members; NaN for a single member.

    Args:
      indices: nearest cells of every cell, itself first [cells, neighbours].
      members: mask [cells].
    """
    depth = min(indices.shape[1] - 1, members.sum() - 1)
    if depth < 1:
        return np.nan
    return float(members[indices[members, 1 : depth + 1]].mean())


def recall_by_abundance(
    truth: np.ndarray, predictions: np.ndarray, abundance: Mapping[str, float]
) -> list[Recall]:
    """How many cells of a type are found, against how rare the type is; rarest first.

    Args:
      truth: type of every test cell [cells].
      predictions: type given to it [cells].
      abundance: share of all cells, in (0, 1], of the types to list, for example the simulator's.

    Raises:
      InputError: different lengths, or a listed type without test cells.
    """
    truth, predictions = np.asarray(truth).astype(str), np.asarray(predictions).astype(str)
    if len(truth) != len(predictions):
        raise InputError(f"expected one prediction per cell, got {len(predictions)}/{len(truth)}")
    if missing := sorted(set(abundance) - set(truth)):
        raise InputError(f"expected test cells of every listed type, got none of {missing}")
    rows = []
    for name, share in sorted(abundance.items(), key=lambda item: (item[1], item[0])):
        found = predictions[truth == name] == name
        recall = float(found.mean())
        error = np.sqrt(recall * (1 - recall) / len(found))
        rows.append(Recall(name, float(share), len(found), recall, float(error)))
    return rows
