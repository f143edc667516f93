"""log Z against brute force, closed forms and its own error bars.

Guards qbm_jax.partition.enumeration.
"""

import itertools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from marks import mostly_slow

from qbm_jax import partition, samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann, instances
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import enumerate_spins, log_weights
from qbm_jax.partition import annealing, tempering
from qbm_jax.partition.acceptance_ratio import acceptance_ratio, variance
from qbm_jax.partition.estimate import LogZ
from qbm_jax.samplers.base import Kernel


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_acceptance_ratio_needs_no_slow_annealing():
    """Two temperatures, 20,000 paths: forward and reverse are far apart, their ratio is right."""
    params = _machine(jax.random.key(6), 8, coupling=4.0)
    exact = partition.log_z(jax.random.key(0), params, "exact").value
    result = partition.log_z(
        jax.random.key(6),
        params,
        num_temperatures=2,
        num_equilibration=20,
        target_spins=_exact_draws(params, 20_000),
        max_bracket=10.0,
    )
    assert result.bracket > 10 * result.standard_error
    assert result.standard_error < 0.03
    assert abs(result.value - exact) < 4 * result.standard_error


def test_acceptance_ratio_on_gaussian_log_weights():
    """Normal laws that obey the fluctuation theorem with L = 3; 300 sets of 200 paths."""

    def one(key):
        key_up, key_down = jax.random.split(key)
        up = 3 - 0.5 + jax.random.normal(key_up, (200,))
        down = 3 + 0.5 + jax.random.normal(key_down, (200,))
        ratio, *influences = acceptance_ratio(up, down)
        return ratio, jnp.sqrt(sum(map(variance, influences)))

    ratio, error = jax.vmap(one)(jax.random.split(jax.random.key(7), 300))
    assert abs(ratio.mean() - 3) < 4 * ratio.std() / np.sqrt(300)
    np.testing.assert_allclose(error.mean(), ratio.std(), rtol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kernel", mostly_slow(["gibbs", "auxiliary_cim", "metropolis_cim"], "gibbs")
)
def test_reverse_paths_are_the_time_reversal_of_forward_ones(kernel):
    """The acceptance ratio rests on it; forward and reverse estimate alone do not.

    Enumerated over all paths of three spins and three temperatures, with Gibbs sweeps in one order
    both ways the ratio of infinitely many paths is 0.021 too low: ten times the error here.
    """
    J = jnp.array([[0.0, -3.8, -2.5], [-3.8, 0.0, -5.3], [-2.5, -5.3, 0.0]])
    params = Boltzmann(J=J, h=jnp.zeros(3))
    exact = partition.enumeration(None, params).value
    result = partition.annealed_importance_sampling(
        jax.random.key(9),
        params,
        kernel=kernel,
        num_temperatures=3,
        num_equilibration=1,
        target_spins=_exact_draws(params, 2**18),
    )
    assert result.standard_error < 0.003
    assert abs(result.value - exact) < 4 * result.standard_error


@pytest.mark.slow
def test_copies_of_one_draw_count_once_in_the_error_of_annealing():
    """100 reverse paths, four and four alike, tell as much as 25."""
    few = 0.5 * jax.random.normal(jax.random.key(10), (25,))
    copies, ancestors = jnp.repeat(few, 4), jnp.repeat(jnp.arange(25), 4)
    apart = annealing.combine(0.0, few, few, jnp.arange(25))
    together = annealing.combine(0.0, copies, copies, ancestors)
    np.testing.assert_allclose(together.reverse, apart.reverse, rtol=1e-5)
    np.testing.assert_allclose(
        together.reverse_standard_error, apart.reverse_standard_error, rtol=1e-4
    )
    np.testing.assert_allclose(
        together.forward_standard_error, apart.forward_standard_error / 2, rtol=0.03
    )
    one_draw = annealing.combine(0.0, copies, copies, jnp.zeros(100, int))
    assert jnp.isinf(one_draw.standard_error)


@pytest.mark.slow
def test_correlated_draws_of_a_chain_do_not_narrow_the_error_of_tempering():
    """Every energy told five times over: the same estimates with the same errors."""
    energies = jax.random.normal(jax.random.key(10), (3, 20, 8)) - jnp.arange(3.0)[:, None, None]
    betas = jnp.array([0.0, 0.6, 1.0])
    once = tempering.combine(betas, energies, num_spins=4)
    five_times = tempering.combine(betas, jnp.repeat(energies, 5, axis=1), num_spins=4)
    np.testing.assert_allclose(once, five_times, rtol=1e-4)
    assert once.standard_error > 0


