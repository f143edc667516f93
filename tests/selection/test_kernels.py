"""The kernel of spins against enumeration and draws; features against kernels."""

from itertools import product

import numpy as np
import pytest

from qbm_jax.selection import SampleSelector, blocks, kernels, sketch_scores

RNG = np.random.default_rng(0)
MEANS = np.tanh(RNG.normal(size=(3, 4)))
C = 0.35
MANY = np.random.default_rng(1).normal(size=(50, 3))


def between_states(s, t):
    return ((1 - C) / (1 + C)) ** (s != t).sum(-1)


def test_the_kernel_of_spins_is_the_mean_over_all_states():
    states = np.array(list(product([-1, 1], repeat=4)))
    chances = np.array([((1 + states * m) / 2).prod(axis=1) for m in MEANS])
    whole = between_states(states[:, None], states[None])
    kernel = kernels.SimilarityKernel("spins", C)
    np.testing.assert_allclose(kernel(MEANS, MEANS), chances @ whole @ chances.T, rtol=1e-12)


def test_the_kernel_of_spins_is_the_mean_over_draws():
    draws = np.where(RNG.random((20_000, 3, 4)) < (1 + MEANS) / 2, 1, -1)
    drawn = between_states(draws[:10_000, 0], draws[10_000:, 1])
    exact = kernels.SimilarityKernel("spins", C)(MEANS, MEANS)[0, 1]
    assert abs(drawn.mean() - exact) < 5 * drawn.std() / 100


@pytest.mark.parametrize("name", ["rbf", "spins", "linear", "cosine"])
def test_products_of_features_are_the_kernel_in_the_mean(name):
    kernel = kernels.SimilarityKernel(name, {"rbf": 1.5, "spins": C}.get(name, 1.0))
    features = kernel.features(4, 20_000, np.random.default_rng(1))
    found = features(MEANS)
    np.testing.assert_allclose(found @ found.T, kernel(MEANS, MEANS), atol=0.03)
    np.testing.assert_allclose(features.mean(MEANS), found.mean(axis=0), atol=1e-5)


def test_scales_are_those_of_the_median_pair():
    points = np.array([[0.0], [1.0], [3.0]])
    assert kernels.build("rbf", points).scale == 2.0
    spins = np.array([[1.0, 1, 1, 1], [1, 1, -1, -1]])
    kernel = kernels.build("spins", spins)
    assert kernel(spins, spins)[0, 1] == pytest.approx(np.exp(-1))


@pytest.mark.parametrize("name", ["rbf", "distance"])
def test_what_knows_differences_alone_is_not_lost_far_from_0(name):
    points = RNG.normal(size=(50, 4)).round(3)
    kernel = kernels.build(name, points)
    away = np.round(1e6 + points, 3)
    assert kernels.build(name, away).scale == pytest.approx(kernel.scale, rel=1e-8)
    np.testing.assert_allclose(kernel(away, away[:9]), kernel(points, points[:9]), atol=1e-7)
    np.testing.assert_allclose(kernel.means(away, away), kernel.means(points, points), atol=1e-7)


def test_features_are_not_lost_far_from_0():
    kernel = kernels.SimilarityKernel("rbf", 1.5)
    near, far = (
        blocks.mean_entry(kernel, points[:9], points, 0)
        for points in (MANY, MANY + 1e6)
    )  # fmt: skip
    assert far == pytest.approx(near, abs=1e-5)


@pytest.mark.parametrize("tile", [1, 7, 50, 2**11])
def test_means_are_of_all_tiles(tile, monkeypatch):
    monkeypatch.setattr(kernels, "_TILE", tile)
    monkeypatch.setattr(kernels, "_BLOCK", 70)
    kernel = kernels.SimilarityKernel("rbf", 1.5)
    np.testing.assert_allclose(kernel.means(MANY[:20], MANY), kernel(MANY[:20], MANY).mean(axis=1))


def test_a_choice_does_not_depend_on_where_0_is():
    points = np.random.default_rng(4).normal(size=(200, 3)).round(3)
    for options in ({}, {"criterion": "facility"}, {"kernel": "distance"}):
        near, far = (
            SampleSelector(10, solver="greedy", **options).fit(each).indices_
            for each in (points, points + 1e8)
        )
        assert near.tolist() == far.tolist()
    chosen, kinds = np.arange(200), np.repeat(["a", "b"], 100)
    large = (points + 1e6).astype(np.float32)
    assert sketch_scores(large, chosen, kinds, kinds)["hausdorff"] < 1e-6
