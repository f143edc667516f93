"""A sampler as an optimiser: what it costs, what pilots decide, and what is measured of it."""

from types import SimpleNamespace

import jax
import numpy as np
from jax.experimental.sparse import BCOO

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.problems import Instance, SolverRun, measured
from qbm_jax.problems.solver import Solver
from qbm_jax.problems.tuning import tune


def made_run(values, seconds=1.0, budget=100, value=1.0):
    """A run from objectives [calls, replicas], whose best is 10."""
    shares = np.array(values, float) / 10
    return SolverRun(budget, float(budget), value, shares, seconds, 0.0)


def test_pilots_choose_setting_and_length():
    short_good, short_bad = [[9.0] * 8 + [10.0] * 2] * 2, [[8.0] * 10] * 2
    long_good = [[10.0] * 10] * 2
    runs = [
        made_run(short_good, 1.0, 100, value=0.5), made_run(short_bad, 1.0, 100, value=0.7),
        made_run(short_bad, 10.0, 1000, value=0.5), made_run(long_good, 10.0, 1000, value=0.7),
    ]  # fmt: skip
    tuned = tune(runs, (0.85, 1.0), (0.5, 1.5, 20.0))
    assert tuned.values == {100: 0.5, 1000: 0.7}
    # Ten replicas at 20 %: 2.06 calls of 1 s; or one of 10 s.
    assert tuned.budgets == (100, 100)
    assert tuned.wall_budgets[1:] == (100, 1000)
    slow = [run._replace(seconds=6.0) if run.budget == 100 else run for run in runs]
    assert tune(slow, (1.0,), (1.0,)).budgets == (1000,)


def test_a_setting_is_chosen_by_the_good_tenth_of_its_replicas():
    few_good, all_fair = [[4.0] * 16 + [10.0] * 4], [[8.0] * 20]
    runs = [made_run(few_good, value=0.5), made_run(all_fair, value=0.7)]
    assert tune(runs, (1.0,), (1.0,)).values == {100: 0.5}
    one_good = [made_run([[4.0] * 19 + [10.0]], value=0.5), runs[1]]
    assert tune(one_good, (1.0,), (1.0,)).values == {100: 0.7}


def test_without_a_success_on_pilots_the_longest_run_is_judged():
    runs = [made_run([[5.0]], 1.0, 100), made_run([[6.0]], 9.0, 1000), made_run([[np.nan]], 1, 300)]
    assert tune(runs, (1.0,), (1.0,)).budgets == (1000,)


def test_programs_for_instances_of_another_shape_are_let_go(monkeypatch):
    program = SimpleNamespace(lower=lambda *_: program, compile=lambda: program)
    monkeypatch.setattr(measured, "_COMPILED", {})
    monkeypatch.setattr(jax, "jit", lambda solve: program)
    solver = Solver("gibbs", "gibbs", (), "strength", (1.0,), 1.0, 0.0, 0, "any")
    for num_spins, budget, kept in ((3, 10, 1), (3, 20, 2), (4, 10, 1)):
        params = Boltzmann(J=np.zeros((num_spins, num_spins)), h=np.zeros(num_spins))
        measured._compiled(solver, budget, 2, params)
        assert len(measured._COMPILED) == kept


def test_a_budget_is_spent_in_whole_steps_after_what_the_start_costs():
    solver = Solver("x", "gibbs", (), "strength", (1.0,), 10.0, 50.0, 80, "any")
    assert [solver.num_steps(budget) for budget in (30, 59, 60, 85)] == [0, 0, 1, 3]
    assert [solver.products(budget) for budget in (60, 85)] == [60.0, 80.0]
    assert solver.lengths((30, 59, 60, 80, 100)) == (60, 80)
    assert solver._replace(max_products=0).lengths((30, 60, 100)) == (60, 100)


SIGNS = np.array([[0.0, 1.0, -1.0], [1.0, 0.0, 1.0], [-1.0, 1.0, 0.0]], np.float32)


def test_a_solver_takes_the_couplings_that_it_can_run():
    dense, signs = (instance_of(J) for J in (2 * SIGNS, SIGNS))
    sparse = instance_of(BCOO((SIGNS[SIGNS != 0], np.argwhere(SIGNS)), shape=SIGNS.shape))
    taken = [
        [Solver("x", "gibbs", (), "t", (1.0,), 1.0, 0.0, 0, couplings).takes(each)
         for each in (sparse, dense, signs)]
        for couplings in ("any", "dense", "signs")
    ]  # fmt: skip
    assert taken == [[True, True, True], [False, True, True], [False, False, True]]


def instance_of(J):
    return Instance("x", Boltzmann(J=J, h=np.zeros(len(J), np.float32)), None, 3.0, "")


def test_a_run_is_measured_call_by_call_on_the_machine_that_is_sought():
    """At a strength of 30 kT one sweep of a ferromagnet from equal spins finds its ground state."""
    instance = instance_of(1 - np.eye(3, dtype=np.float32))
    solver = Solver("x", "gibbs", (), "strength", (30.0,), 10.0, 5.0, 0, "any")
    calls = measured.Calls(4, 2, jax.random.key(0))
    piece = measured.measure(solver, instance, [(205, 30.0), (205, 1e-6)], calls, None)
    strong, free = piece["runs"]
    assert (strong["budget"], strong["products"], strong["value"]) == (205, 205.0, 30.0)
    assert (free["value"], len(free["seconds"])) == (1e-6, 2)
    np.testing.assert_array_equal(strong["energies"], np.full((2, 4), -3.0))  # unscaled
    assert set(np.ravel(free["energies"])) == {-3.0, 1.0}  # without couplings all states come
    (first, second) = measured.runs_of(piece, instance, 3.0)
    np.testing.assert_array_equal(first.shares, np.ones((2, 4)))
    np.testing.assert_array_equal(second.shares, -np.array(free["energies"]) / 3)
    assert measured.LOAD in piece["computer"]