def _restricted(num_visible, num_hidden):
    params = _machine(jax.random.key(11), num_visible + num_hidden)
    side = jnp.arange(params.num_spins) < num_visible
    return params.replace(J=jnp.where(side[:, None] != side[None, :], params.J, 0))


@pytest.mark.parametrize("num_visible", [4, 7])
def test_a_restricted_machine_is_summed_over_its_smaller_side(num_visible):
    params = _restricted(num_visible, 11 - num_visible)
    whole = partition.log_z(jax.random.key(0), params, "exact").value
    value = partition.log_z(jax.random.key(0), params, "exact", num_visible=num_visible).value
    np.testing.assert_allclose(value, whole, rtol=1e-6)


@pytest.mark.slow
def test_a_restricted_machine_can_have_more_than_24_spins():
    """13 spins against 27: more states than fit one chunk, against float64 sums."""
    params = _restricted(13, 27)
    J, h = np.float64(params.J), np.float64(params.h)
    states = np.array(list(itertools.product((-1, 1), repeat=13)), dtype=np.float64)
    fields = states @ J[:13, 13:] + h[13:][None, :]
    want = np.logaddexp.reduce(states @ h[:13] + np.logaddexp(fields, -fields).sum(axis=1))
    value = partition.log_z(jax.random.key(0), params, "exact", num_visible=13).value
    np.testing.assert_allclose(value, want, rtol=1e-6)


def test_couplings_inside_a_side_are_an_error():
    with pytest.raises(InputError, match="no couplings inside the sides of num_visible=4"):
        partition.log_z(jax.random.key(0), _machine(jax.random.key(0), 9), "exact", num_visible=4)


@pytest.mark.parametrize("method", ["ais", "exact"])
def test_a_sparse_j_is_refused_where_a_method_alone_is_called(method):
    options = {"num_visible": 2} if method == "exact" else {}
    params = Boltzmann(J=BCOO.fromdense(jnp.zeros((4, 4))), h=jnp.zeros(4))
    with pytest.raises(InputError, match="expected a dense J here"):
        partition.METHODS[method](jax.random.key(0), params, **options)


@pytest.mark.slow
def test_sparse_couplings_have_the_log_z_of_dense_ones():
    params = _machine(jax.random.key(12), 6)
    sparse = params.replace(J=BCOO.fromdense(params.J))
    key = jax.random.key(0)
    np.testing.assert_allclose(
        partition.log_z(key, sparse, "exact").value, partition.log_z(key, params, "exact").value
    )


def test_tempering_is_within_its_standard_error_of_enumeration():
    """A glassy machine; |z| above 4.5 with 32 chains once in 10,000 keys."""
    params = _machine(jax.random.key(13), 10, coupling=2.0)
    exact = partition.log_z(jax.random.key(0), params, "exact").value
    options = {"num_temperatures": 5, "num_steps": 400, "burn_in": 200}
    result = partition.log_z(jax.random.key(1), params, "bar", **options)
    assert result.standard_error < 0.05
    for value, error in [result[0:2], result[2:4], result[4:6]]:
        assert abs(value - exact) < 4.5 * error


def test_an_estimate_is_told_by_name_and_its_bracket_is_the_reverse_minus_the_forward_one():
    terms = {"log_z_forward": 3.0, "log_z_reverse": 5.5, "elbo": -9.0, "log_z": 4.0,
             "log_z_reverse_standard_error": 0.3, "log_z_forward_standard_error": 0.2,
             "log_z_standard_error": 0.1}  # fmt: skip
    found = LogZ.of_terms(terms)
    assert (found.value, found.standard_error) == (4.0, 0.1)
    assert (found.forward, found.forward_standard_error) == (3.0, 0.2)
    assert (found.reverse, found.reverse_standard_error) == (5.5, 0.3)
    assert found.bracket == 2.5


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


@pytest.mark.parametrize(
    ("bracket", "known"), [(0.9, True), (1.1, False), (-0.9, True), (-1.1, False), (np.nan, False)]
)
def test_a_wide_bracket_is_a_warning_and_not_a_number(caplog, monkeypatch, bracket, known):
    estimate = partition.LogZ(*map(jnp.float32, (5.0, 0.1, 4.5, 0.1, 4.5 + bracket, 0.1)))
    monkeypatch.setitem(partition.METHODS, "ais", lambda key, params: estimate)
    params = Boltzmann(J=jnp.zeros((2, 2)), h=jnp.zeros(2))
    with caplog.at_level(logging.WARNING):
        result = partition.log_z(jax.random.key(0), params, max_bracket=1.0)
    advice = "at the machine's law; use more num_equilibration" if bracket < 0 else "use more temp"
    assert (advice in caplog.text) != known
    if known:
        assert result is estimate
    else:
        assert jnp.isnan(result.value) and jnp.isnan(result.standard_error)
        assert result[2:] == estimate[2:] or np.isnan(bracket)


