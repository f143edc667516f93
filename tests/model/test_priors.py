"""KL terms of every prior against enumeration and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import enumerate_spins
from qbm_jax.model import latent_laws, priors, relaxations
from qbm_jax.model.prior import CERTAIN

N = 6


def _prior(name):
    return priors.build(name, relaxations.build("straight_through"))


@pytest.fixture(scope="module")
def machine():
    """Couplings strong enough that p(s) is far from factorial; NumPy float64."""
    generator = np.random.default_rng(0)
    upper = np.triu(generator.normal(size=(N, N)), 1) * 0.7
    return Boltzmann(J=upper + upper.T, h=generator.normal(size=N) * 0.5)


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(1).normal(size=(4, N)) * 2


def _states():
    return enumerate_spins(N).astype(jnp.float64)


def _log_z(params):
    return jax.nn.logsumexp(-boltzmann.energy(params, _states()))


def _enumerated_kl(params, logits):
    """Sum over all states of q(s) log [q(s) / p(s)], [cells]."""
    states = _states()
    log_q = jax.nn.log_sigmoid(states[None] * logits[:, None, :]).sum(-1)
    log_p = -boltzmann.energy(params, states) - _log_z(params)
    return jnp.sum(jnp.exp(log_q) * (log_q - log_p[None]), axis=1)


def _kl(params, logits):
    prior = _prior("boltzmann")
    return prior.expected_energy(params, logits) - prior.entropy(logits) + _log_z(params)


def test_boltzmann_kl_equals_its_sum_over_all_states(float64, machine, logits):
    np.testing.assert_allclose(_kl(machine, logits), _enumerated_kl(machine, logits), rtol=1e-12)
    assert np.all(_kl(machine, logits) > 0)


def test_kl_gradient_by_logits_equals_finite_differences(float64, machine, logits):
    gradient = jax.jit(jax.grad(lambda values: _kl(machine, values).sum()))(jnp.asarray(logits))
    kl, step = jax.jit(_enumerated_kl), 1e-5
    for i in range(N):
        shift = step * np.eye(N)[i]
        difference = (kl(machine, logits + shift) - kl(machine, logits - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[:, i], difference, rtol=1e-6, atol=1e-8)


def test_kl_gradient_by_couplings_and_fields_equals_finite_differences(float64, machine, logits):
    gradient = jax.jit(jax.grad(lambda params: _kl(params, logits).mean()))(machine)
    kl, step = jax.jit(lambda params: _enumerated_kl(params, logits).mean()), 1e-5

    def difference(J_shift, h_shift):
        up = Boltzmann(machine.J + step * J_shift, machine.h + step * h_shift)
        down = Boltzmann(machine.J - step * J_shift, machine.h - step * h_shift)
        return (kl(up) - kl(down)) / (2 * step)

    zero = np.zeros((N, N))
    for i in range(N):
        np.testing.assert_allclose(gradient.h[i], difference(zero, np.eye(N)[i]), rtol=1e-6)
        for j in range(i):
            pair = zero.copy()
            pair[i, j] = pair[j, i] = 1  # J stays symmetric, so both entries move
            np.testing.assert_allclose(
                gradient.J[i, j] + gradient.J[j, i], difference(pair, np.zeros(N)), rtol=1e-5
            )


def test_gradient_by_couplings_is_symmetric_with_a_zero_diagonal(machine, logits):
    prior = _prior("boltzmann")

    def mean_energy(params):
        return prior.expected_energy(prior.project(params), jnp.asarray(logits)).mean()

    gradient = jax.jit(jax.grad(mean_energy))(machine).J
    np.testing.assert_array_equal(gradient, gradient.T)
    np.testing.assert_array_equal(np.diagonal(gradient), 0)
    assert np.abs(gradient).max() > 0.01


def test_restricted_machine_has_the_kl_of_its_own_couplings(float64, machine, logits):
    prior = _prior("rbm")
    restricted = prior.project(machine)
    J, half = np.asarray(restricted.J), priors.num_visible(N)
    assert not J[:half, :half].any() and not J[half:, half:].any()
    np.testing.assert_array_equal(J[:half, half:], machine.J[:half, half:])
    kl = prior.expected_energy(restricted, logits) - prior.entropy(logits) + _log_z(restricted)
    np.testing.assert_allclose(kl, _enumerated_kl(restricted, logits), rtol=1e-12)
    start = prior.init(jax.random.key(0), N)
    assert not start.J.any() and not start.h.any()


def test_couplings_inside_a_side_stay_zero_while_the_restricted_machine_learns(logits):
    prior, optimiser = _prior("rbm"), optax.adam(0.1)
    params = prior.init(jax.random.key(0), 5)  # an odd number of spins: sides of 2 and 3
    state = optimiser.init(params)

    def energy(params):
        return prior.expected_energy(prior.project(params), jnp.asarray(logits[:, :5])).mean()

    @jax.jit
    def step(params, state):
        updates, state = optimiser.update(jax.grad(energy)(params), state)
        return optax.apply_updates(params, updates), state

    for _ in range(3):
        params, state = step(params, state)
    inside = (np.arange(5)[:, None] < 2) == (np.arange(5)[None, :] < 2)
    np.testing.assert_array_equal(params.J[inside], 0)
    assert np.all(np.abs(params.J[~inside]) > 0.1)
    gibbs = samplers.build("gibbs", num_visible=priors.num_visible(5))  # accepts these couplings
    gibbs.init(jax.random.key(0), params, 2)


def test_bernoulli_prior_is_the_boltzmann_prior_without_couplings(float64, machine, logits):
    bernoulli, params = _prior("bernoulli"), {"h": machine.h}
    free = Boltzmann(J=np.zeros((N, N)), h=machine.h)
    np.testing.assert_allclose(
        bernoulli.expected_energy(params, logits),
        _prior("boltzmann").expected_energy(free, logits),
        rtol=1e-12,
    )
    np.testing.assert_allclose(bernoulli.log_z(params), _log_z(free), rtol=1e-12)
    assert bernoulli.entropy is _prior("boltzmann").entropy


def test_boltzmann_prior_starts_as_the_bernoulli_prior():
    start = _prior("boltzmann").init(jax.random.key(0), N)
    assert start.J.shape == (N, N) and not start.J.any() and not start.h.any()
    assert not _prior("bernoulli").init(jax.random.key(0), N)["h"].any()


def test_gaussian_kl_equals_the_closed_form(float64):
    prior, posterior = _prior("gaussian"), np.random.default_rng(2).normal(size=(3, 2 * N))
    mean, log_sd = posterior[:, :N], posterior[:, N:]
    want = 0.5 * np.sum(mean**2 + np.exp(2 * log_sd) - 1 - 2 * log_sd, axis=1)
    kl = prior.expected_energy({}, posterior) - prior.entropy(posterior) + prior.log_z({})
    np.testing.assert_allclose(kl, want, rtol=1e-12)
    np.testing.assert_array_equal(prior.embed(posterior), mean)


def test_gaussian_draws_have_the_posterior_mean_and_deviation():
    # 20,000 draws; each of 4 comparisons fails by chance in less than 1 of 1e5 keys (4.5 s.e.).
    mean, sd, n = np.array([1.0, -2.0]), np.array([0.5, 3.0]), 20_000
    posterior = jnp.broadcast_to(jnp.asarray([*mean, *np.log(sd)]), (n, 4))
    draws = np.asarray(_prior("gaussian").draw(jax.random.key(0), posterior))
    assert np.all(np.abs(draws.mean(0) - mean) < 4.5 * sd / np.sqrt(n))
    assert np.all(np.abs(draws.std(0) / sd - 1) < 4.5 / np.sqrt(2 * n))


def test_entropy_and_its_gradient_are_finite_at_extreme_logits():
    logits = jnp.array([[-1e4, -100.0, 0.0, 100.0, 1e4]])
    value, gradient = jax.value_and_grad(
        lambda values: latent_laws.bernoulli_entropy(values).sum()
    )(logits)
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("relaxation", sorted(relaxations.RELAXATIONS))
def test_the_decoder_reads_values_between_minus_and_plus_one(relaxation):
    prior = priors.build("boltzmann", relaxations.build(relaxation))
    logits = jnp.broadcast_to(jnp.array([-30.0, 0.0, 30.0]), (64, 3))
    zeta = np.asarray(prior.draw(jax.random.key(0), logits))
    assert zeta.shape == (64, 3) and np.abs(zeta).max() <= 1
    assert zeta[:, 0].mean() < -0.5 and zeta[:, 2].mean() > 0.4  # the bit, up to its smoothing


@pytest.mark.parametrize("relaxation", sorted(relaxations.RELAXATIONS))
def test_spins_are_read_as_a_certain_posterior_would_be_and_are_drawn_as_spins(relaxation):
    prior = priors.build("boltzmann", relaxations.build(relaxation))
    spins = jnp.broadcast_to(jnp.array([-1.0, 1.0]), (200, 2))
    key = jax.random.key(0)
    read = np.asarray(prior.read(key, spins))
    np.testing.assert_array_equal(read, prior.draw(key, CERTAIN * spins))
    assert (np.sign(read.mean(axis=0)) == [-1, 1]).all()
    drawn = np.asarray(prior.draw_latents(key, jnp.log(3) * spins))
    assert set(np.unique(drawn)) == {-1, 1}
    np.testing.assert_allclose(drawn.mean(axis=0), [-0.5, 0.5], atol=0.2)


def test_numbers_are_read_and_drawn_as_they_are():
    prior, latents = _prior("gaussian"), jnp.array([[0.3, -2.0]])
    np.testing.assert_array_equal(prior.read(jax.random.key(0), latents), latents)
    posterior = jnp.array([[1.0, 2.0, -20.0, -20.0]])  # means, logarithms of deviations
    drawn = prior.draw_latents(jax.random.key(0), posterior)
    np.testing.assert_allclose(drawn, [[1, 2]], atol=1e-5)


def test_spins_are_told_from_numbers_and_linear_energies_from_others():
    assert priors.those_that(lambda each: not each.binary) == (
        "gaussian", "gaussian_mixture", "vamp", "vamp_factorised"
    )  # fmt: skip
    assert priors.those_that(lambda each: each.multilinear) == ("boltzmann", "bernoulli", "rbm")


def test_an_unknown_prior_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match="boltzmann, bernoulli, gaussian, rbm"):
        _prior("laplace")


# Fault 8 of public implementations: a ReLU on the logits, so that no q is below 1/2.
def test_posterior_probabilities_fall_below_one_half():
    for name in ("boltzmann", "bernoulli"):
        spins = _prior(name).embed(jnp.array([[-2.0, 2.0]]))
        np.testing.assert_allclose(spins, np.tanh([[-1.0, 1.0]]), rtol=1e-6)
        draws = _prior(name).draw(jax.random.key(0), jnp.full((1000, 1), -2.0))
        # q = 0.119: 1,000 draws are within 0.05 of it but for 1 key in 1e6.
        assert abs(float(jnp.mean(draws > 0)) - 0.119) < 0.05


# Fault 5: units clamped, and the fields of the rest then off by a factor two. In either form the
# log odds of a free spin given the clamped ones are the energy difference of its flip.
def test_fields_of_free_spins_given_clamped_ones_equal_energy_differences(float64, machine):
    spins = np.asarray(_states())
    clamped, free = slice(0, 3), slice(3, N)
    # The machine of the free spins alone: the clamped ones shift its fields.
    fields = machine.h[free] + spins[:, clamped] @ machine.J[clamped, free]
    fields = fields + spins[:, free] @ machine.J[free, free]
    linear, quadratic, _ = boltzmann.to_bit_form(machine)
    log_odds = linear + boltzmann.spins_to_bits(spins) @ quadratic
    for i in range(3, N):
        up, down = spins.copy(), spins.copy()
        up[:, i], down[:, i] = 1, -1
        gap = boltzmann.energy(machine, down) - boltzmann.energy(machine, up)
        np.testing.assert_allclose(2 * fields[:, i - 3], gap, atol=1e-12)
        np.testing.assert_allclose(2 * boltzmann.local_field(machine, spins)[:, i], gap, atol=1e-12)
        np.testing.assert_allclose(log_odds[:, i], gap, atol=1e-12)


def test_a_gaussian_posterior_is_embedded_by_its_means():
    embedded = priors.build("gaussian").embed(jnp.array([[1.0, 2.0, -0.5, -0.6]]))
    np.testing.assert_array_equal(embedded, [[1.0, 2.0]])
