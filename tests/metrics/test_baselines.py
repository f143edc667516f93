"""What needs no training: batches are mixed, types stay apart, what cannot be is refused."""

import sys

import numpy as np
import pytest
from scipy import sparse

from qbm_jax.errors import InputError
from qbm_jax.metrics.baselines import (
    harmony_embedding,
    pca_embedding,
    scanorama_embedding,
)
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


def counted_batches(num_cells=240):
    """Three types of other genes each; one of two batches has a quarter of the genes six-fold."""
    rng = np.random.default_rng(0)
    types, batch = np.arange(num_cells) % 3, np.repeat(["x", "y"], num_cells // 2)
    mean = np.ones((num_cells, 60))
    for each in range(3):
        mean[np.ix_(types == each, np.arange(each * 10, each * 10 + 10))] = 12.0
    mean[np.ix_(batch == "y", np.arange(30, 60, 2))] *= 6
    return sparse.csr_matrix(rng.poisson(mean)), batch, types


@pytest.mark.peers
def test_scanorama_mixes_the_batches_and_keeps_the_types_apart_in_the_cells_order():
    counts, batch, types = counted_batches()
    before = pca_embedding(counts, 20)
    assert share_of_equal_neighbors(before, batch) > 0.8
    order = np.random.default_rng(1).permutation(len(batch))  # batches are not in one piece
    corrected = scanorama_embedding(counts[order], batch[order])
    assert corrected.shape == (240, 60) and corrected.dtype == np.float32
    assert share_of_equal_neighbors(corrected, batch[order]) < 0.65
    assert share_of_equal_neighbors(corrected, types[order]) > 0.95
    assert np.array_equal(corrected, scanorama_embedding(counts[order], batch[order]))


def test_scanorama_refuses_one_batch_and_says_what_brings_it(monkeypatch):
    counts, batch, _ = counted_batches(30)
    with pytest.raises(InputError, match="at least two batches for Scanorama, got one"):
        scanorama_embedding(counts, np.full(30, "x"))
    monkeypatch.setitem(sys.modules, "scanorama", None)
    with pytest.raises(InputError, match=r'the package scanorama, .* pip install "\.\[peers\]"'):
        scanorama_embedding(counts, batch)


@pytest.mark.parametrize("counts", [np.zeros((8, 5)), np.full((8, 5), 3)])
def test_components_of_equal_cells_are_refused(counts):
    with pytest.raises(InputError, match="expected cells of different counts"):
        pca_embedding(sparse.csr_matrix(counts))
