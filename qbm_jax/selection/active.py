"""Rounds of query, label and refit: which cells to label next, given those that are."""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from qbm_jax.errors import InputError, one_line
from qbm_jax.runtime.options import check, shown, whole
from qbm_jax.selection.coordinates import opened, points_of
from qbm_jax.selection.inputs import check_one_kind, checked_indices, checked_labels, labelled_mask

_NEIGHBOURS = 15  # labelled cells that vote in a model's embedding
Refit = Callable[[np.ndarray, np.ndarray], Any]


class Round(NamedTuple):
    """One round.

    Attributes:
      labelled: cells that are labelled after it, sorted [labelled].
      new: those of them that it asked for, sorted [new].
      classifier: fitted on the labelled cells; of a fitted model, on their embedding.
      score: of the classifier on the test cells; NaN without any.
    """

    labelled: np.ndarray
    new: np.ndarray
    classifier: Any
    score: float


def active_loop(
    classifier: Any,
    selector: Any,
    budgets: Sequence[int],
    points: Any,
    labels: np.ndarray | Callable[[np.ndarray], np.ndarray],
    *,
    test: tuple[Any, np.ndarray] | None = None,
    labelled: Any = (),
) -> list[Round]:
    """Queries, labels and refits until each budget of labelled cells is spent.

    Args:
      classifier: with `fit` and `predict`, and `predict_proba` for uncertainty, as scikit-learn's:
        each round fits a copy of it; a function without arguments that gives a new one each
        round; a function (labelled cells [labelled], their labels [labelled]) -> what has
        `predict`, and `predict_proba`, of cells as `points` and `test` give them; or a fitted
        model, in whose embedding the 15 nearest labelled cells vote, each by its distance.
      selector: a `SampleSelector`, whose number is then that of each round; or (number,
        uncertainty [cells]) -> a selector with `fit(points, labelled=...)` and `indices_`, where
        uncertainty is one minus the classifier's largest probability, None before the first fit.
        It is given `points` as they are: beside a fitted model it takes `model=` itself.
      budgets: of labelled cells after each round, increasing.
      points: coordinates [cells, dims] of the pool; for a fitted model what it embeds, as in
        `SampleSelector.fit`.
      labels: of every cell [cells], or (indices) -> labels, which asks for them.
      test: cells that are scored, as `points`, and their labels; None: nothing is.
      labelled: cells that are labelled already, a mask [cells] or indices.

    Raises:
      InputError: budgets that do not increase, or exceed the cells; what is no classifier or no
        selector, or one that asks for other cells than it is to; not a label for each cell; test
        labels of another kind than the others, or than is predicted; or a classifier that does not
        learn from a single type.

    Example:
      >>> choose = lambda k, u: SampleSelector(k, utility=u, utility_weight=1 / 100**2)
      >>> active_loop(RandomForestClassifier(), choose, [50, 100], points, labels)[-1].labelled
      >>> choose = SampleSelector(1, kernel="spins", solver="greedy", model=model)
      >>> active_loop(model, choose, [5, 10], adata, labels, test=(adata, labels))[-1].score
    """
    model = classifier if hasattr(classifier, "embed") else None
    cells = opened(points, model)
    as_given = _takes_arguments(classifier)
    seen = _seen(cells, model, as_given)
    num_cells = _number_of(seen)
    known = np.flatnonzero(labelled_mask(labelled, num_cells))
    budgets = _checked(budgets, len(known), num_cells)
    refit = _refit_of(classifier, seen)
    if not (callable(selector) or hasattr(selector, "fit")):
        raise InputError(f"expected selector with fit, or a function, got {shown(selector)}")
    answer = _answers_of(labels, num_cells)
    judge = None if test is None else _Judge(test, model, as_given)
    rounds: list[Round] = []
    asked: dict[int, Any] = {}
    uncertainty = None
    for budget in budgets:
        chosen = _of_round(selector, budget - len(known), uncertainty)
        found = chosen.fit(cells, labelled=known if known.size else None).indices_
        new = _new(found, known, budget, num_cells)
        known = np.union1d(known, new)
        fresh = np.array([cell for cell in known.tolist() if cell not in asked], int)
        asked |= dict(zip(fresh.tolist(), answer(fresh).tolist(), strict=True))
        told = np.array([asked[cell] for cell in known.tolist()])
        if judge is not None:
            check_one_kind(judge.labels, told, "test labels and labels")
        fitted = _fitted(refit, known, told)
        score = np.nan if judge is None else judge.score(fitted)
        if hasattr(fitted, "predict_proba"):
            uncertainty = 1 - np.asarray(fitted.predict_proba(seen)).max(axis=1)
        rounds.append(Round(known, new, fitted, score))
    return rounds


