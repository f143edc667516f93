"""Facility location: lazy greedy, its quadratic expansion, and what its iteration gains."""

from itertools import combinations

import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.selection import SampleSelector, coverage, objective, problem

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


def two_kinds(num_far):
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(60, 4)) * 0.01, rng.normal(size=(num_far, 4)) * 3
    return np.vstack([near, far]), np.array(["d1"] * 60 + ["d2"] * num_far)


@pytest.mark.parametrize("solver", ["swap", "bifurcation"])
def test_a_group_without_a_quota_gets_no_cell(solver):
    points, groups = two_kinds(400)
    found = SampleSelector(20, criterion="facility", groups=groups, quotas={"d1": 20},
                           solver=solver, num_steps=20, num_chains=2)  # fmt: skip
    assert set(groups[found.fit(points).indices_]) == {"d1"}


def test_a_swap_finds_cells_of_its_group_behind_all_of_larger_gain():
    points, groups = two_kinds(400)
    similarity = np.exp(-2 * ((points[:, None] - points[None]) ** 2).sum(axis=2))
    codes, quotas = (groups == "d2").astype(int), np.array([2, 0])
    wanted = quotas[codes] > 0
    found = coverage._promising(similarity, np.array([0, 1]), wanted, np.zeros(460), None)
    assert found.tolist() == list(range(60))


def test_no_swap_within_groups_keeps_the_choice():
    one = coverage.expansion(SIMILARITY, np.array([2, 9]), np.arange(30), NOTHING)
    inside = np.isin(np.arange(30), [2, 9])
    assert coverage.best_swap(one, inside, inside.astype(int)).tolist() == [2, 9]


@pytest.mark.parametrize("solver", ["greedy", "swap", "bifurcation"])
def test_all_that_is_not_labelled_can_be_chosen(solver):
    found = SampleSelector(5, criterion="facility", solver=solver, num_steps=5, num_chains=2)
    chosen = found.fit(POINTS[:10], labelled=np.arange(5)).indices_
    assert chosen.tolist() == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("solver", ["greedy", "exact", "swap", "bifurcation"])
@pytest.mark.parametrize("criterion", ["mmd", "facility"])
def test_the_last_cell_that_is_not_labelled_can_be_chosen(criterion, solver):
    found = SampleSelector(1, criterion=criterion, solver=solver, num_steps=5, num_chains=2)
    assert found.fit(POINTS[:5], labelled=[0, 1, 3, 4]).indices_.tolist() == [2]


@pytest.mark.parametrize("options", [{}, {"groups": np.arange(12) % 2, "quotas": {0: 1, 1: 2}}])
@pytest.mark.parametrize("seed", range(6))
def test_exact_is_the_best_coverage_of_all_choices(seed, options):
    rng = np.random.default_rng(seed)
    points, utility = rng.normal(size=(12, 2)), 0.02 * rng.normal(size=12)
    labelled = [[], [3]][seed % 2]
    term = {"criterion": "facility", "utility": utility}
    found = SampleSelector(3, solver="exact", **term, **options).fit(points, labelled)
    feasible = [
        each for each in combinations(np.setdiff1d(range(12), labelled).tolist(), 3)
        if not options or sum(cell % 2 for cell in each) == 2
    ]  # fmt: skip
    lowest = min(objective(points, each, labelled, **term) for each in feasible)
    assert found.energy_ == pytest.approx(lowest, abs=1e-12)


def test_too_many_choices_are_refused_for_coverage_too():
    with pytest.raises(InputError, match="at most 5000000 choices for solver exact"):
        SampleSelector(15, criterion="facility", solver="exact").fit(POINTS)
