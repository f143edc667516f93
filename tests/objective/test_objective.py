"""The bound and its surrogate against enumeration on a model of five spins.

Guards qbm_jax.objective.bound and qbm_jax.objective.surrogate.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import objective
from qbm_jax.feed.minibatches import Minibatch
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import enumerate_spins, log_weights
from qbm_jax.model import vae
from qbm_jax.model.posteriors import Groups
from qbm_jax.model.relaxations import GrowingSharpness
from qbm_jax.objective.free_bits import with_free_bits

N, GENES = 5, 8
KEY = jax.random.key(0)
STATES = np.asarray(enumerate_spins(N))


def _build(prior, relaxation="straight_through", **options):
    return vae.build(
        num_genes=GENES, num_batches=2, prior=prior, num_latents=N, relaxation=relaxation,
        encoder_widths=(6,), decoder_widths=(6,), **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    # A relaxation with true gradients: the straight-through one has none by design.
    return _build("boltzmann", "gumbel")


@pytest.fixture(scope="module")
def params(model):
    """Networks as they start, with a machine that is far from factorial."""
    generator = np.random.default_rng(0)
    J = boltzmann.symmetrise(jnp.asarray(generator.normal(size=(N, N)), jnp.float32))
    h = jnp.asarray(generator.normal(size=N) * 0.5, jnp.float32)
    return {**jax.jit(model.init)(jax.random.key(1)), "prior": Boltzmann(J=J, h=h)}


@pytest.fixture(scope="module")
def cells():
    counts = np.random.default_rng(1).poisson(2.0, (4, GENES)) + np.eye(4, GENES)
    return Minibatch(counts=jnp.asarray(counts, jnp.float32), batch=jnp.array([0, 1, 1, 0]))


@functools.partial(jax.jit, static_argnums=0)
def _terms(model, params, cells):
    return objective.terms(model, params, KEY, cells)


@functools.partial(jax.jit, static_argnums=0)
def _enumerated_loss(model, params, cells, kl_weight):
    """Mean -ELBO with the KL summed over all states, from p(s) = exp(-E)/Z and q's definition."""
    logits = model.encode(params, cells.counts)
    log_q = jax.nn.log_sigmoid(STATES[None] * logits[:, None, :]).sum(-1)
    log_p = jax.nn.log_softmax(log_weights(params["prior"]))
    kl = jnp.sum(jnp.exp(log_q) * (log_q - log_p[None]), axis=1)
    zeta = model.prior.draw(jax.random.split(KEY)[0], logits)
    reconstruction = -vae.log_likelihood(model, params, zeta, cells)
    return jnp.mean(reconstruction + kl_weight * kl)


def _exact_negative_phase(function, machine):
    """Mean of function(negatives [1, spins]) over p(s) itself, by enumeration."""
    weights = jax.nn.softmax(log_weights(machine))
    values = jax.lax.map(function, jnp.asarray(STATES)[:, None, :])
    return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, axes=1), values)


def _symmetric(gradient):
    """J is symmetric with zero diagonal, so only this part of a gradient by it means anything."""
    prior = gradient["prior"]
    return {**gradient, "prior": prior.replace(J=boltzmann.symmetrise(prior.J))}


def test_surrogate_gradient_equals_that_of_the_enumerated_bound(model, params, cells):
    @jax.jit
    def surrogate(kl_weight):
        def gradient(negatives):
            return jax.grad(
                lambda p: objective.surrogate_loss(model, p, KEY, cells, negatives, kl_weight)[0]
            )(params)

        return _exact_negative_phase(gradient, params["prior"])

    enumerated = jax.jit(jax.grad(lambda p, w: _enumerated_loss(model, p, cells, w)))
    for kl_weight in (1.0, 0.3):
        got, want = surrogate(kl_weight), enumerated(params, kl_weight)
        assert set(got) == {"encoder", "decoder", "genes", "prior"}
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
            got, _symmetric(want),
        )  # fmt: skip
        assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(want))


def test_bound_is_reconstruction_plus_the_enumerated_kl(model, params, cells):
    values = _terms(model, params, cells)
    log_z = jax.nn.logsumexp(log_weights(params["prior"]))
    loss = -objective.elbo(values, log_z)
    np.testing.assert_allclose(loss.mean(), _enumerated_loss(model, params, cells, 1.0), rtol=1e-5)
    np.testing.assert_allclose(loss, values.reconstruction + objective.kl(values, log_z))
    assert values.reconstruction.shape == (4,)


