"""Exactly k cells under every solver, and the same optimum under every constraint."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbm_jax import samplers
from qbm_jax.selection import SampleSelector, machine
from qbm_jax.selection.kernels import KERNELS

NUM_FREE = 13  # of every problem: a sampler's program is compiled once
SOLVERS = {name: name for name in ("greedy", "swap", "exact", *samplers.SAMPLERS)}
SOLVERS |= {"a Sampler": samplers.build("gibbs", num_steps=5), "dimod": None}
OFTEN = {"greedy", "swap", "exact", "bifurcation", "annealing", "a Sampler", "dimod"}


@pytest.mark.parametrize(
    "solver", [n if n in OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in SOLVERS]
)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    data=st.data(), dims=st.integers(1, 3), seed=st.integers(0, 99),
    kernel=st.sampled_from(KERNELS), criterion=st.sampled_from(["mmd", "facility"]),
    polish=st.booleans(), quotas=st.booleans(),
    constraint=st.sampled_from(["lagrange", "penalty"]), bits=st.sampled_from([None, 2, 4, 14]),
    num_labelled=st.integers(0, 2),
)  # fmt: skip
def test_exactly_k_distinct_cells_that_are_not_labelled(
    solver, data, dims, seed, kernel, criterion, polish, quotas, constraint, bits, num_labelled
):
    solver = SOLVERS[solver] or pytest.importorskip("dimod").RandomSampler()
    number = data.draw(st.integers(2, NUM_FREE - 1))
    rng = np.random.default_rng(seed)
    points = rng.integers(-1, 2, (NUM_FREE + num_labelled, dims)).astype(float)  # equal ones too
    labelled = rng.choice(len(points), num_labelled, replace=False)
    groups = np.arange(len(points)) % 2 if quotas else None
    found = SampleSelector(
        number, solver=solver, kernel=kernel, criterion=criterion, polish=polish,
        constraint=constraint, bits=bits, groups=groups, num_chains=3, num_steps=5, seed=seed,
    ).fit(points, labelled=labelled)  # fmt: skip
    assert found.indices_.tolist() == sorted(set(found.indices_.tolist()))
    assert len(found.indices_) == number
    assert set(found.indices_.tolist()) <= set(range(len(points))) - set(labelled.tolist())
    assert quotas is False or set(groups[found.indices_]) == {0, 1}
    assert np.isfinite(found.energy_)


class GroundStates:
    """A machine that finds its lowest state, by enumeration, and no other."""

    parameters = ()

    def sample(self, model):
        """The lowest of all states."""
        import dimod

        return dimod.ExactSolver().sample(model).truncate(1)


needs_dimod = pytest.mark.skipif(
    importlib.util.find_spec("dimod") is None, reason='needs dimod: pip install ".[dimod]"'
)


CONSTRAINED = {
    "lagrange": {"constraint": "lagrange", "solver": GroundStates(), "polish": False},
    "penalty": {"constraint": "penalty", "solver": GroundStates(), "polish": False},
    "swap": {"solver": "swap"},
}


def choices(kernel, seed, *several):
    """What each of several solvers chooses of one small problem."""
    rng = np.random.default_rng(seed)
    points = np.tanh(1.5 * rng.normal(size=(NUM_FREE, 3)))
    # A level changes nothing at fixed k; without a constraint it chooses all cells or none.
    utility = 30 * (-1) ** seed + rng.normal(size=NUM_FREE)
    own = {"kernel": kernel, "certify": False, "utility": utility, "utility_weight": 0.01}
    found = (SampleSelector(2 + seed % 8, **options, **own).fit(points) for options in several)
    return [each.indices_.tolist() for each in found]


@needs_dimod
@pytest.mark.parametrize("kernel", ["rbf", "spins"])
@pytest.mark.parametrize("constraint", CONSTRAINED)
def test_each_constraint_gives_the_optimum_without_polish(constraint, kernel):
    from_greedy = 0
    for seed in range(10, 18):
        best, found, greedy = choices(
            kernel, seed, {"solver": "exact"}, CONSTRAINED[constraint], {"solver": "greedy"}
        )
        assert found == best
        from_greedy += greedy == best
    assert from_greedy <= 5, "it takes more than greedy repair"


@needs_dimod
def test_the_field_is_tuned_where_it_begins_far_off(monkeypatch):
    marginal = machine._marginal

    def far_off(problem):
        middle, spread = marginal(problem)
        return middle + 0.7 * spread, spread

    monkeypatch.setattr(machine, "_marginal", far_off)
    for seed in range(10, 18):
        best, found = choices("rbf", seed, {"solver": "exact"}, CONSTRAINED["lagrange"])
        assert found == best
