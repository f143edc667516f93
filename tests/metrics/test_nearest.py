"""What the nearest cells say: against a plain count, and where it has nothing to say."""

import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.metrics.nearest import accuracy_within_batches, distance_to_nearest, nearest_types


@pytest.fixture(scope="module")
def cells():
    """Points of three types in two batches, with a shift between batches."""
    rng = np.random.default_rng(0)
    labels, batch = rng.choice(list("abc"), 90), rng.choice(["x", "y"], 90)
    points = rng.normal(size=(90, 4)) + 1.2 * np.searchsorted(list("abc"), labels)[:, None]
    return points + 5 * (batch == "y")[:, None], batch, labels


def vote(points, labels, point, number):
    """The most frequent type among the nearest, the first in the alphabet of several."""
    nearest = np.argsort(((points - point) ** 2).sum(axis=1))[:number]
    names, counts = np.unique(labels[nearest], return_counts=True)
    return names[counts.argmax()]


def test_types_are_those_of_most_of_the_fifteen_nearest(cells):
    points, _, labels = cells
    found = nearest_types(points[:60], labels[:60], points[60:])
    assert found.tolist() == [vote(points[:60], labels[:60], each, 15) for each in points[60:]]
    few = nearest_types(points[:4], np.array(["a", "b", "b", "b"]), points[60:])
    assert set(few) == {"b"}
    assert nearest_types(points[:60], labels[:60], points[:0]).shape == (0,)


def test_accuracy_is_of_the_nearest_others_of_the_same_batch(cells):
    points, batch, labels = cells
    right = []
    for cell in range(90):
        others = np.flatnonzero((batch == batch[cell]) & (np.arange(90) != cell))
        right.append(vote(points[others], labels[others], points[cell], 15) == labels[cell])
    found = accuracy_within_batches(points, batch, labels)
    assert found == pytest.approx(np.mean(right))
    apart = points + 1000 * (batch == "y")[:, None]  # the shift between batches does not matter
    assert accuracy_within_batches(apart, batch, labels) == pytest.approx(found)


def test_a_cell_alone_in_its_batch_is_left_out(cells):
    points, batch, labels = cells
    alone = np.where(np.arange(90) == 0, "z", batch)
    rest = accuracy_within_batches(points[1:], batch[1:], labels[1:])
    assert accuracy_within_batches(points, alone, labels) == pytest.approx(rest)
    assert np.isnan(accuracy_within_batches(points[:3], np.array(list("pqr")), labels[:3]))


def test_distances_are_the_mean_over_the_nearest_known_cells(cells):
    points = cells[0]
    gaps = np.linalg.norm(points[60:, None] - points[None, :60], axis=2)
    expected = np.sort(gaps, axis=1)[:, :15].mean(axis=1)
    np.testing.assert_allclose(distance_to_nearest(points[60:], points[:60]), expected, rtol=1e-4)


def test_what_is_no_embedding_is_refused(cells):
    points, batch, labels = cells
    with pytest.raises(InputError, match="expected finite values"):
        distance_to_nearest(points, np.full((3, 4), np.nan))
    with pytest.raises(InputError, match="at least two cell types"):
        accuracy_within_batches(points, batch, np.full(90, "a"))
    with pytest.raises(InputError, match="expected the training embedding of shape"):
        nearest_types(points[:5], labels, points)
    with pytest.raises(InputError, match="expected 4 dimensions as of the known cells, got 3"):
        nearest_types(points, labels, points[:, :3])
    with pytest.raises(InputError, match=r"expected one batch per cell, got \(10,\) for 90"):
        accuracy_within_batches(points, batch[:10], labels)