def test_bound_cannot_be_had_without_log_z(model, params, cells):
    values = objective.Terms(*jnp.zeros((4, 1)))
    with pytest.raises(TypeError, match="log_z"):
        objective.elbo(values)


def test_mean_bound_over_posterior_draws_is_exact_and_below_the_log_likelihood(params, cells):
    model = _build("boltzmann")  # true bits: the bound is one on an enumerable model
    log_z = jax.nn.logsumexp(log_weights(params["prior"]))
    logits = jax.jit(model.encode)(params, cells.counts)
    q = jnp.exp(jax.nn.log_sigmoid(STATES[None] * logits[:, None, :]).sum(-1))
    log_x_given_s = jax.jit(
        jax.vmap(
            lambda state: vae.log_likelihood(model, params, jnp.broadcast_to(state, (4, N)), cells),
            out_axes=1,
        )
    )(jnp.asarray(STATES))
    log_p = log_weights(params["prior"]) - log_z
    exact = jnp.sum(q * (log_x_given_s + log_p[None] - jnp.log(q)), axis=1)
    log_x = jax.nn.logsumexp(log_x_given_s + log_p[None], axis=1)
    assert np.all(exact < log_x)

    # 500 draws; each of 4 comparisons fails by chance in less than 1 of 1e6 keys (5 s.e.).
    @jax.jit
    @jax.vmap
    def bounds(key):
        return objective.elbo(objective.terms(model, params, key, cells), log_z)

    draws = bounds(jax.random.split(KEY, 500))
    error = np.abs(draws.mean(0) - exact)
    assert np.all(error < 5 * draws.std(0) / np.sqrt(500))


# Fault 2 of public implementations: log Z replaced by +mean E(negatives).
def test_log_z_surrogate_has_the_gradient_and_sign_of_log_z(params):
    machine = params["prior"]

    @jax.jit
    def gradient(machine):
        slope = jax.grad(objective.log_z_surrogate)
        return _exact_negative_phase(lambda negatives: slope(machine, negatives), machine)

    got = gradient(machine)
    want = jax.jit(jax.grad(lambda m: jax.nn.logsumexp(log_weights(m))))(machine)
    np.testing.assert_allclose(got.h, want.h, atol=1e-5)
    project = boltzmann.symmetrise  # as `surrogate_loss` does for both phases at once
    np.testing.assert_allclose(project(got.J), project(want.J), atol=1e-5)
    mean_spins = jax.nn.softmax(log_weights(machine)) @ STATES
    np.testing.assert_allclose(got.h, mean_spins, atol=1e-5)  # d log Z / dh = +E_p[s]


def test_log_z_surrogate_gradient_by_couplings_is_the_negatives_second_moment(params):
    negatives = jnp.asarray(STATES[[3, 7, 9, 30]])
    gradient = jax.grad(objective.log_z_surrogate)(params["prior"], negatives).J
    gradient = boltzmann.symmetrise(gradient)
    np.testing.assert_array_equal(gradient, gradient.T)
    np.testing.assert_array_equal(np.diagonal(gradient), 0)
    off_diagonal = ~np.eye(N, dtype=bool)
    moments = negatives.T @ negatives / 4
    np.testing.assert_allclose(gradient[off_diagonal], moments[off_diagonal] / 2, atol=1e-6)


def test_no_gradient_passes_through_the_negatives(params):
    def through(h):
        return objective.log_z_surrogate(params["prior"], jnp.tanh(h)[None, :])

    np.testing.assert_array_equal(jax.grad(through)(jnp.ones(N)), 0)


