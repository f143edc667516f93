"""Diagnostics against processes and laws whose answer is known."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.machine import mixing
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.distance import total_variation
from qbm_jax.machine.enumeration import enumerate_spins, log_weights


def autoregression(phi, num_chains, num_steps, seed=0):
    """Stationary AR(1), x_t = phi x_{t-1} + noise: tau = (1 + phi) / (1 - phi)."""
    noise = np.random.default_rng(seed).normal(size=(num_steps, num_chains))
    values = np.empty_like(noise)
    values[0] = noise[0] / math.sqrt(1 - phi**2)
    for t in range(1, num_steps):
        values[t] = phi * values[t - 1] + noise[t]
    return values.T


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_autocorrelation_time_of_an_ar1_process_is_the_known_one(phi):
    values = autoregression(phi, num_chains=16, num_steps=4000)
    expected = (1 + phi) / (1 - phi)
    assert mixing.integrated_autocorrelation_time(values) == pytest.approx(expected, rel=0.1)


def test_alternating_values_are_worth_more_than_independent_ones():
    values = autoregression(-0.5, num_chains=16, num_steps=4000)
    assert mixing.integrated_autocorrelation_time(values) == pytest.approx(1 / 3, rel=0.1)


def test_chains_stuck_in_two_places_have_a_long_autocorrelation_time():
    values = autoregression(0.0, num_chains=8, num_steps=1000)
    values[:4] += 10
    assert mixing.integrated_autocorrelation_time(values) > 300


def test_split_r_hat_is_one_for_agreeing_chains_and_large_for_stuck_or_drifting_ones():
    values = autoregression(0.5, num_chains=8, num_steps=2000)
    assert mixing.split_r_hat(values) == pytest.approx(1, abs=0.01)
    stuck = values + np.arange(8)[:, None]
    drifting = values + np.linspace(0, 12, 2000)[None, :]
    assert mixing.split_r_hat(stuck) > 1.5
    assert mixing.split_r_hat(drifting) > 1.5  # only because chains are split


def test_constant_values_have_no_autocorrelation_time():
    for value in (1.0, 0.1, 0.3, -12.7):  # the mean of some differs from them by rounding
        constant = np.full((3, 1000), value)
        assert math.isnan(mixing.integrated_autocorrelation_time(constant))
        assert math.isnan(mixing.split_r_hat(constant))


def test_total_variation_of_exact_draws_is_at_its_floor_and_of_a_wrong_law_is_its_distance():
    params = Boltzmann(J=jnp.zeros((3, 3)), h=jnp.array([0.5, 0.0, -1.0]))
    weights = np.asarray(log_weights(params))
    states = np.asarray(enumerate_spins(3))
    draw = np.random.default_rng(0)
    probabilities = np.exp(weights) / np.exp(weights).sum()
    runs = [states[draw.choice(8, 500, p=probabilities)] for _ in range(200)]
    distances = [total_variation(spins, weights) for spins in runs]
    mean = np.mean([distance.value for distance in distances])
    assert mean == pytest.approx(distances[0].floor, rel=0.05)
    all_up = total_variation(np.ones((500, 3)), weights)
    assert all_up.value == pytest.approx(1 - probabilities[7], abs=1e-6)


def test_total_variation_accepts_jax_arrays():
    params = Boltzmann(J=jnp.zeros((2, 2)), h=jnp.zeros(2))
    spins = jnp.where(jax.random.bernoulli(jax.random.key(0), shape=(4000, 2)), 1.0, -1.0)
    distance = total_variation(spins, log_weights(params))
    assert distance.value < 3 * distance.floor


@pytest.mark.parametrize(
    "call",
    [
        lambda: mixing.split_r_hat(np.zeros(10)),
        lambda: mixing.split_r_hat(np.zeros((3, 2))),
        lambda: mixing.integrated_autocorrelation_time(np.full((2, 9), np.nan)),
        lambda: total_variation(np.ones((5, 3)), np.zeros(4)),
        lambda: total_variation(np.full((5, 2), np.nan), np.zeros(4)),
    ],
)
def test_unusable_arrays_are_input_errors(call):
    with pytest.raises(InputError):
        call()


def series_of(phi, seed):
    """One such chain of 1000 steps with variance 1."""
    return math.sqrt(1 - phi**2) * autoregression(phi, 1, 1000, seed)[0]


def test_independent_series_are_mixed_and_stuck_or_frozen_ones_are_not():
    draw = np.random.default_rng(0)
    energies = draw.normal(size=(600, 8))
    spins = draw.choice([-1, 1], (600, 8, 3))
    found = mixing.mixing_times(energies, spins)
    assert found["energy_mixed"] and found["spin_mixed"]
    assert found["energy_tau"] == pytest.approx(1, abs=0.25)
    stuck = mixing.mixing_times(energies + np.arange(8)[None, :], spins)
    assert not stuck["energy_mixed"] and stuck["spin_mixed"]
    frozen = spins.copy()
    frozen[:, :, 1] = 1
    assert not mixing.mixing_times(energies, frozen)["spin_mixed"]


def test_a_slow_chain_without_r_hat_above_its_bound_is_still_not_mixed():
    assert mixing.is_mixed(10, 1.01, 1000)
    assert not mixing.is_mixed(30, 1.01, 1000)
    assert not mixing.is_mixed(10, 1.06, 1000)
    assert not mixing.is_mixed(math.nan, math.nan, 1000)


@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_tenths_of_a_stationary_series_agree(phi):
    z = [mixing.compare_tenths(series_of(phi, s))["z"] for s in range(200)]
    assert np.std(z) < 1.3
    assert np.max(np.abs(z)) < 4


def test_a_drift_and_a_nan_are_seen():
    series = series_of(0.5, 0)
    drift = mixing.compare_tenths(series + np.linspace(0, 4, 1000))
    assert abs(drift["z"]) > 4
    series[700] = np.nan
    broken = mixing.compare_tenths(series)
    assert math.isnan(broken["z"])
