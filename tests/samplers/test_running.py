"""Chains of any sampler, kept and diagnosed; a sampler is a name or an object.

Guards qbm_jax.samplers.running.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import instances, mixing
from qbm_jax.machine.boltzmann import Boltzmann, energy, scale
from qbm_jax.machine.calibration import beta_standard_error, fit_beta

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def params():
    return instances.dense(1, 6)


@pytest.fixture(scope="module")
def found(params):
    return samplers.run(
        KEY, "gibbs", params, num_draws=400, num_chains=8, burn_in=20, thin=2, num_steps=1
    )


def test_it_keeps_draws_and_their_energies(params, found):
    assert found.draws.shape == (8, 400, 6) and found.draws.dtype == np.int8
    assert set(np.unique(found.draws)) == {-1, 1}
    np.testing.assert_allclose(
        found.energies, energy(params, found.draws.astype(np.float32)), atol=1e-5
    )
    assert found.targets_boltzmann and found.info["is_finite"] == 1


def test_diagnostics_are_those_of_the_energies(found):
    time = mixing.integrated_autocorrelation_time(found.energies)
    assert found.autocorrelation_time == max(time, 1)
    assert found.ess == pytest.approx(3200 / max(time, 1))
    assert found.split_r_hat == mixing.split_r_hat(found.energies)
    np.testing.assert_array_equal(found.autocorrelation, mixing.autocorrelation(found.energies))
    assert found.mixed and "beta_eff" in repr(found)


def test_the_temperature_is_measured_with_its_error(params, found):
    assert 0 < found.beta_standard_error < 0.1
    assert abs(found.beta_eff - 1) < 4 * found.beta_standard_error
    cold = samplers.run(KEY, "exact", scale(params, 2.0), num_draws=40, num_chains=100)
    assert abs(cold.beta_eff - 1) < 4 * cold.beta_standard_error


def test_the_error_of_the_temperature_is_that_of_repeated_runs(params):
    whole = jnp.asarray(samplers.run(KEY, "exact", params, 40, 100).draws, jnp.float32)
    fits = jax.jit(jax.vmap(partial(fit_beta, params)))(whole)
    error = float(beta_standard_error(params, whole, 1.0))
    assert error * 100**0.5 == pytest.approx(float(fits.std()), rel=0.3)
    assert np.isnan(beta_standard_error(params, whole[:1], 1.0))


def test_thinned_draws_are_less_alike(params, found):
    one = samplers.run(KEY, "gibbs", params, num_draws=400, num_chains=8, num_steps=1)
    assert found.autocorrelation[1] < one.autocorrelation[1] - 0.03


def test_few_draws_have_no_diagnostics(params):
    one = samplers.run(KEY, "exact", params, num_draws=1, num_chains=50)
    assert one.draws.shape == (50, 1, 6) and np.isnan(one.ess) and not one.mixed
    assert 0.3 < one.beta_eff < 3


def test_a_sampler_that_is_built_is_taken_wherever_a_name_is(params):
    custom = samplers.build("exact")
    assert samplers.build(custom) is custom
    by_object = samplers.run(KEY, custom, params, num_draws=5, num_chains=3)
    by_name = samplers.run(KEY, "exact", params, num_draws=5, num_chains=3)
    np.testing.assert_array_equal(by_object.draws, by_name.draws)
    with pytest.raises(InputError, match="takes no more options"):
        samplers.run(KEY, custom, params, num_draws=5, num_chains=3, num_steps=3)


def test_lists_are_a_machine():
    machine = Boltzmann(J=[[0, 1.0], [1.0, 0]], h=[0.0, 0.5])
    assert samplers.run(KEY, "exact", machine, num_draws=2, num_chains=2).draws.shape == (2, 2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_draws": 0}, "num_draws"),
        ({"num_chains": 2.5}, "num_chains"),
        ({"burn_in": -1}, "burn_in"),
        ({"thin": 0}, "thin"),
        ({"num_draws": 10**12}, "fewer num_draws"),
        ({"temperature": 2}, "scale J and h by 1/T"),
    ],
)
def test_mistakes_are_one_line(params, options, message):
    with pytest.raises(InputError, match=rf"^[^\n]*{message}[^\n]*$"):
        samplers.run(KEY, "gibbs", params, **{"num_draws": 4, "num_chains": 2} | options)


def test_what_is_no_key_is_refused(params):
    with pytest.raises(InputError, match="key must be one key of JAX, got 0"):
        samplers.run(0, "exact", params)


def test_a_draw_that_diverged_is_no_run(params):
    def sample(key, params, state):
        spins = jnp.full((2, 6), jnp.nan)
        return spins, state, {"energy": jnp.nan, "is_finite": jnp.array(False)}

    broken = samplers.build("exact")._replace(sample=sample)
    with pytest.raises(InputError, match="finite spins"):
        samplers.run(KEY, broken, params, num_draws=2, num_chains=2)