def _seen(cells: Any, model: Any, as_given: bool) -> Any:
    """What a classifier is shown of cells: a model's embedding of them, or themselves.

    Rows of a list or of a table are made an array; a function of cells gets them `as_given`.
    """
    if model is not None:
        return points_of(opened(cells, model), model, None)
    has_rows = isinstance(cells, list | tuple) or hasattr(cells, "iloc")
    return np.asarray(cells) if has_rows and not as_given else cells


def _number_of(cells: Any) -> int:
    """How many cells there are, in an array, an AnnData, or cells on disk."""
    if hasattr(cells, "num_cells"):
        return cells.num_cells
    return cells.shape[0] if hasattr(cells, "shape") else len(cells)


def _answers_of(labels: Any, num_cells: int) -> Callable[[np.ndarray], np.ndarray]:
    """Indices [cells] -> their labels [cells], one each."""
    if callable(labels):
        return lambda cells: checked_labels(labels(cells), len(cells), "answers of labels")
    every = checked_labels(labels, num_cells, "labels")
    return lambda cells: every[cells]


class _Judge:
    """Test cells and their labels, which a classifier's are held against."""

    def __init__(self, test: tuple[Any, Any], model: Any, as_given: bool):
        if not isinstance(test, list | tuple) or len(test) != 2:
            raise InputError(f"expected test as (cells, their labels), got {shown(test)}")
        self.cells = _seen(test[0], model, as_given)
        self.labels = checked_labels(test[1], _number_of(self.cells), "test labels")

    def score(self, fitted: Any) -> float:
        """The share of test cells that are named right."""
        found = checked_labels(fitted.predict(self.cells), len(self.labels), "predicted labels")
        check_one_kind(self.labels, found, "test labels and predicted labels")
        return float(np.mean(found == self.labels))


def _fitted(refit: Refit, cells: np.ndarray, labels: np.ndarray) -> Any:
    """What `refit` gives; that it does not learn from a single type is said."""
    try:
        fitted = refit(cells, labels)
        if not hasattr(fitted, "predict"):
            raise InputError(
                f"expected what has predict of the function that refits, got {shown(fitted)}"
            )
        return fitted
    except InputError:
        raise
    except ValueError as error:
        types = np.unique(labels).tolist()
        if len(types) > 1:
            raise
        raise InputError(
            f"expected labels of 2 types or more for this classifier, got {shown(types[0])} alone "
            f"of {len(labels)} labelled cells ({one_line(error)}); begin with a larger budget"
        ) from error


def _checked(budgets: Sequence[int], num_labelled: int, num_cells: int) -> list[int]:
    if isinstance(budgets, str) or not np.iterable(budgets):
        raise InputError(f"expected budgets as a list of numbers, got {shown(budgets)}")
    found = [check("budget", each, whole(1)) for each in budgets]
    if not all(a < b for a, b in zip([num_labelled, *found], found, strict=False)):
        raise InputError(f"expected budgets that increase from {num_labelled}, got {shown(found)}")
    if found and found[-1] > num_cells:
        raise InputError(f"expected budgets of at most {num_cells} cells, got {found[-1]}")
    return found


def _new(found: Any, known: np.ndarray, budget: int, num_cells: int) -> np.ndarray:
    """The cells that a selector, of the user's own perhaps, asks for, sorted [new]."""
    new = np.sort(checked_indices(found, num_cells, "indices_ of the selector"))
    if len(new) != budget - len(known) or np.isin(new, known).any():
        raise InputError(
            f"expected {budget - len(known)} cells that are not labelled from the selector, got "
            f"{len(new)}, {int(np.isin(new, known).sum())} of them labelled"
        )
    return new


def _refit_of(classifier: Any, points: Any) -> Refit:
    """(labelled cells, their labels) -> what predicts."""
    if hasattr(classifier, "embed"):
        return lambda cells, labels: _neighbours(len(cells)).fit(points[cells], labels)
    if hasattr(classifier, "fit") and not isinstance(classifier, type):
        return lambda cells, labels: copy.deepcopy(classifier).fit(points[cells], labels)
    if not callable(classifier):
        raise InputError(
            "expected classifier with fit and predict, a function that gives one, or a fitted "
            f"model, got {shown(classifier)}"
        )
    if _takes_arguments(classifier):
        return classifier
    return lambda cells, labels: classifier().fit(points[cells], labels)


def _neighbours(num_labelled: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(_NEIGHBOURS, num_labelled), weights="distance")


def _takes_arguments(function: Any) -> bool:
    """Whether it is a function, no class or fitted object, that needs arguments."""
    if isinstance(function, type) or hasattr(function, "fit") or not callable(function):
        return False
    try:
        inspect.signature(function).bind()
    except TypeError:
        return True
    except ValueError:  # some of other languages have no signature
        return False
    return False


def _of_round(selector: Any, number: int, uncertainty: np.ndarray | None) -> Any:
    if callable(selector):
        made = selector(number, uncertainty)
        if not hasattr(made, "fit"):
            raise InputError(f"expected a selector with fit of the function, got {shown(made)}")
        return made
    again = copy.copy(selector)
    again.num_selected = number
    return again
