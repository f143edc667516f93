"""What the 15 nearest cells of an embedding say: a cell's type, and how far off it is."""

import numpy as np
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from qbm_jax.errors import InputError
from qbm_jax.metrics.checks import check_labels, check_names, check_points
from qbm_jax.metrics.neighbors import exact_neighbors

NUM_NEAREST = 15


def nearest_types(
    train_embedding: np.ndarray, train_labels: np.ndarray | None, test_embedding: np.ndarray
) -> np.ndarray:
    """Type names [test cells]: those that most of the nearest training cells have.

    Args:
      train_embedding: [training cells, dims].
      train_labels: type of every training cell [training cells].
      test_embedding: [test cells, dims].

    Raises:
      InputError: no labels, one type, wrong shapes or values that are not finite.
    """
    names = check_labels(train_labels, "naming types by neighbours")
    train = check_points(train_embedding, len(names), "the training embedding")
    test = check_points(test_embedding, len(test_embedding), "the test embedding")
    _check_dims(train, test)
    if not len(test):
        return names[:0]
    number = min(NUM_NEAREST, len(train))
    voting = KNeighborsClassifier(number, algorithm="brute").fit(train, names)
    return voting.predict(test)


def accuracy_within_batches(embedding: np.ndarray, batch: np.ndarray, labels: np.ndarray) -> float:
    """Share of cells that most of their nearest others of the same batch have the type of.

    However well batches are mixed or kept apart, it asks whether types can be told within each.
    Cells alone in their batch are left out; NaN if all are.

    Args:
      embedding: [cells, dims].
      batch: experimental batch of every cell [cells].
      labels: type of every cell [cells].

    Raises:
      InputError: no labels, one type, wrong shapes, missing batches or values that are not finite.
    """
    names = check_labels(labels, "the accuracy within batches")
    points = check_points(embedding, len(names))
    batch = check_names(batch, "batch", len(names))
    codes, right = np.unique(names, return_inverse=True)[1], []
    for one in np.unique(batch):
        inside = np.flatnonzero(batch == one)
        if len(inside) < 2:
            continue
        number = min(NUM_NEAREST + 1, len(inside))
        others = codes[inside[exact_neighbors(points[inside], number).indices[:, 1:]]]
        votes = (others[:, :, None] == np.arange(codes.max() + 1)).sum(axis=1)
        right.append(votes.argmax(axis=1) == codes[inside])
    return float(np.concatenate(right).mean()) if right else np.nan


def distance_to_nearest(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean Euclidean distance [points] of each of `points` to its nearest known cells.

    Large for cells that are unlike the known ones: what any score of anomalies has to beat.

    Args:
      points: [points, dims].
      known: [known cells, dims].

    Raises:
      InputError: wrong shapes or values that are not finite.
    """
    known = check_points(known, len(known), "the known cells")
    points = check_points(points, len(points), "the points")
    _check_dims(known, points)
    searcher = NearestNeighbors(n_neighbors=min(NUM_NEAREST, len(known)), algorithm="brute")
    return searcher.fit(known).kneighbors(points)[0].mean(axis=1)


def _check_dims(known: np.ndarray, points: np.ndarray) -> None:
    if known.shape[1] != points.shape[1]:
        raise InputError(
            f"expected {known.shape[1]} dimensions as of the known cells, got {points.shape[1]}"
        )