@pytest.mark.slow
# Fault 1: an energy at thresholded bits sends nothing to the encoder.
def test_the_encoder_receives_the_gradient_of_the_machine_energy(model, params, cells):
    def loss(encoder, kl_weight):
        everything = {**params, "encoder": encoder}
        negatives = jnp.asarray(STATES[:3])
        return objective.surrogate_loss(model, everything, KEY, cells, negatives, kl_weight)[0]

    def kl_terms(encoder):
        values = objective.terms(model, {**params, "encoder": encoder}, KEY, cells)
        return jnp.mean(values.expected_energy)

    energy_gradient = jax.jit(jax.grad(kl_terms))(params["encoder"])
    norms = [float(jnp.linalg.norm(leaf)) for leaf in jax.tree.leaves(energy_gradient)]
    assert min(norms) > 1e-3
    # By the chain rule: dE/dl_i = -f_i(m) (1 - m_i^2)/2 with the local field at the mean spins.
    logits, pull_back = jax.vjp(
        lambda encoder: model.encode({**params, "encoder": encoder}, cells.counts),
        params["encoder"],
    )
    m = jnp.tanh(logits / 2)
    slope = -boltzmann.local_field(params["prior"], m) * (1 - m**2) / 2
    (want,) = pull_back(slope / 4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), energy_gradient, want
    )
    # And it is part of what is trained on: the loss's gradient changes with the KL weight.
    gradient = jax.jit(jax.grad(loss))
    with_kl, without = gradient(params["encoder"], 1.0), gradient(params["encoder"], 0.0)
    change = jax.tree.map(lambda a, b: np.abs(a - b).max(), with_kl, without)
    assert max(jax.tree.leaves(change)) > 1e-3


@pytest.mark.parametrize("prior", ["bernoulli", "gaussian"])
def test_priors_with_a_closed_log_z_train_on_the_bound_itself(prior, cells):
    model = _build(prior)
    params = jax.jit(model.init)(jax.random.key(1))
    loss, values = jax.jit(lambda p: objective.surrogate_loss(model, p, KEY, cells, None))(params)
    bound = objective.elbo(values, model.prior.log_z(params["prior"]))
    np.testing.assert_allclose(loss, -bound.mean(), rtol=1e-6)


@pytest.mark.slow
def test_kl_of_the_gates_is_shared_by_all_cells_and_weighted_as_the_other_kl_terms(cells):
    model = vae.build(
        num_genes=GENES, num_batches=2, prior="bernoulli", num_latents=N, likelihood="autozi",
        encoder_widths=(6,), decoder_widths=(6,),
    )  # fmt: skip
    params = jax.jit(model.init)(jax.random.key(1))
    params["genes"]["log_alpha"] += 0.7
    global_kl = float(model.likelihood.global_kl(params["genes"]))
    assert global_kl > 0.1

    @jax.jit
    def loss_and_gradient(params, weight, num_cells):
        def loss(params):
            return objective.surrogate_loss(model, params, KEY, cells, None, weight, num_cells)

        return jax.value_and_grad(loss, has_aux=True)(params)

    (few, _), _ = loss_and_gradient(params, 0.5, 10)
    (many, values), gradient = loss_and_gradient(params, 0.5, 1_000_000)
    np.testing.assert_allclose(few - many, 0.5 * global_kl / 10, rtol=1e-4)

    # The gates are drawn anew in each step, and their gradient arrives.
    @jax.jit
    def drawn(params):
        key_latent, key_observation = jax.random.split(KEY)
        zeta = model.prior.draw(key_latent, model.encode(params, cells.counts))
        key_genes = jax.random.split(key_observation)[0]
        genes = model.likelihood.draw_gene_params(key_genes, params["genes"])
        return vae.log_likelihood(model, {**params, "genes": genes}, zeta, cells)

    np.testing.assert_allclose(-values.reconstruction, drawn(params), rtol=1e-5)
    for name in ("log_alpha", "log_beta"):
        assert np.abs(gradient["genes"][name]).min() > 0


# Fault 8: -mean E printed as KL. A KL is never negative, and J = 0 with h = 0 gives N log 2 - H(q).
def test_kl_is_never_negative_and_vanishes_where_posterior_and_prior_agree(model, params, cells):
    values = _terms(model, params, cells)
    log_z = jax.nn.logsumexp(log_weights(params["prior"]))
    assert np.all(objective.kl(values, log_z) > 0)
    free = {**params, "prior": model.prior.init(jax.random.key(0), N)}
    values = _terms(model, free, cells)
    np.testing.assert_allclose(
        objective.kl(values, N * np.log(2)), N * np.log(2) - values.entropy, rtol=1e-5
    )
    h = jnp.linspace(-1, 1, N)
    agreeing = model.prior.expected_energy(Boltzmann(J=jnp.zeros((N, N)), h=h), 2 * h[None])
    kl = agreeing - model.prior.entropy(2 * h[None]) + jnp.logaddexp(h, -h).sum()
    np.testing.assert_allclose(kl, 0, atol=1e-5)


