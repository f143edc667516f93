"""Ways to choose: as many distinct cells as are asked for, and what is left out is said."""

import numpy as np
import pytest

from qbm_jax.selection import methods
from qbm_jax.selection.methods import METHODS, SelectionRequest, available

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(40, 3))
LABELS = np.repeat(["a", "b"], 20)
QUICK = {"num_chains": 4, "num_steps": 10}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_chooses_so_many_distinct_cells(name):
    found, notes = available([name])
    if not found:
        pytest.skip(notes[0])
    utilities = dict.fromkeys(("entropy", "free_energy", "elbo", "disagreement"), POINTS[:, 0])
    request = SelectionRequest(POINTS, 7, 3, LABELS, utilities, QUICK)
    chosen = np.asarray(found[name].choose(request))
    assert len(chosen) == len(np.unique(chosen)) == 7
    assert chosen.min() >= 0 and chosen.max() < 40


def test_random_cells_stand_in_the_place_of_equal_ones():
    found = methods.filled(np.array([3, 1, 3]), SelectionRequest(POINTS, 5, 0, LABELS, {}, {}))
    assert len(np.unique(found)) == len(found) == 5 and {1, 3} < set(found)


@pytest.mark.parametrize("seed", range(4))
def test_the_farthest_cell_comes_first_wherever_the_choice_starts(seed):
    points = np.array([[0.0], [1.0], [10.0], [5.0]])
    chosen = methods.farthest_first(SelectionRequest(points, 3, seed, LABELS[:4], {}, {}))
    assert {2, 3} < set(chosen) and len(set(chosen)) == 3


def test_a_method_without_its_package_is_left_out_and_a_slow_one_is_said(monkeypatch):
    monkeypatch.setattr(methods, "installed", lambda name: name != "kmedoids")
    found, notes = available(["kmedoids", "random", "badge"])
    assert list(found) == ["random", "badge"]
    assert notes == [
        "kmedoids is left out: the package kmedoids is not installed.",
        "badge is asked for at most 250 cells: it is slow.",
    ]
