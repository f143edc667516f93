"""What public functions of the machine take, refuse in one line, and never misread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from qbm_jax import problems as ising
from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.calibration import (
    energy_residual,
    field_residual,
    fit_beta,
    pseudo_likelihood_residual,
)
from qbm_jax.machine.enumeration import enumerate_spins

J = np.array([[0, 1, -2], [1, 0, 3], [-2, 3, 0]])
H = np.array([1, 0, -1])
SPINS = np.array([1.0, -1.0, 1.0])
ENERGY = -0.5 * SPINS @ J @ SPINS - H @ SPINS


@pytest.mark.parametrize(
    "convert", [np.ndarray.tolist, np.float64, scipy.sparse.csr_matrix, jnp.asarray]
)
def test_couplings_of_every_common_kind_have_the_same_energy(convert):
    params = Boltzmann(J=convert(J), h=H.tolist())
    assert float(boltzmann.energy(params, SPINS)) == pytest.approx(ENERGY)


def test_a_sampler_takes_nested_lists():
    sampler = samplers.build("gibbs", num_steps=1)
    params = Boltzmann(J=J.tolist(), h=H.tolist())
    state = sampler.init(jax.random.key(0), params, 2)
    assert sampler.sample(jax.random.key(1), params, state)[0].shape == (2, 3)


@pytest.mark.parametrize("convert", [np.asarray, scipy.sparse.csr_matrix])
def test_the_energy_of_a_triangle_is_refused_with_both_readings(convert):
    params = Boltzmann(J=convert(np.triu(J)), h=H)
    with pytest.raises(InputError, match=r"J \+ J\.T where.*triangle.*\(J \+ J\.T\) / 2 where"):
        boltzmann.energy(params, SPINS)


def test_energies_stay_traceable():
    assert jax.grad(lambda J: boltzmann.energy(Boltzmann(J, H), SPINS))(J * 1.0).shape == (3, 3)


@pytest.mark.parametrize("Q", [np.triu(J) + np.eye(3), np.triu(J), J + np.eye(3)])
def test_a_qubo_matrix_is_no_bit_form(Q):
    with pytest.raises(InputError, match="QUBO"):
        boltzmann.from_bit_form(jnp.zeros(3), jnp.asarray(Q))


@pytest.mark.parametrize("name", samplers.SAMPLERS)
@pytest.mark.parametrize("value", [1e30, np.inf, np.nan])
def test_every_sampler_refuses_couplings_and_fields_that_float32_cannot_add(name, value):
    sampler = samplers.build(name)
    for params in (Boltzmann(J * value, H * 1.0), Boltzmann(J * 1.0, H * value)):
        with pytest.raises(InputError, match=r"^expected (couplings|finite)"):
            sampler.init(jax.random.key(0), params, 2)


def write_graph(tmp_path, weight):
    path = tmp_path / "graph.txt"
    path.write_text(f"2 1\n1 2 {weight}\n", encoding="utf-8")
    return path


def test_whole_weights_may_end_in_a_point_and_zeros(tmp_path):
    assert float(ising.total_weight(ising.read_gset(write_graph(tmp_path, "-3.0")))) == -3


@pytest.mark.parametrize("weight", ["1_0", "0x1", "١", "1.5", "1e1", "nan"])
def test_other_weights_are_refused_with_their_line(tmp_path, weight):
    with pytest.raises(InputError, match="line 2: expected integers"):
        ising.read_gset(write_graph(tmp_path, weight))


def test_an_empty_field_of_best_cuts_costs_no_other_instance(tmp_path):
    path = tmp_path / "best_known.csv"
    path.write_text("instance,best_a,best_b\nG1,7,\nG2,,\nG3,4,5\n", encoding="utf-8")
    assert ising.read_best_known(path) == {"G1": 7, "G3": 5}


def test_a_mixture_of_temperatures_shows_in_the_field_residual_where_means_are_blind():
    coupled = np.random.default_rng(0).normal(size=(8, 8)) / 8**0.5
    coupled = np.triu(coupled, 1) + np.triu(coupled, 1).T
    params = Boltzmann(jnp.asarray(coupled, jnp.float32), jnp.zeros(8))
    states = enumerate_spins(8)
    weights = boltzmann.energy(params, states)
    keys = jax.random.split(jax.random.key(0), 3)
    cold = states[jax.random.categorical(keys[0], -3 * weights, shape=(2000,))]
    mixed = jnp.concatenate([cold, jax.random.rademacher(keys[1], (2000, 8), jnp.float32)])
    beta = fit_beta(params, mixed)
    pure = states[jax.random.categorical(keys[2], -beta * weights, shape=(4000,))]
    means = pseudo_likelihood_residual(params, mixed, beta)
    assert float(jnp.abs(means).max()) < 4 / 4000**0.5
    assert float(jnp.abs(field_residual(params, mixed, beta)).max()) > 6
    assert float(jnp.abs(field_residual(params, pure, fit_beta(params, pure))).max()) < 4
    assert float(energy_residual(params, mixed, beta)) < -6
    assert abs(float(energy_residual(params, pure, fit_beta(params, pure)))) < 4
