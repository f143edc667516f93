"""log Z against brute force, closed forms and its own error bars."""

import itertools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import boltzmann, partition, samplers
from qbm_jax.boltzmann import Boltzmann
from qbm_jax.errors import InputError
from qbm_jax.samplers.exact import enumerate_spins, log_weights


def _machine(key, num_spins, coupling=1.0, field=0.5):
    """Gaussian couplings of s.d. coupling / sqrt(N), fields of s.d. `field`."""
    key_J, key_h = jax.random.split(key)
    J = boltzmann.symmetrise(jax.random.normal(key_J, (num_spins, num_spins)))
    h = field * jax.random.normal(key_h, (num_spins,))
    return Boltzmann(J=J * coupling * np.sqrt(2 / num_spins), h=h)


def _brute_force(weight, values, num_spins):
    states = np.array(list(itertools.product(values, repeat=num_spins)), dtype=np.float64)
    return np.logaddexp.reduce([weight(state) for state in states])


def _pairs(num_spins):
    """A machine of independent pairs of spins, and its log Z from the four states of each."""
    generator = np.random.default_rng(0)
    J, h = np.zeros((num_spins, num_spins)), generator.normal(size=num_spins)
    log_z = 0.0
    for i in range(0, num_spins, 2):
        J[i, i + 1] = J[i + 1, i] = coupling = generator.normal()
        log_z += _brute_force(
            lambda s, i=i, c=coupling: c * s[0] * s[1] + h[i : i + 2] @ s, (-1, 1), 2
        )
    return Boltzmann(J=jnp.asarray(J, jnp.float32), h=jnp.asarray(h, jnp.float32)), log_z


def test_enumeration_equals_a_brute_force_sum():
    params = _machine(jax.random.key(0), 9)
    J, h = np.float64(params.J), np.float64(params.h)
    want = _brute_force(lambda s: s @ J @ s / 2 + h @ s, (-1, 1), 9)
    result = partition.log_z(jax.random.key(0), params, "exact")
    np.testing.assert_allclose(result.value, want, rtol=1e-6)
    assert result.standard_error == 0 and result.bracket == 0


def test_log_z_of_a_bit_form_machine_is_shifted_by_its_constant():
    generator = np.random.default_rng(1)
    linear, W = generator.normal(size=8), np.triu(generator.normal(size=(8, 8)), 1)
    W = W + W.T
    params, constant = boltzmann.from_bit_form(jnp.asarray(linear), jnp.asarray(W))
    want = _brute_force(lambda b: linear @ b + b @ W @ b / 2, (0, 1), 8)
    value = partition.log_z(jax.random.key(0), params, "exact").value
    np.testing.assert_allclose(value - constant, want, rtol=1e-6)


def test_enumeration_keeps_its_digits_at_24_spins():
    params, want = _pairs(24)
    value = partition.log_z(jax.random.key(0), params, "exact").value
    np.testing.assert_allclose(value, want, rtol=1e-6)


def test_zero_coupling_gives_the_sum_of_log_two_cosh():
    h = jnp.linspace(-2.0, 3.0, 10)
    params = Boltzmann(J=jnp.zeros((10, 10)), h=h)
    want = np.sum(np.log(2 * np.cosh(np.float64(h))))
    np.testing.assert_allclose(
        partition.log_z(jax.random.key(0), params, "exact").value, want, 1e-6
    )


def test_annealing_is_within_its_standard_error_of_enumeration():
    """50 machines, one without couplings: 45 within 2 s.e. (expected 47.7), all within 4.5."""
    keys = jax.random.split(jax.random.key(0), 50)
    machines = jax.vmap(lambda key: _machine(key, 10))(keys)
    machines = machines.replace(J=machines.J.at[0].set(0.0))
    exact = jax.lax.map(lambda params: partition.enumeration(None, params).value, machines)

    def estimate(inputs):
        return partition.annealed_importance_sampling(
            *inputs, num_temperatures=60, num_chains=64, num_equilibration=40
        )

    result = jax.lax.map(estimate, (keys, machines))
    for value, error in [result[0:2], result[2:4], result[4:6]]:  # ratio, forward, reverse
        score = np.abs((value - exact) / error)
        assert (score < 2).sum() >= 45
        assert score.max() < 4.5
    # At b = 1 even 60 temperatures leave little: the error bar is worth having.
    assert np.mean(result.standard_error) < 0.03
    assert np.mean(result.standard_error) < np.mean(result.forward_standard_error)


