"""Facility location: lazy greedy, its quadratic expansion, and what its iteration gains."""

from itertools import combinations

import numpy as np
import pytest

from qbm_jax.selection import coverage, problem

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(30, 2))
SIMILARITY = np.exp(-2 * ((POINTS[:, None] - POINTS[None]) ** 2).sum(axis=2))
CODES, QUOTAS, NOTHING = np.zeros(30, int), np.array([4]), np.zeros(30)


def test_lazy_greedy_is_greedy_and_within_its_guarantee():
    chosen = []
    for _ in range(4):
        gains = [-1 if j in chosen else coverage.value(SIMILARITY, np.array([*chosen, j]))
                 for j in range(30)]  # fmt: skip
        chosen.append(int(np.argmax(gains)))
    found = coverage.lazy_greedy(SIMILARITY, CODES, QUOTAS)
    assert found.tolist() == sorted(chosen)
    best = max(coverage.value(SIMILARITY, np.array(c)) for c in combinations(range(12), 4))
    few = coverage.lazy_greedy(SIMILARITY[:, :12], CODES[:12], QUOTAS)
    assert coverage.value(SIMILARITY, few) >= (1 - np.exp(-1)) * best


@pytest.mark.parametrize("covered", [None, 0.3 * RNG.random(30)])
def test_the_expansion_is_exact_for_one_swap(covered):
    chosen = np.array([2, 9, 17, 25])
    extra = 0.1 * RNG.random(30)
    one = coverage.expansion(SIMILARITY, chosen, np.arange(30), extra, covered)

    def worth(choice):
        best = SIMILARITY[:, choice].max(axis=1)
        best = best if covered is None else np.maximum(best, covered)
        return best.mean() + extra[choice].sum()

    assert one.energy(chosen) == pytest.approx(0, abs=1e-12)
    for cell in chosen:
        for other in np.setdiff1d(np.arange(30), chosen):
            swapped = np.append(chosen[chosen != cell], other)
            assert one.energy(swapped) == pytest.approx(worth(chosen) - worth(swapped), abs=1e-12)


def test_the_iteration_ends_where_no_swap_gains():
    start = np.array([0, 1, 2, 3])
    solve = lambda one: [problem.swaps(one, 2, np.random.default_rng(0))]  # noqa: E731
    found = coverage.improve(SIMILARITY, start, CODES, QUOTAS, NOTHING, solve)
    best = coverage.value(SIMILARITY, found)
    assert best > coverage.value(SIMILARITY, start)
    for cell in found:
        for other in np.setdiff1d(np.arange(30), found):
            swapped = np.append(found[found != cell], other)
            assert coverage.value(SIMILARITY, swapped) <= best + 1e-12


def by_swaps(kernel, number):
    """The greedy choice for the MMD, then the best swap of each chosen cell in turn; by loops."""

    def energy(chosen):
        pairs = sum(kernel[i, j] for i in chosen for j in chosen) / number**2
        return pairs - 2 * sum(kernel[i].mean() for i in chosen) / number

    chosen, every = [], range(len(kernel))
    while len(chosen) < number:
        chosen.append(min(set(every) - set(chosen), key=lambda j: energy([*chosen, j])))
    chosen, lower = sorted(chosen), True
    while lower:
        lower = False
        for place in range(number):
            kept = chosen[:place] + chosen[place + 1 :]
            other = min(set(every) - set(kept), key=lambda j: energy([*kept, j]))
            if energy([*kept, other]) < energy(chosen) - 1e-9:
                chosen[place], lower = other, True
    return chosen


@pytest.mark.parametrize("seed", range(6))
def test_the_width_for_coverage_covers_held_out_cells_best(seed):
    points = np.random.default_rng(seed).normal(size=(40, 2))
    rows = np.random.default_rng(seed).permutation(40)
    pool, held_out = points[rows[:20]], points[rows[20:]]
    away = np.array([[np.hypot(*(a - b)) for b in pool] for a in pool])
    median = np.median(away[np.triu_indices(20, 1)])
    uncovered = []
    for share in coverage._WIDTHS:
        chosen = by_swaps(np.exp(-(away**2) / (2 * (share * median) ** 2)), 3)
        uncovered.append(np.mean([min(np.hypot(*(a - pool[j])) for j in chosen) for a in held_out]))
    found = coverage._WIDTHS.index(
        pytest.approx(coverage.width_by_coverage(points, 3, seed) / median)
    )
    assert uncovered[found] == pytest.approx(min(uncovered))
    assert max(uncovered) > 1.05 * min(uncovered)
