"""Scores of rare types: kept, scattered, and against counting by hand."""

import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.metrics.clustering import leiden_clusters
from qbm_jax.metrics.rare_types import (
    isolated_label_f1,
    knn_purity,
    rare_types,
    recall_by_abundance,
    score_rare_types,
)

LABELS = np.repeat(["big", "middle", "rare", "tiny"], [600, 380, 16, 4])


def points_of(labels, apart):
    rng = np.random.default_rng(0)
    centres = {"big": 0, "middle": 1, "rare": 2, "tiny": 3}
    codes = np.array([centres[name] for name in labels])
    return rng.normal(size=(len(labels), 4)) * 0.3 + apart * np.eye(4)[codes]


@pytest.fixture(scope="module")
def kept():
    return leiden_clusters(points_of(LABELS, apart=10))


def test_rare_types_are_those_below_the_limit_rarest_first():
    assert rare_types(LABELS) == ("tiny", "rare")
    assert rare_types(LABELS, max_share=0.01) == ("tiny",)
    assert rare_types(LABELS, max_share=0.4) == ("tiny", "rare", "middle")


def test_rare_type_of_its_own_cluster_scores_one(kept):
    result = score_rare_types(kept, LABELS, {"rare": 0.5, "big": 1.0})
    assert result.per_type["rare"] == {"f1": 0.5, "isolated_f1": 1.0, "knn_purity": 1.0}
    assert np.isnan(result.per_type["tiny"]["f1"])
    assert result.scores["rare_f1"] == 0.5
    assert result.scores["rare_knn_purity"] == 1.0
    assert result.notes == ["rare types without test cells have no f1: tiny"]


def test_scattered_rare_type_scores_near_zero(kept):
    scattered = np.random.default_rng(0).permutation(LABELS)
    result = score_rare_types(kept, scattered, {"rare": 0.0, "tiny": 0.0})
    # 14 neighbours of 16 cells, 1.5 % of them of the type: mean 0.015, s.d. 0.008
    assert result.per_type["rare"]["knn_purity"] < 0.06
    assert result.per_type["rare"]["isolated_f1"] < 0.3


def test_isolated_f1_is_the_best_over_clusters_and_resolutions():
    members = np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    coarse, fine = [0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 2, 2]
    # coarse: 3 of 5 against 3 gives 6/8; fine: 2 of 2 against 3 gives 4/5
    assert isolated_label_f1(np.array([coarse]), members) == pytest.approx(6 / 8)
    assert isolated_label_f1(np.array([coarse, fine]), members) == pytest.approx(4 / 5)


def test_purity_counts_neighbours_without_the_cell_itself():
    indices = np.array([[0, 1, 2], [1, 2, 0], [2, 3, 1], [3, 2, 1]])
    assert knn_purity(indices, np.array([True, True, True, False])) == pytest.approx(5 / 6)
    # two cells: one neighbour each, so a pair can reach 1
    assert knn_purity(indices, np.array([False, False, True, True])) == 1
    assert np.isnan(knn_purity(indices, np.array([True, False, False, False])))


def test_recall_is_listed_by_abundance():
    truth = np.repeat(["a", "b", "c"], [50, 4, 10])
    predictions = truth.copy()
    predictions[50] = "a"
    rows = recall_by_abundance(truth, predictions, {"c": 0.03, "b": 0.001})
    assert [(row.name, row.num_cells, row.recall) for row in rows] == [("b", 4, 0.75), ("c", 10, 1)]
    assert rows[0].standard_error == pytest.approx(np.sqrt(0.75 * 0.25 / 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rare_types(None), "expected cell-type labels for rare types, got none"),
        (lambda: rare_types(list("ab")), r"less than 3.0% of the cells, but the rarest, a, has 50"),
        (lambda: recall_by_abundance(["a"], ["a"], {"b": 0.1}), r"got none of \['b'\]"),
        (lambda: recall_by_abundance(["a"], [], {"a": 0.1}), "expected one prediction per cell"),
    ],
)
def test_what_has_no_rare_types_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
