"""One clear line for what cannot be chosen from.

Guards qbm_jax.selection.coordinates.
"""

import dataclasses
import functools

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from qbm_jax.errors import InputError
from qbm_jax.selection import (
    SampleSelector,
    active_loop,
    audit,
    label_scores,
    objective,
    sketch_scores,
    width_by_coverage,
)
from qbm_jax.selection.options import SelectionOptions

POINTS = np.random.default_rng(0).normal(size=(10, 2))
GROUPS = np.array(list("aaaabbbbcc"))
GREEDY = SampleSelector(1, solver="greedy")


def with_nan():
    points = POINTS.copy()
    points[3, 1] = np.nan
    return points


class Codes:
    """It names types by numbers."""

    def fit(self, points, labels):
        return self

    def predict(self, points):
        return np.zeros(len(points))


class Asking:
    """A selector that asks for the cells it is told to."""

    def __init__(self, cells):
        self.indices_ = np.array(cells)

    def fit(self, points, labelled=None):
        return self


def loop(labels=GROUPS, selector=GREEDY, test=None, classifier=None):
    classifier = KNeighborsClassifier(1) if classifier is None else classifier
    return active_loop(classifier, selector, [2], POINTS, labels, test=test)


def label(names, types=GROUPS):
    return label_scores(names, (POINTS, types), (POINTS, GROUPS), 0)


def sketch(chosen, points=POINTS, labels=GROUPS):
    return sketch_scores(points, chosen, labels, GROUPS)


def adata():
    return anndata.AnnData(np.ones((10, 3), np.float32), obsm={"X_pca": POINTS, "X_other": POINTS})


