"""The importance-weighted bound against log p(x) by enumeration and by quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from scipy.special import logsumexp
from scipy.stats import norm

from qbm_jax import training
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import gather, to_device
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import enumerate_spins, log_weights
from qbm_jax.model import vae
from qbm_jax.objective import importance_weighted
from qbm_jax.objective.importance_weighted import importance_weighted_bound, log_weight

GENES, CELLS = 6, 5
KEY = jax.random.key(0)
ALL = np.arange(CELLS)
LIBRARY_PRIOR = ((2.0, 0.5), (2.5, 0.3))


@pytest.fixture(scope="module")
def data():
    counts = np.random.default_rng(0).poisson(2.0, (CELLS, GENES)) + np.eye(CELLS, GENES, dtype=int)
    rows = scipy.sparse.csr_matrix(counts)
    return to_device(rows.indptr, rows.indices, rows.data, ALL % 2, GENES)


def _model(prior, num_latents, **options):
    model = vae.build(
        num_genes=GENES, num_batches=2, prior=prior, num_latents=num_latents,
        encoder_widths=(4,), decoder="linear", start="lecun",
        **({"likelihood": "poisson"} | options),
    )  # fmt: skip
    params = jax.jit(model.init)(jax.random.key(1))
    for network in {"encoder", "library"} & set(params):  # posteriors near enough to be corrected
        params[network] = jax.tree.map(lambda leaf: 0.3 * leaf, params[network])
    if prior == "boltzmann":
        J = 0.4 * np.random.default_rng(2).normal(size=(num_latents, num_latents))
        J = boltzmann.symmetrise(jnp.asarray(J, jnp.float32))
        params["prior"] = Boltzmann(J=J, h=jnp.linspace(-0.5, 0.5, num_latents))
    return model, params


def _log_z(model, params):
    return training.estimate_log_z(KEY, model, params).value


def _log_p_given(model, params, cells, latents):
    """Log p(x | latent), [latents, cells]."""
    broadcast = jax.vmap(
        lambda latent: vae.log_likelihood(
            model, params, jnp.broadcast_to(latent, (CELLS, latent.size)), cells
        )
    )
    return jax.jit(broadcast)(latents)


@pytest.fixture(scope="module")
def bits():
    return _model("boltzmann", 5, relaxation="straight_through")


@pytest.fixture(scope="module")
def bits_log_p(bits, data):
    """Log p(x) [cells], the sum over all 32 states."""
    model, params = bits
    states = enumerate_spins(5)
    log_p = jax.nn.log_softmax(log_weights(params["prior"]))
    joint = log_p[:, None] + _log_p_given(model, params, gather(data, ALL), states)
    return np.asarray(jax.nn.logsumexp(joint, axis=0))


def test_many_samples_of_true_bits_give_the_enumerated_log_p(bits, bits_log_p, data):
    model, params = bits
    bound = importance_weighted_bound(
        KEY, model, params, data, ALL, _log_z(model, params), num_samples=4000, width=3
    )
    assert bound.values.shape == (CELLS,)
    np.testing.assert_allclose(bound.values, bits_log_p, atol=0.05)
    assert bound.mean == pytest.approx(bound.values.mean(), rel=1e-6)


@pytest.mark.slow
def test_the_bound_rises_with_the_samples_from_the_elbo_to_log_p(bits, bits_log_p, data):
    model, params = bits
    log_z = _log_z(model, params)
    cells = gather(data, ALL)
    posterior = model.encode(params, cells.counts)
    keys = jax.random.split(KEY, 8192)
    draw = jax.vmap(lambda key: log_weight(key, model, params, posterior, cells, log_z))
    weights = jax.jit(draw)(keys)
    elbo = training.bound(
        KEY, model, training.build_evaluation(model), data, params, ALL, num_draws=200
    )["elbo"]
    # One sample is the ELBO in expectation: within 5 s.e. of both means.
    error = np.asarray(weights).mean(axis=1).std() * np.sqrt(1 / 8192 + 1 / 200)
    assert abs(float(weights.mean()) - elbo) < 5 * error
    rising = [
        float(np.mean(jax.nn.logsumexp(weights.reshape(-1, k, CELLS), axis=1) - np.log(k)))
        for k in (1, 4, 16, 64, 256)
    ]
    assert np.all(np.diff(rising) > 0)
    assert rising[0] < bits_log_p.mean() - 0.3
    assert rising[-1] == pytest.approx(bits_log_p.mean(), abs=0.05)


@pytest.mark.slow
def test_smeared_bits_give_the_sum_over_bits_and_the_integral_over_zeta(data):
    model, params = _model("boltzmann", 2, relaxation="spike_exponential", sharpness=2.0)
    u = (np.arange(40) + 0.5) / 40
    on = 2 * np.log1p(u * np.expm1(2.0)) / 2.0 - 1  # quantiles of r(zeta | 1), as spins
    states = np.asarray(enumerate_spins(2))
    cells, log_p = gather(data, ALL), jax.nn.log_softmax(log_weights(params["prior"]))
    parts = []
    for state, log_prior in zip(states, log_p, strict=True):
        axes = [on if spin > 0 else np.full(40, -1.0) for spin in state]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        values = _log_p_given(model, params, cells, jnp.asarray(grid, jnp.float32))
        parts.append(log_prior + jax.nn.logsumexp(values, axis=0) - np.log(len(grid)))
    want = jax.nn.logsumexp(jnp.stack(parts), axis=0)
    got = importance_weighted_bound(
        KEY, model, params, data, ALL, _log_z(model, params), num_samples=4000
    )
    np.testing.assert_allclose(got.values, want, atol=0.05)


@pytest.mark.parametrize("prior", ["gaussian", "gaussian_mixture", "vamp"])
def test_latents_that_are_numbers_give_the_integral_over_z(prior, data):
    model, params = _model(prior, 2)
    law = {"means": np.zeros((1, 2)), "log_sd": np.zeros((1, 2))}
    if prior == "gaussian_mixture":  # near the posteriors
        params["prior"]["means"] = 0.25 * params["prior"]["means"]
    if prior != "gaussian":
        law = jax.tree.map(np.asarray, vae.prior_params(model, params))  # of equal weights
    z = np.linspace(-6, 6, 121)
    grid = np.stack(np.meshgrid(z, z), -1).reshape(-1, 2).astype(np.float32)
    each = norm.logpdf(grid[:, None], law["means"], np.exp(law["log_sd"])).sum(-1)
    log_p = logsumexp(each, axis=1) - np.log(len(law["means"])) + 2 * np.log(z[1] - z[0])
    values = _log_p_given(model, params, gather(data, ALL), jnp.asarray(grid))
    want = jax.nn.logsumexp(log_p[:, None] + values, axis=0)
    got = importance_weighted_bound(KEY, model, params, data, ALL, 0.0, num_samples=40000)
    np.testing.assert_allclose(got.values, want, atol=0.05)


def test_a_latent_library_size_is_integrated_over_too(data):
    model, params = _model("bernoulli", 2, relaxation="straight_through", library="latent",
                           library_prior=LIBRARY_PRIOR)  # fmt: skip
    cells = gather(data, ALL)
    log_sizes = np.linspace(-1, 6, 281)
    mean, sd = np.asarray(LIBRARY_PRIOR)[np.asarray(cells.batch)].T
    density = -0.5 * ((log_sizes[:, None] - mean) / sd) ** 2 - np.log(sd * np.sqrt(2 * np.pi))
    density = jnp.asarray(density + np.log(log_sizes[1] - log_sizes[0]), jnp.float32)

    def given(state, log_size):
        latent, sizes = jnp.broadcast_to(state, (CELLS, 2)), jnp.full(CELLS, jnp.exp(log_size))
        return vae.log_likelihood(model, params, latent, cells, sizes)

    over = jax.jit(jax.vmap(jax.vmap(given, (None, 0)), (0, None)))
    values = over(enumerate_spins(2), jnp.asarray(log_sizes, jnp.float32))
    joint = values + density[None] + jnp.log(0.25)  # h = 0: four states alike
    want = jax.nn.logsumexp(joint, axis=(0, 1))
    got = importance_weighted_bound(
        KEY, model, params, data, ALL, _log_z(model, params), num_samples=8000
    )
    np.testing.assert_allclose(got.values, want, atol=0.05)


@pytest.mark.slow
def test_gates_cost_their_kl_once_for_all_training_cells(data):
    model, params = _model("gaussian", 2, likelihood="autozi")
    params["genes"]["log_alpha"] = jnp.full(GENES, 1.0)
    few, many = (
        importance_weighted_bound(
            KEY, model, params, data, ALL, 0.0, num_samples=4, num_train_cells=n
        ).mean
        for n in (10, 1000)
    )
    kl = float(model.likelihood.global_kl(params["genes"]))
    assert kl > 1
    assert many - few == pytest.approx(kl * (1 / 10 - 1 / 1000), rel=1e-3)
    elbo = training.bound(KEY, model, training.build_evaluation(model), data, params, ALL,
                          num_train_cells=10)  # fmt: skip
    assert elbo["global_kl"] == pytest.approx(kl / 10, rel=1e-6)
    kl_terms = elbo["expected_energy"] - elbo["entropy"] + elbo["library_kl"] + elbo["global_kl"]
    assert elbo["kl"] == pytest.approx(kl_terms, rel=1e-6)


@pytest.mark.parametrize("sharpness", [None, 0.1, 50.0])
def test_a_relaxation_without_bits_is_refused(data, sharpness):
    model, params = _model("bernoulli", 2, relaxation="gumbel", sharpness=sharpness)
    with pytest.raises(InputError, match="gumbel") as error:
        importance_weighted_bound(KEY, model, params, data, ALL, 0.0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("relaxation", ["overlapping_exponential", "power_function"])
def test_the_other_relaxations_have_a_bound(data, relaxation):
    model, params = _model("bernoulli", 2, relaxation=relaxation)
    bound = importance_weighted_bound(
        KEY, model, params, data, ALL, _log_z(model, params), num_samples=2
    )
    assert np.isfinite(bound.values).all()


def test_no_samples_and_no_cells_are_refused(bits, data):
    for cells, samples in ((ALL, 0), (ALL[:0], 1)):
        with pytest.raises(InputError, match="at least 1"):
            importance_weighted_bound(KEY, *bits, data, cells, 0.0, num_samples=samples)


def test_the_weighted_bound_is_the_log_of_the_mean_weight_of_separate_draws(monkeypatch, data):
    model, params = _model("bernoulli", 4)

    def log_weight(key, vae, params, encoded, cells, log_z):
        return jax.random.uniform(key, cells.batch.shape, maxval=6.0) - log_z

    monkeypatch.setattr(importance_weighted, "log_weight", log_weight)
    found = importance_weighted_bound(KEY, model, params, data, ALL, 0.75, num_samples=3, width=4)
    key_weights = jax.random.split(KEY)[1]
    wanted = []
    for chunk in range(2):
        keys = jax.random.split(jax.random.fold_in(key_weights, chunk), 3)
        drawn = np.stack([np.asarray(jax.random.uniform(key, (4,), maxval=6.0)) for key in keys])
        wanted.append(np.log(np.exp(drawn - 0.75).mean(axis=0)))
    np.testing.assert_allclose(found.values, np.concatenate(wanted)[:5], rtol=1e-5)
    assert found.mean == pytest.approx(np.concatenate(wanted)[:5].mean(), rel=1e-5)
