"""Choosing from blocks of cells, and the estimate of the energy of very many."""

import numpy as np
import pytest

from qbm_jax.selection import SampleSelector, blocks
from qbm_jax.selection import objective as energy

POINTS = np.random.default_rng(0).normal(size=(600, 3))


def test_blocks_are_neighbours_that_part_all_rows():
    parts = list(blocks.split(POINTS, np.arange(600), 100))
    assert sorted(np.concatenate(parts).tolist()) == list(range(600))
    assert all(50 <= len(part) <= 100 for part in parts)
    spread = np.mean([POINTS[part].var(axis=0).sum() for part in parts])
    assert spread < 0.7 * POINTS.var(axis=0).sum()


def test_a_choice_from_blocks_is_better_than_random_and_keeps_quotas():
    groups = np.repeat(["a", "b"], [450, 150])
    found = SampleSelector(
        40, solver="swap", num_chains=1, block_size=100, groups=groups, width=1.5
    ).fit(POINTS)
    assert np.unique(groups[found.indices_], return_counts=True)[1].tolist() == [30, 10]
    rng = np.random.default_rng(1)
    at_random = [energy(POINTS, rng.choice(600, 40, replace=False), width=1.5) for _ in range(20)]
    assert found.energy_ < min(at_random)
    assert np.isnan(found.lower_bound_) and found.guarantee_ is None


@pytest.mark.parametrize("labelled", [0, 60])
@pytest.mark.parametrize("criterion", ["mmd", "facility"])
def test_a_utility_weighs_in_blocks_what_it_weighs_in_all(criterion, labelled):
    points, known = POINTS[:400], np.arange(labelled)
    size = 1 / (40 + labelled) ** 2 if criterion == "mmd" else 1 / 400
    utility = 0.5 * size * np.random.default_rng(2).normal(size=400)
    options = {"solver": "swap", "num_chains": 1, "width": 1.0, "criterion": criterion}
    whole, parts, without = (
        SampleSelector(40, **options, **more).fit(points, known).indices_
        for more in (
            {"utility": utility},
            {"utility": utility, "block_size": 50},
            {"block_size": 50},
        )
    )
    gained = [utility[each].mean() - utility[without].mean() for each in (parts, whole)]
    assert gained[0] == pytest.approx(gained[1], rel=0.35)
    found = [energy(points, each, known, utility=utility, width=1.0, criterion=criterion)
             for each in (whole, parts, without)]  # fmt: skip
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize(("criterion", "shrunk"), [("mmd", 9), ("facility", 3)])
def test_blocks_that_are_copies_choose_alike_with_a_utility(criterion, shrunk):
    """Three copies far apart: E of all is the sum of theirs, each a ninth or a third."""
    utility = np.random.default_rng(3).normal(size=20) / 5**2
    options = {"solver": "exact" if criterion == "mmd" else "greedy", "width": 1.0,
               "criterion": criterion}  # fmt: skip
    one = SampleSelector(5, utility=utility, **options).fit(POINTS[:20]).indices_
    far = np.vstack([POINTS[:20] + shift for shift in (0, 1e3, 2e3)])
    many = SampleSelector(15, utility=np.tile(utility, 3) / shrunk, block_size=20,
                          groups=np.repeat(list("abc"), 20), **options)  # fmt: skip
    assert (many.fit(far).indices_ % 20).tolist() == one.tolist() * 3
    assert one.tolist() != SampleSelector(5, **options).fit(POINTS[:20]).indices_.tolist()


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_the_energy_of_very_many_cells_is_estimated_by_features(kernel, monkeypatch):
    options = {"kernel": kernel, "width": 2.0} if kernel == "rbf" else {"kernel": kernel}
    exact = energy(POINTS, np.arange(50), **options)
    monkeypatch.setattr("qbm_jax.selection.energies._EXACT_ENTRIES", 0)
    estimated = energy(POINTS, np.arange(50), **options)
    assert estimated == pytest.approx(exact, abs=0.05 if kernel == "rbf" else 1e-4)
