"""Choices against enumeration, under every solver and constraint."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.selection.machine import _device
from qbm_jax.selection.selector import SampleSelector, objective

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(13, 3))
SPINS = np.tanh(2 * RNG.normal(size=(13, 6)))
UTILITY = RNG.normal(size=13)
K = 4
QUICK = {"num_chains": 8, "num_steps": 60}


def energy(kernel, chosen, utility=None, weight=1.0, labelled=()):
    """The definition, with loops."""
    every = [*chosen, *labelled]
    pairs = sum(kernel[i, j] for i in every for j in every) / len(every) ** 2
    means = sum(kernel[i].sum() for i in every) / (len(every) * len(kernel))
    return pairs - 2 * means - (0 if utility is None else weight * sum(utility[i] for i in chosen))


def spin_kernel(points, c):
    entries = 1 + c * points[:, None] * points[None]
    return (entries / (1 + c)).prod(axis=2)


def kernels():
    distance = np.linalg.norm(POINTS[:, None] - POINTS[None], axis=2)
    unit = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
    return {
        "rbf": (POINTS, np.exp(-(distance**2) / (2 * 1.3**2)), {"width": 1.3}),
        "linear": (POINTS, POINTS @ POINTS.T, {}),
        "cosine": (POINTS, unit @ unit.T, {}),
        "distance": (POINTS, -distance / 2.0, {"width": 2.0}),
        "spins": (SPINS, spin_kernel(SPINS, 0.4), {"width": 0.4}),
    }


@pytest.mark.parametrize("name", kernels())
def test_the_objective_is_its_definition_and_exact_finds_its_lowest(name):
    points, kernel, options = kernels()[name]
    options |= {"kernel": name, "utility": UTILITY, "utility_weight": 0.05}
    values = {
        chosen: energy(kernel, chosen, UTILITY, 0.05) for chosen in combinations(range(13), K)
    }
    best = min(values, key=values.__getitem__)
    assert objective(points, (1, 4, 7, 12), **options) == pytest.approx(values[1, 4, 7, 12])
    found = SampleSelector(K, solver="exact", **options).fit(points)
    assert tuple(found.indices_) == best
    assert found.energy_ == pytest.approx(values[best])
    assert found.lower_bound_ <= found.energy_ + 1e-9
    greedy = SampleSelector(K, solver="greedy", **options).fit(points)
    assert greedy.gap_to_greedy_ == 0 and found.gap_to_greedy_ <= 0
    assert found.energy_ - greedy.energy_ == pytest.approx(found.gap_to_greedy_)
    if name in ("rbf", "spins"):
        assert greedy.guarantee_ <= values[best] + 1e-12
    else:
        assert greedy.guarantee_ is None


@pytest.mark.parametrize(
    "options",
    [{"solver": "swap"}, {"solver": "bifurcation"},
     {"solver": "bifurcation", "constraint": "penalty"}],
)  # fmt: skip
def test_a_polished_choice_of_few_cells_is_the_optimum(options):
    best = SampleSelector(K, solver="exact").fit(POINTS)
    found = SampleSelector(K, **options, **QUICK).fit(POINTS)
    assert found.indices_.tolist() == best.indices_.tolist()


@pytest.mark.parametrize("bits", [4, 14])
def test_a_device_of_few_bits_still_gives_k(bits):
    options = {"constraint": "penalty", "bits": bits, "polish": False}
    found = SampleSelector(K, **options, **QUICK).fit(POINTS)
    assert len(found.indices_) == K
    linear, quadratic = RNG.normal(size=5), RNG.normal(size=(5, 5))
    quadratic = quadratic + quadratic.T - 2 * np.diag(np.diagonal(quadratic))
    J, h = _device(linear, quadratic, bits)
    full = _device(linear, quadratic, None)
    levels = 2 ** (bits - 1) - 1
    for rounded, exact in zip((J, h), full, strict=True):
        np.testing.assert_allclose(rounded * levels, np.round(exact * levels), atol=1e-9)
    assert max(np.abs(J).max(), np.abs(h).max()) == 1


@pytest.mark.parametrize("solver", ["gibbs", pytest.param("cim", marks=pytest.mark.slow)])
def test_any_sampler_chooses(solver):
    found = SampleSelector(K, solver=solver, num_chains=8, num_steps=20).fit(POINTS)
    assert len(np.unique(found.indices_)) == K


def test_a_dimod_sampler_chooses():
    dimod = pytest.importorskip("dimod")
    found = SampleSelector(K, solver=dimod.ExactSolver(), polish=False).fit(POINTS)
    best = SampleSelector(K, solver="exact").fit(POINTS)
    assert found.indices_.tolist() == best.indices_.tolist()
    with pytest.raises(InputError, match="at most 24 cells for this solver, got 30; give fewer"):
        SampleSelector(K, solver=dimod.ExactSolver()).fit(RNG.normal(size=(30, 2)))


def answering(answer):
    """A sampler of dimod's protocol that gives what it is told to."""
    return type("Device", (), {"parameters": {}, "sample": lambda self, model: answer(model)})()


def test_a_device_that_answers_wrongly_is_told_as_such():
    dimod = pytest.importorskip("dimod")

    def others(model, labels):
        spins = np.ones((2, len(labels)), np.int8)
        return dimod.SampleSet.from_samples((spins, labels), energy=[0, 0], vartype="SPIN")

    for answer, words in (
        (lambda model: 1 / 0, f"failed at {len(POINTS)} cells: ZeroDivisionError"),
        (lambda model: None, "failed at .* AttributeError"),
        (lambda model: others(model, list(map(str, model.variables))), "from the device, got .*"),
        (lambda model: others(model, list(model.variables)[:3]), "got 3 others"),
        (lambda model: others(model, model.variables).slice(0, 0), "reads from the solver, got no"),
    ):
        with pytest.raises(samplers.DeviceError, match=words):
            SampleSelector(K, solver=answering(answer)).fit(POINTS)