REFUSED = {
    "k below 1": (lambda: SampleSelector(0), "num_selected must be a whole number of at least 1"),
    "k no integer": (lambda: SampleSelector(2.5), "whole number of at least 1, got 2.5"),
    "k of all": (lambda: SampleSelector(10).fit(POINTS), "below the 10 cells .* got 10"),
    "k of labelled": (lambda: SampleSelector(9).fit(POINTS, [0, 1]), "below the 8 cells"),
    "NaN": (lambda: SampleSelector(2).fit(with_nan()), "NaN or infinity in 1 of 10 cells"),
    "fewer than groups": (
        lambda: SampleSelector(2, groups=GROUPS).fit(POINTS), "at least 3, one for each group"),
    "fewer than quotas": (
        lambda: SampleSelector(1, groups=GROUPS, quotas={"a": 1, "b": 1}).fit(POINTS),
        "at least the 2 quotas, got 1"),
    "quota above size": (
        lambda: SampleSelector(5, groups=GROUPS, quotas={"c": 5}).fit(POINTS),
        "quota 5 of group c is above its size, 2"),
    "quota of no group": (
        lambda: SampleSelector(2, groups=GROUPS, quotas={"d": 2}).fit(POINTS),
        "quotas of no group: d; there are a, b, c"),
    "quotas' sum": (
        lambda: SampleSelector(4, groups=GROUPS, quotas={"a": 2, "b": 1}).fit(POINTS),
        "sum to num_selected 4, got 3"),
    "labelled twice": (
        lambda: SampleSelector(2).fit(POINTS, [1, 1]), "labelled once each, got some twice"),
    "labelled and chosen": (
        lambda: objective(POINTS, [1, 2], labelled=[2]), "got 1 that are both"),
    "no such cell": (lambda: objective(POINTS, [1, 10]), "indices from 0 to 9, got 1 to 10"),
    "dense": (
        lambda: SampleSelector(5).fit(np.zeros((200_000, 2), np.float32)),
        "kernel of 200000 cells needs 1,192.1 GiB, above max_gib=4; give block_size"),
    "obsm": (
        lambda: SampleSelector(2, use_rep="X_umap").fit(adata()),
        "no key 'X_umap' in obsm; there are X_pca, X_other"),
    "column": (lambda: SampleSelector(2, groups="batch").fit(adata()), "no column 'batch' of obs"),
    "solver": (lambda: SampleSelector(2, solver="magic"), "unknown solver 'magic'; choose from"),
    "option": (lambda: SampleSelector(2, kernal="rbf"), "unknown selection options"),
    "utility": (lambda: SampleSelector(2, utility="loss"), "unknown utility 'loss'"),
    "no model": (lambda: SampleSelector(2, utility="elbo"), "expected model= for utility elbo"),
    "utility's length": (
        lambda: SampleSelector(2, utility=np.ones(3)).fit(POINTS), "utility .10 cells."),
    "utility NaN": (
        lambda: SampleSelector(2, utility=np.full(10, np.nan)).fit(POINTS), "finite utility"),
    "width": (
        lambda: SampleSelector(2, kernel="linear", width=1.0).fit(POINTS), "linear has no width"),
    "no spins": (lambda: SampleSelector(2, kernel="spins").fit(3 * POINTS), "mean spins from -1"),
    "too many choices": (
        lambda: SampleSelector(20, solver="exact").fit(np.zeros((40, 1))), "at most 5000000"),
    "budgets": (
        lambda: active_loop(None, None, [5, 5], POINTS, GROUPS), "budgets that increase from 0"),
    "budget above the pool": (
        lambda: active_loop(None, None, [5, 11], POINTS, GROUPS), "at most 10 cells, got 11"),
    "no list of budgets": (
        lambda: active_loop(None, None, 10, POINTS, GROUPS), "as a list of numbers, got 10"),
    "selector": (lambda: loop(selector=None), "selector with fit, or a function, got None"),
    "labels' number": (
        lambda: loop(GROUPS[:4]), r"labels \[10 cells\], one each, got shape \(4,\)"),
    "labels twice": (lambda: loop(np.tile(GROUPS, 2)), r"got shape \(20,\)"),
    "labels a column": (lambda: loop(GROUPS[:, None]), r"got shape \(10, 1\)"),
    "labels missing": (lambda: loop([None, *GROUPS[1:]]), "each cell in labels, got none of 1"),
    "too few answers": (lambda: loop(lambda cells: GROUPS[:1]), "answers of labels .2 cells., one"),
    "test labels a column": (
        lambda: loop(test=(POINTS, GROUPS[:, None])), r"test labels \[10 cells\], one each, got"),
    "test labels of another kind": (
        lambda: loop(test=(POINTS, np.arange(10))), "of one kind, got numbers and text"),
    "predictions of another kind": (
        lambda: loop(test=(POINTS, GROUPS), classifier=Codes()), "predicted labels of one kind"),
    "a cell asked for twice": (
        lambda: loop(selector=lambda k, u: Asking([0] * k)), "of the selector once each"),
    "too few cells asked for": (
        lambda: loop(selector=lambda k, u: Asking([0])), "2 cells .* selector, got 1, 0 of them"),
    "cells asked for again": (
        lambda: active_loop(KNeighborsClassifier(1), lambda k, u: Asking([0]), [1, 2], POINTS,
                            GROUPS), "1 cells .* selector, got 1, 1 of them labelled"),
    "a cell that is not there": (
        lambda: loop(selector=lambda k, u: Asking([1, 99])), "of the selector from 0 to 9, got 1"),
    "no selector made": (lambda: loop(selector=lambda k, u: None), "with fit of the function, got"),
    "nothing refitted": (
        lambda: loop(classifier=lambda cells, labels: None), "has predict of the function that"),
    "no test cells": (lambda: loop(test=POINTS), "test as .cells, their labels., got"),
    "a single type": (
        lambda: loop(np.zeros(10), classifier=LogisticRegression()), "2 types or more .* got 0.0"),
    "quotas a list": (lambda: SampleSelector(3, groups=GROUPS, quotas=[1, 2]), "quotas as a dict"),
    "quotas without groups": (lambda: SampleSelector(3, quotas={"a": 3}), "expected groups= with"),
    "large numbers": (lambda: SampleSelector(2).fit(POINTS * 1e200), "most 1e.100, got .*; divide"),
    "complex numbers": (lambda: SampleSelector(2).fit(POINTS * 1j), "expected coordinates .cells"),
    "complex utility": (
        lambda: SampleSelector(2, utility=POINTS[:, 0] * 1j).fit(POINTS), "utility as numbers"),
    "width of NaN": (lambda: width_by_coverage(POINTS * np.nan, 2), "infinity in 10 of 10 cells"),
    "width for none": (lambda: width_by_coverage(POINTS, 0), "number must be .* at least 1"),
    "width for nearly all": (lambda: width_by_coverage(POINTS, 9), "at most 8, got 9"),
    "one classifier": (lambda: label("rf"), "a list of classifiers, got 'rf'"),
    "unknown classifier": (lambda: label(["svm"]), "unknown classifier 'svm'; choose from rf, t"),
    "types missing": (lambda: label(["rf"], [*GROUPS[:9], None]), "in types of train cells, got"),
    "types' number": (lambda: label(["rf"], GROUPS[:3]), "types of train cells .10 cells., one"),
    "NaN to learn from": (
        lambda: label_scores(["rf"], (with_nan(), GROUPS), (POINTS, GROUPS), 0),
        "NaN or infinity in 1 of 10 train cells"),
    "NaN to name": (
        lambda: label_scores(["1nn"], (POINTS, GROUPS), (with_nan(), GROUPS), 0),
        "NaN or infinity in 1 of 10 test cells"),
    "cells of other dims": (
        lambda: label_scores(["1nn"], (POINTS, GROUPS), (POINTS[:, :1], GROUPS), 0),
        "test cells of 2 dims, as train cells, got 1"),
    "types of another kind": (
        lambda: label(["1nn"], np.arange(10)), "train and test cells of one kind, got numbers and"),
    "no cells to learn from": (
        lambda: label_scores(["1nn"], (POINTS[:0], []), (POINTS, GROUPS), 0),
        "of 1 cells or more, got"),
    "no pair to learn from": (
        lambda: label_scores(["1nn"], POINTS, (POINTS, GROUPS), 0), "train as .coordinates, types"),
    "seed of scores": (
        lambda: label_scores(["rf"], (POINTS, GROUPS), (POINTS, GROUPS), -1), "seed must be"),
    "seed of a width": (lambda: width_by_coverage(POINTS, 2, -1), "seed must be"),
    "sketch twice": (lambda: sketch([1, 1]), "chosen once each, got some twice"),
    "sketch from behind": (lambda: sketch([-1]), "chosen from 0 to 9, got -1"),
    "sketch of none": (lambda: sketch([]), "at least one cell, got none"),
    "sketch sparse": (lambda: sketch(csr_matrix(np.eye(3))), "chosen as whole numbers"),
    "sketch of NaN": (lambda: sketch([1], with_nan()), "NaN or infinity in 1 of 10 cells"),
    "sketch of masked points": (
        lambda: sketch([1], np.ma.masked_greater(POINTS, 1)), "got masked ones in [1-9]; leave"),
    "sketch of lists": (
        lambda: sketch([1], labels=[["a"], ["b", "c"]] * 5), "labels one each, got lists"),
    "groups missing": (
        lambda: SampleSelector(3, groups=[None, np.nan, *GROUPS[2:]]).fit(POINTS),
        "a group of each cell, got none of 2 of 10; fill them"),
    "groups of lists": (
        lambda: SampleSelector(3, groups=[["a"], ["b", "c"]] * 5).fit(POINTS), "groups one each"),
    "a group's quota twice": (
        lambda: SampleSelector(3, groups=[1, 2] * 5, quotas={1: 1, "1": 2, 2: 1}).fit(POINTS),
        "one quota for each group, got {1: 1, '1': 2, 2: 1}"),
    "labelled of lists": (
        lambda: SampleSelector(3).fit(POINTS, [[1], [1, 2]]), "labelled one each, got lists"),
    "chosen of lists": (lambda: objective(POINTS, [[1], [1, 2]]), "indices one each, got lists"),
    "large utility": (
        lambda: SampleSelector(3, utility=1e300 * POINTS[:, 0]).fit(POINTS), "utility of at most"),
    "sketch of few labels": (lambda: sketch([1], labels=GROUPS[:3]), "labels .10 cells., one each"),
    "sketch of labels NaN": (
        lambda: sketch([1], labels=pd.Series([np.nan, *GROUPS[1:]])), "in labels, got none of 1"),
    "instance of too many": (lambda: audit.check_size((24, 12), 20), "and at most 20, got 24"),
    "classifier": (
        lambda: active_loop("forest", None, [5], POINTS, GROUPS), "with fit and predict, a fun"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_one_line(case):
    call, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


OPTIONS = {
    "kernel": "cubic", "width": 0.0, "criterion": "best", "utility_weight": np.inf,
    "constraint": "hard", "bits": 1, "polish": 1, "num_chains": 0, "num_steps": 0,
    "block_size": 1, "certify": "yes", "max_gib": 0.0, "use_rep": 3, "seed": -1,
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(SelectionOptions)])
def test_an_option_out_of_its_range_is_named(name):
    for made in (SelectionOptions, functools.partial(SampleSelector, 2)):
        with pytest.raises(InputError, match=f"{name} must be|unknown {name}"):
            made(**{name: OPTIONS[name]})


def test_a_constant_utility_is_said_to_be_without_effect():
    with pytest.warns(UserWarning, match="constant and without effect"):
        found = SampleSelector(3, utility=np.ones(10), solver="swap").fit(POINTS)
    plain = SampleSelector(3, solver="swap").fit(POINTS)
    assert found.indices_.tolist() == plain.indices_.tolist()


def test_tables_are_taken_as_arrays_are():
    table = pd.DataFrame(POINTS, index=list("abcdefghij"))
    assert width_by_coverage(table, 3) == width_by_coverage(POINTS, 3)
    found = sketch_scores(table, [1, 4], list(GROUPS), GROUPS)
    assert found == pytest.approx(sketch([1, 4]), nan_ok=True)
    plain = active_loop(KNeighborsClassifier(1), GREEDY, [2, 4], POINTS,
                        GROUPS, test=(POINTS, GROUPS))  # fmt: skip
    for points in (table, POINTS.tolist()):
        found = active_loop(KNeighborsClassifier(1), GREEDY, [2, 4],
                            points, pd.Series(GROUPS), test=(points, list(GROUPS)))  # fmt: skip
        assert found[-1].labelled.tolist() == plain[-1].labelled.tolist()
        assert found[-1].score == plain[-1].score > 0


def test_coordinates_come_from_obsm():
    by_key = SampleSelector(3, solver="greedy").fit(adata()).indices_
    assert by_key.tolist() == SampleSelector(3, solver="greedy").fit(POINTS).indices_.tolist()
