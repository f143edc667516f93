"""Harmony: batches are mixed, types stay apart, and what cannot be corrected is refused."""

import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.metrics import harmony_embedding
from qbm_jax.metrics.neighbors import exact_neighbors


def shifted_batches():
    """Three types in two batches that lie further apart than the types."""
    rng = np.random.default_rng(0)
    types, batch = np.arange(300) % 3, np.repeat(["x", "y"], [180, 120])
    points = rng.normal(size=(300, 5)) + 6 * np.eye(5)[types]
    points[batch == "y", 4] += 8
    return points.astype(np.float32), batch, types


def share_of_equal_neighbors(points, groups):
    indices = exact_neighbors(points, 16).indices[:, 1:]
    return (groups[indices] == groups[:, None]).mean()


def test_harmony_mixes_the_batches_and_keeps_the_types_apart():
    points, batch, types = shifted_batches()
    corrected = harmony_embedding(points, batch)
    assert corrected.shape == points.shape and corrected.dtype == np.float32
    assert share_of_equal_neighbors(points, batch) > 0.99
    assert share_of_equal_neighbors(corrected, batch) < 0.65  # 0.52 if they mix in proportion
    assert share_of_equal_neighbors(corrected, types) > 0.98


def test_harmony_depends_on_the_seed_alone_and_leaves_its_input_alone():
    points, batch, _ = shifted_batches()
    points.flags.writeable = False
    assert np.array_equal(harmony_embedding(points, batch, 1), harmony_embedding(points, batch, 1))
    assert not np.array_equal(
        harmony_embedding(points, batch, 1), harmony_embedding(points, batch, 2)
    )
    renamed = np.where(batch == "x", "a", "b")
    assert np.array_equal(
        harmony_embedding(points, batch, 1), harmony_embedding(points, renamed, 1)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda points, batch: (points, np.full(300, "x")), "expected at least two batches and 30"),
        (lambda points, batch: (points[170:190], batch[170:190]), "got 2 and 20"),
        (lambda points, batch: (points[:9], batch), r"principal components of shape \[300, dims\]"),
        (
            lambda points, batch: (np.tile(points, 60), batch),
            "expected fewer components than cells",
        ),
    ],
)
def test_what_harmony_cannot_correct_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        harmony_embedding(*change(*shifted_batches()[:2]))
