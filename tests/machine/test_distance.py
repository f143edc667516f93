"""Distances of draws to an enumerated law, on draws whose law is known."""

import math

import numpy as np
import pytest
from laws import exact_spins

from qbm_jax.machine import distance, instances, mixing
from qbm_jax.machine.distance import total_variation
from qbm_jax.samplers import law


@pytest.fixture(scope="module")
def dense():
    """A machine of ten spins and what 50,000 exact draws of it show."""
    params = instances.dense(0, 10)
    return law.enumerated(params, num_draws=50_000, num_exact_sets=50)


@pytest.mark.parametrize("beta", [0.6, 1.0, 1.4])
def test_the_slope_is_minus_beta_and_the_correlation_does_not_tell(dense, beta):
    spins = exact_spins(dense.params, 50_000, beta)
    halves = [distance.count_states(half) for half in (spins[::2], spins[1::2])]
    line, chosen = distance.log_frequency_line(*halves, dense.energies)
    # 4 standard errors: false alarm 6e-5
    assert abs(line.slope + beta) < 4 * line.standard_error < 0.06
    assert line.correlation < -0.97
    assert line.num_states == chosen.size > 50


def test_choosing_states_by_the_counts_that_are_regressed_would_flatten_the_line(dense):
    honest, circular = [], []
    for seed in range(5):
        spins = exact_spins(dense.params, 50_000, seed=seed)
        first, second = (distance.count_states(half) for half in (spins[::2], spins[1::2]))
        for slopes, other in ((honest, second), (circular, first)):
            line, _ = distance.log_frequency_line(first, other, dense.energies)
            slopes.append(line.slope)
    assert np.mean(honest) == pytest.approx(-1, abs=0.01)  # 4 standard errors of the mean
    assert np.mean(circular) > np.mean(honest) + 0.005


def test_a_line_through_too_few_states_is_none():
    counts = np.array([1000, 900, 3, 1])
    line, _ = distance.log_frequency_line(counts, counts, np.arange(4.0))
    assert math.isnan(line.slope) and line.num_states == 2


def test_the_band_of_exact_draws_has_the_known_means(dense):
    floor = total_variation(exact_spins(dense.params, 50_000), dense.log_p).floor
    band = dense.bands["total_variation"]
    assert band.mean == pytest.approx(floor, abs=4 * band.deviation / math.sqrt(50))
    two_spins = np.log([0.1, 0.2, 0.3, 0.4])
    divergence = distance.exact_band(two_spins, 10_000, 2000, 0)["kullback_leibler"]
    assert divergence.mean == pytest.approx(3 / 20_000, rel=0.1)  # chi-square with 3 degrees


def test_the_kl_divergence_of_frequencies_that_equal_the_law_is_zero():
    law = np.log([0.5, 0.25, 0.25, 1e-30])
    assert distance.kullback_leibler(np.array([2, 1, 1, 0]), law) == pytest.approx(0)
    assert distance.kullback_leibler(np.array([1, 0, 0, 0]), law) == pytest.approx(math.log(2))


def test_bands_and_errors_of_the_fidelity_study_are_sample_deviations():
    log_p = np.log([0.25, 0.75])
    found = distance.exact_band(log_p, 10, 3, 0)["total_variation"]
    draw = np.random.default_rng(0)
    distances = [abs(draw.multinomial(10, [0.25, 0.75])[0] / 10 - 0.25) for _ in range(3)]
    mean = sum(distances) / 3
    assert found.mean == pytest.approx(mean)
    squares = sum((value - mean) ** 2 for value in distances)
    assert found.deviation == pytest.approx(math.sqrt(squares / 2))
    assert mixing.mean_error(np.array([0.0, 2.0]), 1.0) == pytest.approx(1.0)