def test_the_last_seed_is_one_that_samplers_of_dimod_take():
    solver = pytest.importorskip("dwave.samplers").SimulatedAnnealingSampler()
    found = SampleSelector(K, solver=solver, seed=2**32 - 1, num_chains=2).fit(POINTS)
    assert len(found.indices_) == K


def test_energies_of_any_scale_reach_a_sampler():
    options = {"kernel": "linear", "solver": "bifurcation", "num_chains": 4, "num_steps": 50}
    first = SampleSelector(K, **options).fit(POINTS)
    for power in (-100, 40, 300):
        found = SampleSelector(K, **options).fit(POINTS * 2.0**power)
        assert found.indices_.tolist() == first.indices_.tolist()
        assert found.energy_ == pytest.approx(first.energy_ * 4.0**power)


def test_a_sampler_of_ones_own_chooses_and_what_has_no_parameters_does_not():
    own = samplers.build("gibbs", num_steps=20)
    found = SampleSelector(K, solver=own, num_chains=8).fit(POINTS)
    best = SampleSelector(K, solver="exact").fit(POINTS)
    assert found.indices_.tolist() == best.indices_.tolist()  # swaps polish it
    lacking = type("Half", (), {"sample": lambda self: None})()
    with pytest.raises(InputError, match="a Sampler or a dimod sampler"):
        SampleSelector(K, solver=lacking)


def test_without_a_certificate_the_choice_is_the_same():
    full = SampleSelector(K, solver="swap").fit(POINTS)
    plain = SampleSelector(K, solver="swap", certify=False).fit(POINTS)
    assert plain.indices_.tolist() == full.indices_.tolist()
    assert np.isnan(plain.lower_bound_) and full.lower_bound_ <= full.energy_


def test_labelled_cells_count_and_are_not_chosen():
    kernel = kernels()["rbf"][1]
    labelled = [0, 5]
    free = [i for i in range(13) if i not in labelled]
    values = {c: energy(kernel, c, labelled=labelled) for c in combinations(free, 3)}
    options = {"width": 1.3, "solver": "exact"}
    found = SampleSelector(3, **options).fit(POINTS, labelled=labelled)
    assert tuple(found.indices_) == min(values, key=values.__getitem__)
    assert found.energy_ == pytest.approx(min(values.values()))
    assert objective(POINTS, found.indices_, labelled, **options) == pytest.approx(found.energy_)


def test_quotas_hold_and_the_lowest_within_them_is_found():
    kernel, groups = kernels()["rbf"][1], np.array(list("aaaaabbbbcccc"))
    found = SampleSelector(
        4, solver="exact", width=1.3, groups=groups, quotas={"a": 2, "b": 1, "c": 1}
    ).fit(POINTS)
    values = {
        (*a, b, c): energy(kernel, (*a, b, c))
        for a, b, c in product(combinations(range(5), 2), range(5, 9), range(9, 13))
    }
    assert tuple(found.indices_) == min(values, key=values.__getitem__)
    assert found.guarantee_ <= found.energy_ + 1e-12 and found.lower_bound_ <= found.energy_ + 1e-9
    shares = SampleSelector(6, solver="greedy", groups=groups).fit(POINTS).indices_
    assert sorted(groups[shares]) == list("aabbcc")


@pytest.mark.parametrize(
    "options",
    [{"solver": "swap"}, {"solver": "bifurcation", **QUICK}, {"criterion": "facility"} | QUICK,
     {"solver": "swap", "block_size": 5}],
)  # fmt: skip
def test_the_order_of_the_cells_does_not_matter(options):
    order = np.random.default_rng(3).permutation(13)
    first = SampleSelector(5, utility=UTILITY, utility_weight=0.01, **options).fit(POINTS)
    again = SampleSelector(5, utility=UTILITY[order], utility_weight=0.01, **options).fit(
        POINTS[order]
    )
    assert sorted(order[again.indices_]) == first.indices_.tolist()
    assert again.energy_ == pytest.approx(first.energy_)


@settings(max_examples=25, deadline=None)
@given(
    data=st.data(), num_cells=st.integers(3, 24), dims=st.integers(1, 3), seed=st.integers(0, 99),
    solver=st.sampled_from(["greedy", "swap"]), block_size=st.sampled_from([None, 2, 5]),
    criterion=st.sampled_from(["mmd", "facility"]),
)  # fmt: skip
def test_always_exactly_k_distinct_cells(
    data, num_cells, dims, seed, solver, block_size, criterion
):
    number = data.draw(st.integers(1, num_cells - 1))
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 3, (num_cells, dims)).astype(float)
    num_labelled = data.draw(st.integers(0, num_cells - number - 1))
    labelled = rng.choice(num_cells, num_labelled, replace=False)
    found = SampleSelector(
        number, solver=solver, block_size=block_size, criterion=criterion, num_chains=2, seed=seed
    ).fit(points, labelled=labelled)
    assert found.indices_.tolist() == sorted(set(found.indices_.tolist()))
    assert len(found.indices_) == number
    assert found.indices_.min() >= 0 and found.indices_.max() < num_cells
    assert not np.isin(found.indices_, labelled).any()
    assert np.isfinite(found.energy_)


def test_equal_cells_and_seeds():
    points = np.zeros((13, 2))  # as many as elsewhere: one program
    assert len(SampleSelector(3, **QUICK).fit(points).indices_) == 3
    one, two = (SampleSelector(K, seed=7, **QUICK).fit(POINTS).indices_ for _ in range(2))
    assert one.tolist() == two.tolist()
