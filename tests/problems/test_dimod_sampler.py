"""Our samplers behind dimod's interface.

Guards qbm_jax.problems.dimod_sampler.
"""

import pickle

import numpy as np
import pytest

from qbm_jax import problems, samplers
from qbm_jax.errors import InputError

dimod = pytest.importorskip("dimod")
from dimod.testing import assert_response_energies, assert_sampler_api  # noqa: E402

LABELS = ["a", ("b", 2), 3]


@pytest.fixture(scope="module")
def sampler():
    return problems.DimodSampler("gibbs", num_steps=20)


def model(vartype="SPIN"):
    linear = {"a": 0.3, ("b", 2): -0.2, 3: 0.1}
    pairs = {("a", 3): 0.5, (("b", 2), 3): -0.4}
    return dimod.BinaryQuadraticModel(linear, pairs, 0.7, vartype)


def test_it_has_the_interface_of_a_sampler(sampler):
    assert_sampler_api(sampler)
    assert isinstance(sampler, dimod.Sampler)
    assert sampler.properties == {
        "sampler": "gibbs", "options": {"num_steps": 20}, "targets_boltzmann": True,
    }  # fmt: skip
    assert "num_reads" in sampler.parameters


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
def test_energies_are_the_models_and_the_temperature_is_measured(sampler, vartype):
    bqm = model(vartype)
    found = sampler.sample(bqm, num_reads=2000, seed=3, beta=0.7)
    assert_response_energies(found, bqm)
    assert found.vartype is bqm.vartype and len(found) == 2000
    assert found == sampler.sample(bqm, num_reads=2000, seed=3, beta=0.7)
    error = found.info["beta_standard_error"]
    assert 0 < error < 0.1 and abs(found.info["beta"] - 0.7) < 4 * error
    assert found.info["effective_sample_size"] == 2000 and not found.info["interrupted"]


def test_ising_and_qubo_and_a_lone_variable_are_taken(sampler):
    assert sampler.sample_ising({"a": -50}, {}).first.sample == {"a": 1}
    assert sampler.sample_ising({0: 50}, {}).first.sample == {0: -1}
    found = sampler.sample_qubo({("x", "x"): -50.0, ("x", "y"): 60.0, ("y", "y"): -10.0})
    assert found.first.sample == {"x": 1, "y": 0}


@pytest.mark.parametrize(("size", "beta"), [(1e-3, 1e3), (1e3, 1e-3), (1.0, 1.0)])
def test_the_temperature_is_measured_whatever_the_unit_of_energy(sampler, size, beta):
    bqm = model()
    bqm.scale(size)
    info = sampler.sample(bqm, num_reads=2000, seed=3, beta=beta).info
    error = info["beta_standard_error"]
    assert 0 < error < 0.1 * beta and abs(info["beta"] - beta) < 4 * error


def test_reads_that_do_not_tell_a_temperature_have_none(sampler):
    for bqm in (model() * 50, dimod.BinaryQuadraticModel({"a": 0, "b": 0}, {}, 0, "SPIN")):
        info = sampler.sample(bqm, num_reads=20, seed=0).info
        assert np.isnan(info["beta"]) and np.isnan(info["beta_standard_error"])


def test_a_lone_variable_starts_where_it_is_told():
    still = problems.DimodSampler("auxiliary_cim", num_steps=1)
    free = dimod.BinaryQuadraticModel({"a": 0.1}, {}, 0.0, "SPIN")
    assert len(still.sample(free, initial_states=[{"a": -1}, {"a": 1}], seed=0)) == 2


def test_a_sampler_by_name_goes_through_a_pickle(sampler):
    again = pickle.loads(pickle.dumps(sampler))
    assert again.properties == sampler.properties
    assert again.sample(model(), num_reads=9, seed=1) == sampler.sample(
        model(), num_reads=9, seed=1
    )


def test_it_starts_where_it_is_told_and_stops_when_it_is_told(sampler):
    cold = {"a": 1, ("b", 2): -1, 3: 1}
    one = problems.DimodSampler("auxiliary_cim", num_steps=1)
    kept = one.sample(model(), initial_states=[cold, cold], seed=0, beta=1e-3)
    assert len(kept) == 2  # as many reads as states
    pair = dimod.BinaryQuadraticModel({}, {("a", "b"): -50.0}, 0.0, "SPIN")
    still = problems.DimodSampler("gibbs", num_steps=1)
    states = [{"a": spin, "b": spin} for spin in (1, -1, -1)]
    found = still.sample(pair, initial_states=states, seed=0)
    assert sorted(row["a"] for row in found.samples(sorted_by=None)) == [-1, -1, 1]
    looks = []
    found = sampler.sample(
        model(), num_reads=200, interrupt_function=lambda: looks.append(1) or True
    )
    assert len(found) == 64 == found.info["num_reads"] and found.info["interrupted"]
    assert looks == [1]
    bits = {label: (spin + 1) // 2 for label, spin in cold.items()}
    assert len(sampler.sample(model(), initial_states=bits)) == 1
    forgets = problems.DimodSampler("bifurcation", num_steps=3, calibration_gain=0.0)
    with pytest.raises(InputError, match="persist"):
        forgets.sample(model(), initial_states=cold)


def test_a_sampler_that_is_built_is_taken():
    built = samplers.build("exact")
    found = problems.DimodSampler(built)
    assert found.properties["sampler"] == "custom"
    assert len(found.sample(model(), num_reads=4, seed=1)) == 4
    with pytest.raises(InputError, match="takes no more options"):
        problems.DimodSampler(built, num_steps=3)


def test_mistakes_are_one_line(sampler):
    for call, message in (
        (lambda: sampler.sample_ising({}, {("a", "a"): 1}), "self-loop of 'a'"),
        (lambda: sampler.sample_ising({}, {(0, 1, 2): 1}), "J by pairs of variables"),
        (lambda: sampler.sample_qubo({(0, 1, 2): 1}), "Q by pairs of variables"),
        (lambda: sampler.sample_ising({0: 1}, {}, interrupt_function=3), "must be a function"),
        (lambda: sampler.sample(dimod.BinaryQuadraticModel("SPIN")), "empty"),
        (lambda: sampler.sample(model(), num_reads=0), "num_reads"),
        (lambda: sampler.sample(model(), seed=-1), "seed"),
        (lambda: sampler.sample(model(), beta=0), "beta"),
        (lambda: sampler.sample(model(), initial_states={"a": 1}), "3 variables"),
        (lambda: sampler.sample(model(), initial_states=dict.fromkeys(LABELS, 7)), "-1 and"),
        (lambda: problems.DimodSampler("glauber"), "sampler name"),
    ):
        with pytest.raises(InputError, match=rf"^[^\n]*{message}[^\n]*$"):
            call()


def test_the_room_has_no_other_lazy_names():
    with pytest.raises(AttributeError, match="NoSampler"):
        _ = problems.NoSampler
    assert np.iterable(problems.__all__) and "DimodSampler" in problems.__all__
