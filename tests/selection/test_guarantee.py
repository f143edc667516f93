"""What no choice can fall below: greedy's guarantee and the convex bound, against enumeration."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbm_jax.selection import SampleSelector
from qbm_jax.selection.problem import Problem, exact, greedy, guarantee, lower_bound


@pytest.mark.parametrize("beside", [0.3, 0.5, 0.7])
def test_the_guarantee_counts_the_cells_of_the_best_choice_and_of_greedys(beside):
    # Greedy begins in the middle, and each of the two best cells adds energy to all three.
    points = np.array([[-1.0], [0.0], [1.0]])
    width = 1 / math.sqrt(-2 * math.log(beside))
    kernel = np.exp(-((points - points.T) ** 2) / (2 * width**2))
    utility = -(2 / (2 * 3)) * kernel.sum(axis=1) + np.array([0, 1e-3, 0])
    options = {"width": width, "utility": utility}
    best = SampleSelector(2, solver="exact", **options).fit(points)
    found = SampleSelector(2, solver="greedy", **options).fit(points)
    assert found.indices_.tolist() != best.indices_.tolist() == [0, 2]
    assert max(found.guarantee_, found.lower_bound_) <= best.energy_ + 1e-12


def plain(rng, num_cells, number):
    """A kernel of random points, and any linear terms."""
    points = rng.normal(size=(num_cells, rng.integers(1, 4)))
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    K = np.exp(-squared / (2 * rng.uniform(0.3, 3) ** 2))
    linear = rng.choice([0, -2 * number / num_cells]) * K.sum(axis=1)
    return K, linear + rng.choice([0, 0.1, 1]) * rng.normal(size=num_cells)


def misleading(rng, num_cells, number):
    """The best cells are unlike each other; others come first and are like all of them."""
    best = np.arange(num_cells) < number
    K = rng.uniform(0, 0.02, (num_cells, num_cells))
    K[np.ix_(best, ~best)] += rng.uniform(0.2, 0.8)
    K[np.ix_(~best, ~best)] += rng.uniform(0, 1)
    K = np.maximum(K, K.T)
    np.fill_diagonal(K, 0)
    return K - np.linalg.eigvalsh(K)[0] * np.eye(num_cells), -1e-3 * ~best


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    data=st.data(), made=st.sampled_from([plain, misleading]), seed=st.integers(0, 10**6),
    num_cells=st.integers(2, 12),
)  # fmt: skip
def test_no_choice_falls_below_the_bounds(data, made, seed, num_cells):
    number = data.draw(st.integers(1, num_cells - 1))
    num_groups = data.draw(st.integers(1, min(2, number)))
    rng = np.random.default_rng(seed)
    K, linear = made(rng, num_cells, number)
    codes = np.arange(num_cells) % num_groups
    quotas = np.bincount(codes[:number], minlength=num_groups)
    one = Problem(K, linear / number**2, 1 / number**2, rng.normal(), codes, quotas)
    lowest = one.energy(exact(one))
    assert guarantee(one, one.energy(greedy(one))) <= lowest + 1e-9
    assert lower_bound(one) <= lowest + 1e-9
