"""One clear line for what cannot be chosen from."""

import anndata
import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.selection import SampleSelector, active_loop, objective

POINTS = np.random.default_rng(0).normal(size=(10, 2))
GROUPS = np.array(list("aaaabbbbcc"))


def with_nan():
    points = POINTS.copy()
    points[3, 1] = np.nan
    return points


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
    "classifier": (
        lambda: active_loop("forest", None, [5], POINTS, GROUPS), "with fit and predict, a fun"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_one_line(case):
    call, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_constant_utility_is_said_to_be_without_effect():
    with pytest.warns(UserWarning, match="constant and without effect"):
        found = SampleSelector(3, utility=np.ones(10), solver="swap").fit(POINTS)
    plain = SampleSelector(3, solver="swap").fit(POINTS)
    assert found.indices_.tolist() == plain.indices_.tolist()


def test_coordinates_come_from_obsm():
    by_key = SampleSelector(3, solver="greedy").fit(adata()).indices_
    assert by_key.tolist() == SampleSelector(3, solver="greedy").fit(POINTS).indices_.tolist()
