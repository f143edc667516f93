"""Rounds of query, label and refit: which cells to label next, given those that are."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import check, shown, whole
from qbm_jax.selection.inputs import labelled_mask


class Round(NamedTuple):
    """One round.

    Attributes:
      labelled: cells that are labelled after it, sorted [labelled].
      new: those of them that it asked for, sorted [new].
      classifier: fitted on the labelled cells.
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
    points: np.ndarray,
    labels: np.ndarray | Callable[[np.ndarray], np.ndarray],
    *,
    test: tuple[np.ndarray, np.ndarray] | None = None,
    labelled: Any = (),
) -> list[Round]:
    """Queries, labels and refits until each budget of labelled cells is spent.

    Args:
      classifier: with `fit` and `predict`, and `predict_proba` for uncertainty, as scikit-learn's;
        or a function without arguments that gives a new one each round.
      selector: a `SampleSelector`, whose number is then that of each round; or (number,
        uncertainty [cells]) -> a selector with `fit(points, labelled=...)` and `indices_`, where
        uncertainty is one minus the classifier's largest probability, None before the first fit.
      budgets: of labelled cells after each round, increasing.
      points: coordinates [cells, dims] of the pool.
      labels: of every cell [cells], or (indices) -> labels, which asks for them.
      test: coordinates and labels of cells that are scored; None: nothing is.
      labelled: cells that are labelled already, a mask [cells] or indices.

    Raises:
      InputError: budgets that do not increase, or exceed the cells.

    Example:
      >>> choose = lambda k, u: SampleSelector(k, utility=u, utility_weight=1 / k**2)
      >>> active_loop(RandomForestClassifier(), choose, [50, 100], points, labels)[-1].labelled
    """
    known = np.flatnonzero(labelled_mask(labelled, len(points)))
    budgets = [check("budget", each, whole(1)) for each in budgets]
    if not all(a < b for a, b in zip([len(known), *budgets], budgets, strict=False)):
        raise InputError(f"expected budgets that increase from {len(known)}, got {shown(budgets)}")
    if budgets and budgets[-1] > len(points):
        raise InputError(f"expected budgets of at most {len(points)} cells, got {budgets[-1]}")
    rounds: list[Round] = []
    asked: dict[int, Any] = {}
    uncertainty = None
    for budget in budgets:
        chosen = _of_round(selector, budget - len(known), uncertainty)
        new = np.asarray(chosen.fit(points, labelled=known if known.size else None).indices_)
        known = np.union1d(known, new)
        fresh = np.array([cell for cell in known.tolist() if cell not in asked], int)
        answers = labels(fresh) if callable(labels) else np.asarray(labels)[fresh]
        asked |= dict(zip(fresh.tolist(), np.asarray(answers).tolist(), strict=True))
        made = isinstance(classifier, type) or not hasattr(classifier, "fit")
        fitted = (classifier() if made else classifier).fit(
            points[known], np.array([asked[cell] for cell in known.tolist()])
        )
        score = np.nan if test is None else float(np.mean(fitted.predict(test[0]) == test[1]))
        if hasattr(fitted, "predict_proba"):
            uncertainty = 1 - fitted.predict_proba(points).max(axis=1)
        rounds.append(Round(known, new, fitted, score))
    return rounds


def _of_round(selector: Any, number: int, uncertainty: np.ndarray | None) -> Any:
    if callable(selector):
        return selector(number, uncertainty)
    again = copy.copy(selector)
    again.num_selected = number
    return again
