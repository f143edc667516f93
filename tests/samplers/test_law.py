"""How far draws are from the law of an enumerated machine, against sums over its states."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import exact_spins

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers import law

UPPER = np.array([[0, 0.61, -0.3, 0.22], [0, 0, 0.17, 0.4], [0, 0, 0, -0.53], [0] * 4])
J, H = UPPER + UPPER.T, np.array([0.3, -0.41, 0.13, 0.23])
MACHINE = Boltzmann(jnp.asarray(J, jnp.float32), jnp.asarray(H, jnp.float32))
STATES = np.array(list(itertools.product([-1, 1], repeat=4)))[:, ::-1]  # the first spin is fastest
ENERGIES = -0.5 * np.einsum("si,ij,sj->s", STATES, J, STATES) - STATES @ H
LOG_Z = np.log(np.exp(-ENERGIES).sum())


@pytest.fixture(scope="module")
def four():
    return law.enumerated(MACHINE, num_draws=20_000, num_exact_sets=50)


def test_the_law_is_that_of_all_states(four):
    np.testing.assert_allclose(four.energies, ENERGIES, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(four.log_p, -ENERGIES - LOG_Z, rtol=1e-5, atol=1e-6)


def test_distances_of_warm_draws_are_those_of_their_frequencies(four):
    spins = exact_spins(MACHINE, 20_000, beta=0.7)
    shares = np.array([(spins == state).all(axis=1).mean() for state in STATES])
    p = np.exp(-ENERGIES - LOG_Z)
    found = law.distances(spins, four)
    assert found["total_variation"] == pytest.approx(0.5 * np.abs(shares - p).sum(), rel=1e-4)
    divergence = (shares * np.log(shares / p)).sum()
    assert found["kullback_leibler"] == pytest.approx(divergence, rel=1e-3)
    assert found["total_variation_z"] > 10 < found["kullback_leibler_z"]
    assert found["beta_eff"] == pytest.approx(0.7, abs=0.05)
    assert found["residual_total_variation"] < 2 * found["residual_floor"]
    assert found["log_z"] == pytest.approx(LOG_Z, rel=1e-5)
    assert found["num_states"] == 16 and found["slope"] == pytest.approx(-0.7, abs=0.1)
    order = np.argsort(ENERGIES)
    np.testing.assert_allclose(found["scatter_energy"], ENERGIES[order], rtol=1e-5, atol=1e-6)
    logs = np.log(shares + 0.5 / 20_000)[order]
    np.testing.assert_allclose(found["scatter_log_frequency"], logs, rtol=1e-6)


def test_draws_of_the_law_are_near_and_no_temperature_explains_draws_of_another_machine(four):
    right = law.distances(exact_spins(MACHINE, 20_000), four)
    assert abs(right["total_variation_z"]) < 4 and abs(right["field_residual_z"]) < 4
    other = Boltzmann(MACHINE.J, MACHINE.h + jnp.array([1.2, 0.0, 0.0, 0.0]))
    wrong = law.distances(exact_spins(other, 20_000), four)
    assert abs(wrong["field_residual_z"]) > 10


def test_draws_that_diverged_are_counted_and_left_out(four):
    spins = exact_spins(MACHINE, 20_000)
    drawn = np.concatenate([spins, np.zeros((5000, 4), np.int8)])
    info = {"acceptance": np.array([0.25, 0.75])}
    found = law.measure_law(jax.random.key(0), lambda key, params: (drawn, info), four)
    assert found["finite_share"] == 0.8 and found["info"] == {"acceptance": 0.5}
    assert found["total_variation"] == law.distances(spins, four)["total_variation"]
    none = law.measure_law(jax.random.key(0), lambda key, params: (0 * spins, {}), four)
    assert none == {"finite_share": 0.0, "info": {}}
