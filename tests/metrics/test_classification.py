"""Folds and the classification of cell types, against sklearn and by their laws."""

import sys

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from qbm_jax.errors import InputError
from qbm_jax.metrics.classification import classify, score_predictions
from qbm_jax.metrics.folds import batch_folds, check_folds, stratified_folds
from qbm_jax.metrics.trees import PAPERS, STAND_IN, classifier, fit_trees, substitution


@pytest.fixture(params=[STAND_IN, PAPERS])
def trees(request, monkeypatch):
    """Each of the two kinds of trees in turn."""
    if request.param == STAND_IN:
        monkeypatch.setitem(sys.modules, "xgboost", None)
    else:
        pytest.importorskip("xgboost", reason="the paper's trees: requirements/classification.txt")
    assert classifier() == request.param
    return request.param


def clusters(num_cells=240, num_types=4, apart=20.0, noise=1.0, seed=0):
    """Points of types of equal size, `apart` from each other."""
    rng = np.random.default_rng(seed)
    codes = np.arange(num_cells) % num_types
    centres = apart * np.eye(num_types)
    return noise * rng.normal(size=(num_cells, num_types)) + centres[codes], np.array(list("dbca"))[
        codes
    ]


def confused_predictions(seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.choice(list("abcd"), size=300, p=[0.6, 0.3, 0.08, 0.02])
    return truth, np.where(rng.uniform(size=300) < 0.7, truth, rng.choice(list("abce"), size=300))


def test_separated_types_are_all_named_right(trees):
    points, labels = clusters(noise=0)
    result = classify(points[:120], labels[:120], points[120:], labels[120:])
    assert all(score == 1 for score in result.scores.values())
    assert result.f1 == dict.fromkeys("abcd", 1.0)
    assert result.closest_pairs == [] and result.notes == []
    assert np.array_equal(result.confusion, 30 * np.eye(4, dtype=int))


def test_labels_without_relation_to_the_points_are_named_by_chance(trees):
    points, labels = clusters(num_cells=400)
    labels = np.random.default_rng(1).permutation(labels)
    result = classify(points[:200], labels[:200], points[200:], labels[200:])
    # s.d. of the accuracy of 200 guesses among four is 0.031; four of them: false alarm below 1e-3
    assert result.scores["accuracy"] == pytest.approx(0.25, abs=0.125)


def test_both_kinds_of_trees_name_overlapping_types_equally_well(trees):
    """Bayes' own error of two normals 2 s.d. apart is 0.16; trees that overfit have 0.19."""
    points, labels = clusters(num_cells=3000, num_types=2, apart=2 / np.sqrt(2))
    result = classify(points[:1500], labels[:1500], points[1500:], labels[1500:])
    assert 0.78 < result.scores["accuracy"] < 0.86


def test_the_trees_that_stand_in_are_said_and_the_papers_are_not(trees):
    said = substitution()
    assert ("HistGradientBoosting, for the paper's XGBoost is not installed" in said) == bool(said)
    assert bool(said) == (trees == STAND_IN)


def test_trees_depend_on_the_seed_alone_where_each_sees_a_share_of_the_features(trees):
    points, labels = clusters(num_cells=200, apart=2.0)
    codes = np.unique(labels, return_inverse=True)[1]
    some = {"feature_share": 0.5, "num_bins": 16}
    first, again, other = (fit_trees(points, codes, seed, **some) for seed in (0, 0, 1))
    given = [trained.predict_proba(points) for trained in (first, again, other)]
    np.testing.assert_array_equal(given[0], given[1])
    assert not np.array_equal(given[0], given[2])


def test_scores_equal_those_of_sklearn():
    truth, predictions = confused_predictions()
    result = score_predictions(truth, predictions)
    assert result.names == tuple("abcde")
    assert np.array_equal(
        result.confusion, sklearn_metrics.confusion_matrix(truth, predictions, labels=list("abcde"))
    )
    assert result.scores["accuracy"] == sklearn_metrics.accuracy_score(truth, predictions)
    for average in ("macro", "weighted"):
        expected = sklearn_metrics.precision_recall_fscore_support(
            truth, predictions, labels=list("abcd"), average=average, zero_division=0
        )
        ours = [result.scores[f"{name}_{average}"] for name in ("precision", "recall", "f1")]
        np.testing.assert_allclose(ours, expected[:3], rtol=1e-12)
    by_type = sklearn_metrics.f1_score(truth, predictions, labels=list("abcd"), average=None)
    np.testing.assert_allclose(list(result.f1.values()), by_type, rtol=1e-12)


def test_scores_do_not_depend_on_the_names_of_types():
    truth, predictions = confused_predictions()
    other = dict(zip("abcde", "ZXYWV", strict=True))
    rename = np.vectorize(other.get)
    ours, renamed = (
        score_predictions(truth, predictions),
        score_predictions(rename(truth), rename(predictions)),
    )
    assert renamed.scores == pytest.approx(ours.scores, rel=1e-12)
    assert {other[name]: score for name, score in ours.f1.items()} == renamed.f1


def test_closest_pair_is_the_one_with_the_largest_share_of_confused_cells():
    truth = np.repeat(["a", "b", "c"], [100, 100, 10])
    predictions = truth.copy()
    predictions[:10] = "b"  # 10 of 200 cells of a and b
    predictions[200:204], predictions[100:102] = "b", "c"  # 6 of 110 cells of b and c
    first, second = score_predictions(truth, predictions).closest_pairs
    assert first[:3] == ("b", "c", 6) and first.share == pytest.approx(6 / 110)
    assert second[:3] == ("a", "b", 10) and second.share == pytest.approx(10 / 200)


def test_type_unseen_in_training_has_f1_zero_and_enters_the_macro_mean(trees):
    points, labels = clusters()
    train, test = np.arange(240) < 120, np.arange(240) >= 120
    train &= labels != "b"
    test &= labels != "c"
    result = classify(points[train], labels[train], points[test], labels[test])
    assert result.f1["b"] == 0 and result.f1["d"] <= 1 and "c" not in result.f1
    assert result.scores["recall_macro"] == pytest.approx(2 / 3)
    assert result.notes == [
        "types not among the training cells: b",
        "types without test cells, in no mean: c",
    ]


def test_folds_spread_types_and_batches_evenly_and_depend_on_the_seed():
    rng = np.random.default_rng(0)
    labels, batch = rng.choice(list("abc"), size=203), rng.choice(list("xy"), size=203)
    folds = stratified_folds(labels, 5, 0, batch)
    groups = [np.full(203, True)] + [labels == name for name in "abc"]
    groups += [(labels == name) & (batch == part) for name in "abc" for part in "xy"]
    for group in groups:
        assert np.ptp(np.bincount(folds[group], minlength=5)) <= 1
    assert np.array_equal(folds, stratified_folds(labels, 5, 0, batch))
    assert not np.array_equal(folds, stratified_folds(labels, 5, 1, batch))


def test_batch_folds_hold_out_one_batch_each():
    folds, names = batch_folds(np.array(["y", "x", "y"]))
    assert names == ("x", "y")
    assert folds.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_folds(None, 5), "expected cell-type labels for stratified folds, got none"),
        (lambda: check_folds(list("aab"), 2), r"got fewer of b \(1\)"),
        (lambda: stratified_folds(list("aab"), 2), r"got fewer of b \(1\)"),
        (lambda: check_folds(list("aabb"), 1), "expected at least 2 folds, got 1"),
        (lambda: classify(np.ones((3, 2)), list("aabb"), np.ones((1, 2)), ["a"]), "of shape .4, d"),
        (lambda: batch_folds(["x", "x"]), "expected at least two donors to leave one out, got x"),
        (
            lambda: classify(np.ones((4, 2)), list("aaaa"), np.ones((1, 2)), ["a"]),
            "at least two cell",
        ),
        (
            lambda: classify(np.ones((4, 2)), list("aabb"), np.ones((1, 3)), ["a"]),
            "expected 2 test",
        ),
        (
            lambda: classify(np.full((4, 2), np.nan), list("aabb"), np.ones((1, 2)), ["a"]),
            "expected finite values in the training embedding",
        ),
    ],
)
def test_what_cannot_be_classified_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
