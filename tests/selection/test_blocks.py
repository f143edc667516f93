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


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_the_energy_of_very_many_cells_is_estimated_by_features(kernel, monkeypatch):
    options = {"kernel": kernel, "width": 2.0} if kernel == "rbf" else {"kernel": kernel}
    exact = energy(POINTS, np.arange(50), **options)
    monkeypatch.setattr("qbm_jax.selection.energies._EXACT_ENTRIES", 0)
    estimated = energy(POINTS, np.arange(50), **options)
    assert estimated == pytest.approx(exact, abs=0.05 if kernel == "rbf" else 1e-4)
