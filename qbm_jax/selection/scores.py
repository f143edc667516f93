"""What a choice of cells is worth: for a classifier, and as a sketch of the pool."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.metrics.classification import score_predictions
from qbm_jax.metrics.trees import fit_trees
from qbm_jax.runtime.options import check, choice, shown
from qbm_jax.runtime.options import seed as seed_kind
from qbm_jax.selection.coordinates import checked_points, points_of
from qbm_jax.selection.inputs import check_one_kind, checked_indices, checked_labels
from qbm_jax.selection.kernels import SimilarityKernel, build

CLASSIFIERS = ("rf", "trees", "1nn", "logistic")
BINS = 64  # of the trees' splits: a few hundred cells fill no more, and 256 cost twice the time
RARE = 0.03  # share of the cells below which a type is rare


def fitted(name: str, points: np.ndarray, codes: np.ndarray, seed: int) -> Any:
    """A trained classifier with `predict`: a random forest, boosted trees, one neighbour, logistic.

    Args:
      name: of `CLASSIFIERS`.
      points: coordinates of the training cells [cells, dims].
      codes: their types, 0, 1, ... without gaps [cells].
      seed: of trees.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    if name == "trees":
        return fit_trees(points, codes, seed, num_bins=BINS)
    made: Any = {
        "rf": lambda: RandomForestClassifier(100, random_state=seed, n_jobs=1),
        "1nn": lambda: KNeighborsClassifier(1),
        "logistic": lambda: LogisticRegression(max_iter=500),
    }
    return made[name]().fit(points, codes)


def label_scores(
    names: Sequence[str],
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> dict[str, float]:
    """Accuracy and macro F1 of each classifier on test cells, by metric.

    Args:
      names: of classifiers.
      train: coordinates [cells, dims] and types [cells] of the chosen cells.
      test: those of cells that nothing was trained on.
      seed: of the trees.

    Raises:
      InputError: an unknown classifier or seed, coordinates that cannot be or are of other dims,
        not a type for each cell, or types that are numbers here and text there.
    """
    if isinstance(names, str):
        raise InputError(f"expected a list of classifiers, got {shown(names)}")
    names = [check("classifier", name, choice(CLASSIFIERS)) for name in names]
    seed = check("seed", seed, seed_kind())
    (points, labels), (others, truth) = _part(train, "train"), _part(test, "test")
    if points.shape[1] != others.shape[1]:
        raise InputError(
            f"expected test cells of {points.shape[1]} dims, as train cells, got {others.shape[1]}"
        )
    check_one_kind(labels, truth, "types of train and test cells")
    types, codes = np.unique(labels, return_inverse=True)
    scores: dict[str, float] = {}
    for name in names:
        if len(types) == 1:
            predicted = np.full(len(truth), types[0])
        else:
            predicted = types[fitted(name, points, codes, seed).predict(others)]
        found = score_predictions(truth, predicted, types).scores
        scores |= {f"{name}_{metric}": found[metric] for metric in ("accuracy", "f1_macro")}
    return scores


def _part(given: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates [cells, dims] and types [cells] of train or test cells."""
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise InputError(f"expected {name} as (coordinates, types), got {shown(given)}")
    points = checked_points(given[0], 1, f"{name} cells")
    return points, checked_labels(given[1], len(points), f"types of {name} cells")


def sketch_scores(points: Any, chosen: Any, labels: Any, batch: Any) -> dict[str, float]:
    """How chosen cells stand for a pool.

    `rare_recall` is the share of the rare types' cells that are kept, the mean over types;
    `types_found` the share of all types with a cell; `hausdorff` the largest distance of a cell to
    a chosen one and `covering` the mean one, in median distances; `mmd` the squared one;
    `batch_imbalance` the total variation between the batches' shares.

    Args:
      points: coordinates of the pool [cells, dims].
      chosen: indices [k], once each.
      labels: types [cells].
      batch: of each cell [cells].

    Raises:
      InputError: coordinates or indices that cannot be, no cell chosen, or not a type and a batch
        for each cell.
    """
    points = points_of(points, None, None).astype(np.float64)
    chosen = checked_indices(chosen, len(points), "chosen")
    if not len(chosen):
        raise InputError("expected chosen indices of at least one cell, got none")
    labels = checked_labels(labels, len(points), "labels")
    batch = checked_labels(batch, len(points), "batch")
    kernel = build("rbf", points)
    away = -SimilarityKernel("distance", kernel.scale)(points, points[chosen]).max(axis=1)
    names, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    kept = np.bincount(codes[chosen], minlength=len(names))
    rare = sizes < RARE * len(labels)
    groups, batch_codes = np.unique(batch, return_inverse=True)
    shares = [
        np.bincount(c, minlength=len(groups)) / len(c) for c in (batch_codes, batch_codes[chosen])
    ]
    inner, means = (
        kernel(points[chosen], points[chosen]).mean(),
        kernel.means(points[chosen], points),
    )
    return {
        "rare_recall": float((kept / sizes)[rare].mean()) if rare.any() else float("nan"),
        "types_found": float((kept > 0).mean()),
        "hausdorff": float(away.max()),
        "covering": float(away.mean()),
        "mmd": float(inner - 2 * means.mean() + kernel.means(points, points).mean()),
        "batch_imbalance": float(0.5 * np.abs(shares[0] - shares[1]).sum()),
    }
