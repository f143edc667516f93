"""Cell types from an embedding: gradient-boosted trees, and how well they name unseen cells."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.metrics.checks import check_labels, check_names, check_points
from qbm_jax.metrics.trees import fit_trees

NUM_PAIRS = 5


class ClosePair(NamedTuple):
    """Two types, how many test cells of one were named the other, and their share of both."""

    first: str
    second: str
    num_confused: int
    share: float


class Classification(NamedTuple):
    """How test cells were named.

    `scores` holds accuracy and precision, recall and F1, each macro (types of the test cells weigh
    equally) and weighted (by their test cells); a type never predicted has precision 0.
    """

    scores: dict[str, float]
    f1: dict[str, float]  # of every type among the test cells
    confusion: np.ndarray  # integers [true types, predicted types], in the order of `names`
    names: tuple[str, ...]  # all types of training and test cells, sorted
    closest_pairs: list[ClosePair]  # the largest off-diagonal confusions, both directions together
    predictions: np.ndarray  # type names [test cells]
    notes: list[str]


def predict_types(
    train_embedding: np.ndarray,
    train_labels: np.ndarray | None,
    test_embedding: np.ndarray,
    seed: int = 0,
    num_threads: int = 1,
) -> np.ndarray:
    """Type names [test cells] from trees trained on other cells' coordinates.

    One thread is the default because trees are small here; more only pay on large, idle machines.

    Raises:
      InputError: no labels, one type, wrong shapes or values that are not finite.
    """
    names = check_labels(train_labels, "training a classifier")
    train = check_points(train_embedding, len(names), "the training embedding")
    test = check_points(test_embedding, len(test_embedding), "the test embedding")
    if train.shape[1] != test.shape[1]:
        raise InputError(
            f"expected {train.shape[1]} test dimensions as in training, got {test.shape[1]}"
        )
    types, codes = np.unique(names, return_inverse=True)
    return types[fit_trees(train, codes, seed, num_threads=num_threads).predict(test)]


def classify(
    train_embedding: np.ndarray,
    train_labels: np.ndarray | None,
    test_embedding: np.ndarray,
    test_labels: np.ndarray,
    seed: int = 0,
    num_threads: int = 1,
) -> Classification:
    """Trains on the cells of one embedding [cells, dims] and scores the names of the others.

    Raises:
      InputError: as `predict_types`, or test labels of another number than test cells.
    """
    predictions = predict_types(train_embedding, train_labels, test_embedding, seed, num_threads)
    trained, tested = np.asarray(train_labels).astype(str), np.asarray(test_labels).astype(str)
    return score_predictions(tested, predictions, trained, np.setdiff1d(tested, trained))


def score_predictions(
    truth: np.ndarray,
    predictions: np.ndarray,
    trained: Collection[str] = (),
    unseen: Collection[str] = (),
) -> Classification:
    """Scores type names; predictions of several folds can be put together and scored once.

    A type that training never saw has F1 0 and enters the macro means, because its cells are
    misnamed; a type without test cells enters no mean, and cells named so count as misnamed.

    Args:
      truth: type of every test cell [cells].
      predictions: type given to it [cells].
      trained: types of the training cells, which the confusion matrix is to show as well.
      unseen: types that some test cells have and their training cells had not, for the notes.

    Raises:
      InputError: different lengths, missing types, or no cells.
    """
    truth, predictions = check_names(truth, "cell type"), np.asarray(predictions).astype(str)
    if len(truth) != len(predictions) or len(truth) == 0:
        raise InputError(
            f"expected one label per predicted cell, got {len(truth)} for {len(predictions)}"
        )
    names = np.unique([*truth, *predictions, *trained])
    confusion = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(confusion, (np.searchsorted(names, truth), np.searchsorted(names, predictions)), 1)
    tested, f1, scores = _scores(confusion)
    notes = []
    if len(unseen):
        notes.append(f"types not among the training cells: {', '.join(sorted(map(str, unseen)))}")
    if not tested.all():
        notes.append(f"types without test cells, in no mean: {', '.join(names[~tested])}")
    return Classification(
        scores=scores,
        f1=dict(zip(names[tested].tolist(), f1[tested].tolist(), strict=True)),
        confusion=confusion,
        names=tuple(names.tolist()),
        closest_pairs=closest_pairs(confusion, names),
        predictions=predictions,
        notes=notes,
    )


def _scores(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Which types have test cells [types], F1 by type [types], and the means."""
    right, size, named = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    tested = size > 0
    by_type = {
        "precision": right / np.maximum(named, 1),
        "recall": right / np.maximum(size, 1),
        "f1": 2 * right / np.maximum(size + named, 1),
    }
    scores = {"accuracy": float(right.sum() / size.sum())}
    for name, values in by_type.items():
        scores[f"{name}_macro"] = float(values[tested].mean())
        scores[f"{name}_weighted"] = float(np.average(values, weights=size))
    return tested, by_type["f1"], scores


def closest_pairs(confusion: np.ndarray, names: np.ndarray) -> list[ClosePair]:
    """Pairs of types with confused cells, by the share of their cells, largest first.

    `confusion` is [types, types], `names` is [types].
    """
    confused, size = confusion + confusion.T, confusion.sum(axis=1)
    pairs = [
        ClosePair(
            str(names[i]), str(names[j]), int(confused[i, j]), confused[i, j] / (size[i] + size[j])
        )
        for i, j in zip(*np.triu_indices(len(names), 1), strict=True)
        if confused[i, j]
    ]
    pairs.sort(key=lambda pair: (-pair.share, pair.first, pair.second))
    return [pair._replace(share=float(pair.share)) for pair in pairs[:NUM_PAIRS]]
