"""The fitted temperature on exact draws, at its limits, and where nothing can be fitted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann, local_field, scale, symmetrise
from qbm_jax.machine.calibration import BETA_RANGE, fit_beta, pseudo_likelihood_residual

NUM_SPINS = 8


@pytest.fixture(scope="module")
def params():
    key_J, key_h = jax.random.split(jax.random.key(0))
    J = symmetrise(jax.random.normal(key_J, (NUM_SPINS, NUM_SPINS))) / 2
    return Boltzmann(J=J, h=0.3 * jax.random.normal(key_h, (NUM_SPINS,)))


@pytest.fixture(scope="module")
def draw():
    exact = samplers.build("exact")

    @jax.jit
    def draw_at(params, beta):
        target = scale(params, beta)
        state = exact.init(jax.random.key(1), target, 20000)
        return exact.sample(jax.random.key(2), target, state)[0]

    return draw_at


@pytest.mark.parametrize("beta", [0.25, 1.0, 2.0])
def test_fit_recovers_the_temperature_of_exact_draws(params, draw, beta):
    spins = draw(params, beta)
    fitted = fit_beta(params, spins)
    fields = local_field(params, spins)
    information = float(jnp.sum(fields**2 * (1 - jnp.tanh(beta * fields) ** 2)))
    # Five standard errors if the 8 terms of a draw were independent: correlations cost under 2x.
    assert abs(float(fitted) - beta) < 10 / np.sqrt(information)


def test_fit_solves_the_pseudo_likelihood_equation(params, draw):
    spins = draw(params, 1.5)
    fields = np.asarray(local_field(params, spins), np.float64)
    score = np.mean(fields * (np.asarray(spins) - np.tanh(float(fit_beta(params, spins)) * fields)))
    assert abs(score) < 1e-6


def test_fit_stays_in_its_range_for_ground_states_and_for_their_opposite():
    params = Boltzmann(J=0.5 * (jnp.ones((4, 4)) - jnp.eye(4)), h=jnp.zeros(4))
    aligned = jnp.ones((10, 4))
    checkered = jnp.tile(jnp.array([1.0, -1.0, 1.0, -1.0]), (10, 1))
    assert fit_beta(params, aligned) == pytest.approx(BETA_RANGE[1], rel=1e-3)
    assert fit_beta(params, checkered) == pytest.approx(BETA_RANGE[0], rel=1e-3)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_fit_is_safe_far_from_its_start(size):
    params = Boltzmann(J=jnp.zeros((2, 2)), h=jnp.array([size, -size]))
    spins = jnp.array([[1.0, -1.0]] * 3 + [[-1.0, 1.0]])  # mean spin 1/2: beta = atanh(1/2) / size
    expected = np.clip(np.arctanh(0.5) / size, *BETA_RANGE)
    assert fit_beta(params, spins) == pytest.approx(expected, rel=1e-3)


def test_without_fields_every_temperature_fits_and_one_is_returned():
    params = Boltzmann(J=jnp.zeros((3, 3)), h=jnp.zeros(3))
    assert fit_beta(params, jnp.ones((5, 3))) == 1


def test_a_draw_that_is_not_finite_has_no_temperature(params):
    assert jnp.isnan(fit_beta(params, jnp.ones((5, NUM_SPINS)).at[2, 3].set(jnp.nan)))


def test_residual_vanishes_for_the_law_and_shows_a_bias_no_temperature_explains(params, draw):
    spins = draw(params, 1.0)
    bound = 4.5 / np.sqrt(len(spins))  # false alarms: 8 x 7e-6
    assert float(jnp.abs(pseudo_likelihood_residual(params, spins)).max()) < bound
    biased = spins.at[:, 0].set(jnp.abs(spins[:, 0]))
    beta = fit_beta(params, biased)
    assert float(jnp.abs(pseudo_likelihood_residual(params, biased, beta)).max()) > 10 * bound
