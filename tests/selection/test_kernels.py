"""The kernel of spins against enumeration and draws; features against kernels."""

from itertools import product

import numpy as np
import pytest

from qbm_jax.selection import kernels

RNG = np.random.default_rng(0)
MEANS = np.tanh(RNG.normal(size=(3, 4)))
C = 0.35


def between_states(s, t):
    return ((1 - C) / (1 + C)) ** (s != t).sum(-1)


def test_the_kernel_of_spins_is_the_mean_over_all_states():
    states = np.array(list(product([-1, 1], repeat=4)))
    chances = np.array([((1 + states * m) / 2).prod(axis=1) for m in MEANS])
    whole = between_states(states[:, None], states[None])
    kernel = kernels.Kernel("spins", C)
    np.testing.assert_allclose(kernel(MEANS, MEANS), chances @ whole @ chances.T, rtol=1e-12)


def test_the_kernel_of_spins_is_the_mean_over_draws():
    draws = np.where(RNG.random((20_000, 3, 4)) < (1 + MEANS) / 2, 1, -1)
    drawn = between_states(draws[:10_000, 0], draws[10_000:, 1])
    exact = kernels.Kernel("spins", C)(MEANS, MEANS)[0, 1]
    assert abs(drawn.mean() - exact) < 5 * drawn.std() / 100


@pytest.mark.parametrize("name", ["rbf", "spins", "linear", "cosine"])
def test_products_of_features_are_the_kernel_in_the_mean(name):
    kernel = kernels.Kernel(name, {"rbf": 1.5, "spins": C}.get(name, 1.0))
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