def test_forward_is_too_low_and_reverse_too_high_in_expectation():
    """500 keys, 5 temperatures, strong couplings; each inequality by four standard errors."""
    params = _machine(jax.random.key(1), 8, coupling=2.0)
    exact = float(partition.enumeration(None, params).value)
    draws = _exact_draws(params, 500 * 16).reshape(500, 16, 8)

    def estimate(inputs):
        key, spins = inputs
        return partition.annealed_importance_sampling(
            key, params, num_temperatures=5, num_equilibration=20, target_spins=spins
        )

    result = jax.lax.map(estimate, (jax.random.split(jax.random.key(2), 500), draws))
    for low, high in [(result.forward, exact), (exact, result.reverse)]:
        gap = np.asarray(high - low)
        assert gap.mean() > 4 * gap.std() / np.sqrt(len(gap))


def _exact_draws(params, num_chains):
    exact = samplers.build("exact")
    state = exact.init(jax.random.key(3), params, num_chains)
    return exact.sample(jax.random.key(4), params, state)[0]


def test_acceptance_ratio_needs_no_slow_annealing():
    """Three temperatures, 20,000 paths: forward and reverse are far apart, their ratio is right."""
    params = _machine(jax.random.key(5), 6, coupling=2.5)
    exact = partition.log_z(jax.random.key(0), params, "exact").value
    result = partition.log_z(
        jax.random.key(6),
        params,
        num_temperatures=3,
        num_equilibration=20,
        target_spins=_exact_draws(params, 20_000),
        max_bracket=10.0,
    )
    assert result.bracket > 3 * result.standard_error
    assert result.standard_error < 0.02
    assert abs(result.value - exact) < 4 * result.standard_error


def test_acceptance_ratio_on_gaussian_log_weights():
    """Normal laws that obey the fluctuation theorem with L = 3; 300 sets of 200 paths."""

    def one(key):
        key_up, key_down = jax.random.split(key)
        up = 3 - 0.5 + jax.random.normal(key_up, (200,))
        down = 3 + 0.5 + jax.random.normal(key_down, (200,))
        return partition.acceptance_ratio(up, down)

    ratio, error = jax.vmap(one)(jax.random.split(jax.random.key(7), 300))
    assert abs(ratio.mean() - 3) < 4 * ratio.std() / np.sqrt(300)
    np.testing.assert_allclose(error.mean(), ratio.std(), rtol=0.2)


def test_plus_the_mean_energy_is_not_log_z():
    """The fault: +mean E as a surrogate has the gradient of -log Z, so the machine runs away."""
    params = _machine(jax.random.key(8), 8)
    spins = enumerate_spins(8)
    probabilities = jax.nn.softmax(log_weights(params))
    true = jax.grad(lambda p: partition.enumeration(None, p).value)(params)
    wrong = jax.grad(lambda p: probabilities @ boltzmann.energy(p, spins))(params)
    np.testing.assert_allclose(true.h, -wrong.h, atol=1e-5)
    np.testing.assert_allclose(true.J, -wrong.J, atol=1e-5)
    value = partition.enumeration(None, params).value
    assert abs(probabilities @ boltzmann.energy(params, spins) - value) > 5


@pytest.mark.parametrize(("bracket", "warned"), [(0.9, False), (1.1, True)])
def test_a_wide_bracket_is_a_warning(caplog, monkeypatch, bracket, warned):
    estimate = partition.LogZ(5.0, 0.1, 4.5, 0.1, 4.5 + bracket, 0.1)
    monkeypatch.setitem(partition.METHODS, "ais", lambda key, params: estimate)
    params = Boltzmann(J=jnp.zeros((2, 2)), h=jnp.zeros(2))
    with caplog.at_level(logging.WARNING):
        assert partition.log_z(jax.random.key(0), params, max_bracket=1.0) is estimate
    assert ("use more temperatures" in caplog.text) == warned


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "guess"}, "unknown log Z method 'guess'; choose from exact, ais"),
        ({"temperatures": 5}, r"num_temperatures.*got \['temperatures'\]"),
        ({"method": "exact", "num_chains": 5}, r"got \['num_chains'\]"),
        ({"num_chains": 0}, "num_chains"),
        ({"max_bracket": 0.0}, "max_bracket"),
        ({"target_spins": jnp.ones((3, 4))}, r"\[chains, 25\], got \(3, 4\)"),
        ({"method": "exact"}, "at most 24 spins"),
    ],
)
def test_bad_arguments_are_one_line_errors(options, message):
    params = Boltzmann(J=jnp.zeros((25, 25)), h=jnp.zeros(25))
    with pytest.raises(InputError, match=message) as error:
        partition.log_z(jax.random.key(0), params, **options)
    assert "\n" not in str(error.value)