@pytest.mark.slow
def test_reverse_chains_that_are_not_at_the_law_give_no_number():
    """Cold glass, chains of a few sweeps: the estimate was 18 of its standard errors off."""
    params = instances.gaussian(1, 20, 12.0, 0.0)
    gibbs = samplers.build("gibbs", num_steps=100)
    starts = gibbs.init(jax.random.key(7), params, 64)
    spins, _, _ = gibbs.sample(jax.random.key(8), params, starts)
    found = partition.log_z(jax.random.key(1), params, target_spins=spins)
    assert found.bracket < -1 and np.isnan(found.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "guess"}, "unknown log Z method 'guess'; choose from exact, ais, bar"),
        ({"temperatures": 5}, r"num_temperatures.*got \['temperatures'\]"),
        ({"method": "exact", "num_chains": 5}, r"got \['num_chains'\]"),
        ({"num_chains": 0}, "num_chains"),
        ({"num_chains": 1}, "at least 2 chains"),
        ({"target_spins": jnp.ones((1, 25))}, "at least 2 chains"),
        ({"kernel": "cim"}, "unknown kernel 'cim'; choose from gibbs, auxiliary_cim"),
        ({"method": "bar", "kernel": "cim"}, "unknown kernel 'cim'"),
        ({"method": "bar", "num_chains": 1}, "at least 2 chains"),
        (
            {"method": "bar", "num_temperatures": 1},
            "num_temperatures must be",
        ),
        ({"method": "bar", "num_steps": 0}, "num_steps"),
        ({"method": "exact", "num_visible": 25}, "num_visible below the 25 spins"),
        ({"method": "exact", "num_visible": 0}, "num_visible"),
        ({"method": "exact", "num_visible": 25, "spins": 51}, "at most 24 spins.*got 25"),
        ({"max_bracket": 0.0}, "max_bracket"),
        ({"target_spins": jnp.ones((3, 4))}, r"\[chains, 25\], got \(3, 4\)"),
        ({"target_spins": [["up"] * 25] * 2}, r"target_spins \[chains, 25\], got <U2"),
        ({"target_spins": jnp.zeros((3, 25))}, r"\[chains, 25\] of -1 and \+1, got other"),
        ({"target_spins": np.full((3, 25), np.nan)}, r"\[chains, 25\] of -1 and \+1"),
        ({"method": "exact"}, "at most 24 spins"),
        ({"num_chains": 10**12}, r"fewer num_chains, got 1000000000000: .* 93,132 GiB"),
        ({"method": "bar", "num_chains": 10**12}, "fewer num_chains, got .* GiB"),
        ({"target_spins": [[1.0, 1.0], [1.0]]}, r"target_spins \[chains, 25\], got ragged"),
    ],
)
def test_bad_arguments_are_one_line_errors(options, message):
    size = options.get("spins", 25)
    options = {name: value for name, value in options.items() if name != "spins"}
    params = Boltzmann(J=jnp.zeros((size, size)), h=jnp.zeros(size))
    with pytest.raises(InputError, match=message) as error:
        partition.log_z(jax.random.key(0), params, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", ["ais", "bar"])
@pytest.mark.parametrize("key", [0, 1.5, None, jnp.zeros(2), jnp.zeros(3, jnp.uint32)])
def test_what_is_no_key_is_refused(method, key):
    params = Boltzmann(J=jnp.zeros((25, 25)), h=jnp.zeros(25))
    with pytest.raises(InputError, match="key must be one key of JAX"):
        partition.log_z(key, params, method)


def test_annealed_weights_are_means_of_the_energy_difference_over_all_temperatures():
    """With spins that never move every one of the K = 4 terms is the same."""
    still = Kernel(prepare=lambda params: params, update=lambda key, prepared, spins, beta: spins)
    params, states = _machine(jax.random.key(3), 4), enumerate_spins(4)
    base = Boltzmann(jnp.zeros((4, 4)), -params.h)
    betas = jnp.array([0.25, 0.5, 0.75])
    found, _ = annealing._anneal(jax.random.key(3), still, params, base, states, betas)
    J, h, spins = (np.float64(values) for values in (params.J, params.h, states))
    wanted = spins @ h + 0.5 * np.einsum("si,ij,sj->s", spins, J, spins) + spins @ h
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)
