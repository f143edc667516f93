"""Rounds of labels, of every kind of classifier."""

import numpy as np
import pytest
from command_line import small_adata, untrained_model
from sklearn.neighbors import KNeighborsClassifier

from qbm_jax.selection import SampleSelector
from qbm_jax.selection.active import active_loop

POINTS = np.random.default_rng(0).normal(size=(10, 2))
GROUPS = np.array(list("aaaabbbbcc"))


class Nearest:
    """One nearest neighbour."""

    def fit(self, points, labels):
        self.points, self.labels = points, labels
        return self

    def predict(self, points):
        away = np.linalg.norm(points[:, None] - self.points[None], axis=2)
        return self.labels[away.argmin(axis=1)]


class Graded(Nearest):
    """It is the less sure of a cell the farther off it is."""

    def predict_proba(self, points):
        away = np.linalg.norm(points[:, None] - self.points[None], axis=2).min(axis=1)
        sure = 1 / (1 + away)
        return np.column_stack([sure, 1 - sure])


def test_rounds_of_labels():
    asked = []

    def label(cells):
        asked.extend(cells.tolist())
        return GROUPS[cells]

    rounds = active_loop(
        Nearest, lambda k, uncertainty: SampleSelector(k, solver="swap"), [3, 5], POINTS, label,
        test=(POINTS, GROUPS), labelled=[4],
    )  # fmt: skip
    assert [len(each.labelled) for each in rounds] == [3, 5]
    assert sorted(asked) == rounds[-1].labelled.tolist() and 4 in asked
    assert set(rounds[0].labelled) < set(rounds[1].labelled)
    assert rounds[-1].score >= 0.5
    again = active_loop(Nearest(), SampleSelector(1, solver="swap"), [3, 5], POINTS, GROUPS,
                        labelled=[4])  # fmt: skip
    assert again[-1].labelled.tolist() == rounds[-1].labelled.tolist()


def test_each_round_keeps_a_classifier_of_its_own():
    given = Nearest()
    first, second = active_loop(given, SampleSelector(1, solver="greedy"), [2, 4], POINTS, GROUPS)
    assert [len(each.classifier.labels) for each in (first, second)] == [2, 4]
    assert not hasattr(given, "labels")


class MostUncertain:
    """A selector that takes the cells of the largest uncertainty, the first ones without any."""

    def __init__(self, number, uncertainty):
        self.number, self.uncertainty = number, uncertainty

    def fit(self, points, labelled=None):
        unsure = self.uncertainty
        worth = -np.arange(len(points), dtype=float) if unsure is None else unsure.copy()
        worth[[] if labelled is None else labelled] = -np.inf
        self.indices_ = np.sort(np.argsort(-worth, kind="stable")[: self.number])
        return self


def test_the_next_query_is_told_what_the_classifier_is_unsure_of():
    told = []

    def choose(number, uncertainty):
        told.append(uncertainty)
        return MostUncertain(number, uncertainty)

    first, second = active_loop(Graded, choose, [2, 3], POINTS, GROUPS)
    assert first.new.tolist() == [0, 1] and told[0] is None
    away = np.linalg.norm(POINTS[:, None] - POINTS[None, :2], axis=2).min(axis=1)
    np.testing.assert_allclose(told[1], 1 - np.maximum(1 / (1 + away), away / (1 + away)))
    assert second.new.tolist() == [2 + np.argmax(told[1][2:])] != [2]
    sureless = active_loop(Nearest, MostUncertain, [2, 3], POINTS, GROUPS)
    assert sureless[-1].labelled.tolist() == [0, 1, 2]


def test_a_function_refits_anything_on_labelled_cells():
    given = []

    def refit(labelled, labels):
        given.append((labelled.tolist(), labels.tolist()))
        return Graded().fit(POINTS[labelled], labels)

    options = {"test": (POINTS, GROUPS), "labelled": [4]}
    found = active_loop(refit, MostUncertain, [3, 5], POINTS, GROUPS, **options)
    expected = active_loop(Graded(), MostUncertain, [3, 5], POINTS, GROUPS, **options)
    assert [each.labelled.tolist() for each in found] == [cells for cells, _ in given]
    assert all(GROUPS[cells].tolist() == labels for cells, labels in given)
    for one, other in zip(found, expected, strict=True):
        assert one.labelled.tolist() == other.labelled.tolist() and one.score == other.score


@pytest.fixture(scope="module")
def model():
    return untrained_model()


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_fitted_model_embeds_and_its_nearest_labelled_cells_vote(model, tmp_path, on_disk):
    adata, new, told = small_adata(), small_adata(seed=1), []
    labels, cells, test = np.asarray(adata.obs["kind"]), adata, new
    if on_disk:
        cells, test = tmp_path / "cells.h5ad", tmp_path / "new.h5ad"
        adata.write_h5ad(cells)
        new.write_h5ad(test)

    def choose(number, uncertainty):
        told.append(uncertainty)
        return SampleSelector(
            number, kernel="spins", solver="greedy", groups="batch", model=model,
            utility=uncertainty, utility_weight=1 / number**2,
        )  # fmt: skip

    first, second = active_loop(
        model, choose, [6, 20], cells, labels, test=(test, np.asarray(new.obs["kind"]))
    )
    assert set(adata.obs["batch"].iloc[second.new]) == {"b1", "b2"}
    points, other = model.embed(adata), model.embed(new)
    for each, neighbours in ((first, 6), (second, 15)):
        expected = KNeighborsClassifier(neighbours, weights="distance").fit(
            points[each.labelled], labels[each.labelled]
        )
        score = (expected.predict(other) == new.obs["kind"]).mean()
        assert each.score == pytest.approx(score, abs=1e-12)
        assert each.classifier.predict(other).tolist() == expected.predict(other).tolist()
    sure = KNeighborsClassifier(6, weights="distance").fit(
        points[first.labelled], labels[first.labelled]
    )
    np.testing.assert_allclose(told[1], 1 - sure.predict_proba(points).max(axis=1), atol=1e-5)