def test_a_sharpness_that_starts_at_the_models_own_changes_no_gradient(model, params, cells):
    negatives = jnp.asarray(STATES[:3])

    @jax.jit
    def gradients(progress):
        def loss(encoder, sharpness):
            everything = {**params, "encoder": encoder}
            return objective.surrogate_loss(
                model, everything, KEY, cells, negatives, sharpness=sharpness
            )[0]

        growing = GrowingSharpness(7.0, progress), GrowingSharpness(2.0, progress)
        return [jax.grad(loss)(params["encoder"], sharpness) for sharpness in (None, *growing)]

    without, same, softer = gradients(0.3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), without, same)
    change = jax.tree.map(lambda a, b: np.abs(a - b).max(), without, softer)
    assert max(jax.tree.leaves(change)) > 1e-2


FREE = np.array([True, False, True, False, False])  # latents below the threshold


def _kl_and_latent(model, machine, outputs, encoded=lambda outputs: outputs):
    """((E - H, its gradients by machine and outputs), (latents, their gradient by outputs))."""

    def kl(machine, outputs):
        drawn = model.posterior.draw(KEY, machine, encoded(outputs))
        return jnp.sum(drawn.expected_energy - drawn.entropy)

    def latent(outputs):
        return jnp.sum(model.posterior.draw(KEY, machine, encoded(outputs)).zeta)

    return jax.jit(
        lambda: (
            jax.value_and_grad(kl, argnums=(0, 1))(machine, outputs),
            jax.value_and_grad(latent)(outputs),
        )
    )()


@pytest.mark.parametrize("prior", ["boltzmann", "gaussian"])
def test_free_bits_stop_the_kl_at_latents_below_and_leave_all_else(params, prior):
    model = _build(prior)
    machine = params["prior"] if prior == "boltzmann" else {}
    outputs = jnp.where(FREE, 0.2, 4.0)[None] * jax.random.normal(KEY, (8, N))
    if prior == "gaussian":
        outputs = jnp.concatenate([outputs, -0.1 * outputs], axis=1)  # means, log s.d.
    each = model.prior.information(outputs).mean(axis=0)
    assert each[FREE].max() < each[~FREE].min() and each.min() > 0
    np.testing.assert_array_equal(each < 0.1, FREE)

    (value, (by_machine, by_outputs)), latent = _kl_and_latent(model, machine, outputs)
    gated = _kl_and_latent(with_free_bits(model, 0.1), machine, outputs)
    free = np.tile(FREE, outputs.shape[1] // N)
    np.testing.assert_array_equal(gated[0][1][1][:, free], 0)
    rest = value, by_machine, by_outputs[:, ~free], latent
    gated_rest = gated[0][0], gated[0][1][0], gated[0][1][1][:, ~free], gated[1]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), gated_rest, rest
    )
    assert np.abs(by_outputs).max(axis=0).min() > 1e-3


@pytest.mark.slow
def test_free_bits_stop_the_kl_of_both_groups_of_a_posterior(params):
    model = _build("boltzmann", posterior="two_groups")
    weights = jnp.array([[4.0, 0.1, 0.1], [1.0, 0.1, 0.1]])

    def encoded(outputs):
        return Groups(outputs, lambda spins: spins @ weights)

    outputs = 0.3 * jax.random.normal(KEY, (8, N)).at[:, 0].mul(10)
    plain, gated = (
        _kl_and_latent(m, params["prior"], outputs, encoded)
        for m in (model, with_free_bits(model, 0.1))
    )
    np.testing.assert_allclose(gated[0][0], plain[0][0], rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, gated[1], plain[1])
    moved = np.abs(gated[0][1][1]).max(axis=0) > 0
    np.testing.assert_array_equal(moved, [True, False, True, False, False])  # by s1, the third
    assert np.all(np.abs(plain[0][1][1]).max(axis=0) > 0)
