"""One entry makes a prior: a Laplace law registered here trains, draws, embeds and is bounded.

And what every entry of the registry must be: its KL, energies and draws against sums over all
states, or against quadrature.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import TINY_FIT, launched, small_adata
from scipy import stats
from scipy.special import logsumexp

import qbm_jax
from qbm_jax import objective, training
from qbm_jax.data import from_anndata
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import gather
from qbm_jax.fitted.model import device_counts
from qbm_jax.fitted.trainings import train_options
from qbm_jax.machine.enumeration import enumerate_spins
from qbm_jax.model import inference, posteriors, priors, relaxations, vae
from qbm_jax.objective.free_bits import with_free_bits
from qbm_jax.objective.importance_weighted import importance_weighted_bound

KEY = jax.random.key(0)
N = 2  # latents
SHOWN = np.arange(4)  # cells whose log p(x) is had by quadrature
ALONE = tuple(priors.PRIORS)  # before the Laplace prior is registered


def laplace_prior(relax):
    """Independent Laplace latents of scale 1, Laplace posteriors (location, log scale)."""
    del relax

    def split(posterior):
        return tuple(jnp.split(posterior, 2, axis=-1))

    def entropy(posterior):
        return jnp.sum(split(posterior)[1] + 1 + jnp.log(2), axis=-1)

    def energy(params, latents):
        return jnp.sum(jnp.abs(latents) + jnp.log(2), axis=-1)

    def expected_energy(params, posterior):
        location, log_scale = split(posterior)
        distance = jnp.abs(location)
        beyond = jnp.exp(log_scale - distance * jnp.exp(-log_scale))
        return jnp.sum(distance + beyond + jnp.log(2), axis=-1)

    def log_q(posterior, latents):
        location, log_scale = split(posterior)
        deviation = jnp.abs(latents - location) * jnp.exp(-log_scale)
        return -jnp.sum(deviation + log_scale + jnp.log(2), axis=-1)

    def draw(key, posterior, sharpness=None):
        location, log_scale = split(posterior)
        return location + jnp.exp(log_scale) * jax.random.laplace(key, location.shape)

    def information(posterior):
        each = jnp.stack(split(posterior), axis=-1)
        return expected_energy({}, each) - entropy(each)

    return priors.Prior(
        title="Laplace", relax=None, couplings=False, outputs_per_latent=2,
        init=lambda key, num_latents: {}, project=lambda params: params, entropy=entropy,
        energy=energy, expected_energy=expected_energy, log_z=lambda params: jnp.zeros(()),
        log_q=log_q, information=information, draw=draw,
        embed=lambda posterior: split(posterior)[0],
        sample=lambda key, params, shape: jax.random.laplace(key, shape),
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The Laplace prior, by one entry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(priors.PRIORS, "laplace", laplace_prior)
        yield


@pytest.fixture
def law(request, float64):
    """The prior of that name, some parameters, and a posterior of one cell [1, outputs]."""
    prior = priors.build(request.param, relaxations.build("straight_through"))
    sizes = {name: 3 for name in prior.init_options}
    prior = prior._replace(init=functools.partial(_law_at_the_start, prior, sizes))
    start = prior.init(KEY, N)
    noise = np.random.default_rng(3)
    params = prior.project(jax.tree.map(lambda leaf: leaf + noise.normal(size=leaf.shape), start))
    return prior, params, jnp.asarray([[0.4, -0.7, -0.3, 0.2]])[:, : N * prior.outputs_per_latent]


def _law_at_the_start(prior, sizes, key, num_latents):
    """Parameters of the law, those of an encoder too, which here reads the share of one gene."""
    params = prior.init(key, num_latents, **sizes)
    if prior.of_encoder is None:
        return params
    return prior.of_encoder(params, lambda counts: jnp.tile(1e-4 * counts[:, :1], 2 * num_latents))


EVERY_PRIOR = pytest.mark.parametrize("law", (*ALONE, "laplace"), indirect=True)


def _points(prior):
    """All latents there are, or a grid of them [points, N], and the log of its cells' volume."""
    if prior.binary:
        return enumerate_spins(N).astype(jnp.float64), 0.0
    values = np.linspace(-30, 30, 1201)
    grid = np.stack(np.meshgrid(values, values), axis=-1).reshape(-1, 2)
    return jnp.asarray(grid), 2 * np.log(values[1] - values[0])


def _log_laws(prior, params, posterior):
    """Log q and the unnormalised log p of every point, with the volume in both."""
    points, volume = _points(prior)
    rows = jnp.broadcast_to(posterior, (len(points), posterior.shape[1]))
    return prior.log_q(rows, points) + volume, volume - prior.energy(params, points)


@EVERY_PRIOR
def test_kl_and_its_terms_are_sums_over_all_latents(law):
    prior, params, posterior = law
    log_q, log_p = _log_laws(prior, params, posterior)
    q, log_z = np.exp(log_q), logsumexp(log_p)
    entropy, (points, volume) = prior.entropy(posterior)[0], _points(prior)
    got = [1.0, entropy]
    want = [q, -q * (log_q - volume), q * prior.energy(params, points), q * (log_q - log_p + log_z)]
    if prior.expected_energy is not None:
        energy = prior.expected_energy(params, posterior)[0]
        got += [energy, energy - entropy + log_z]
    np.testing.assert_allclose(got, np.sum(want, axis=1)[: len(got)], atol=2e-3)
    if prior.log_z is not None:
        np.testing.assert_allclose(prior.log_z(params), log_z, atol=2e-3)


@EVERY_PRIOR
def test_information_of_the_latents_is_the_kl_to_the_law_of_parameters_zero(law):
    prior, _, posterior = law
    start = jax.tree.map(jnp.zeros_like, prior.init(KEY, N))  # zeros: one law a latent
    log_q, log_p = _log_laws(prior, start, posterior)
    information = prior.information(posterior)
    assert information.shape == (1, N) and np.all(information > 0)
    want = np.sum(np.exp(log_q) * (log_q - log_p + logsumexp(log_p)))
    np.testing.assert_allclose(information.sum(), want, atol=2e-3)


@EVERY_PRIOR
def test_draws_follow_the_posterior_and_the_prior(law):
    """Means of 4,000 draws: beyond 5 s.e. for 1 key in 1e6, fixed keys."""
    prior, params, posterior = law
    rows = jnp.broadcast_to(posterior, (4000, posterior.shape[1]))
    latents = prior.draw_latents(KEY, rows)
    assert latents.shape == (4000, N)
    _assert_mean(-prior.log_q(rows, latents), prior.entropy(posterior)[0])
    log_q, log_p = _log_laws(prior, params, posterior)
    energies = prior.energy(params, _points(prior)[0])
    _assert_mean(prior.energy(params, latents), np.exp(log_q) @ energies)
    drawn = posteriors.factorial(prior).draw(KEY, params, rows)
    _assert_mean(drawn.expected_energy, np.exp(log_q) @ energies)
    np.testing.assert_array_equal(prior.read(KEY, latents), latents)  # true bits, or numbers
    if prior.sample is not None:
        sampled = prior.sample(KEY, params, (4000, N))
        p = np.exp(log_p - logsumexp(log_p))
        _assert_mean(prior.energy(params, sampled), p @ energies)


def _assert_mean(values, want):
    assert abs(np.mean(values) - want) < 5 * np.std(values) / np.sqrt(len(values)) + 2e-3


@pytest.fixture(scope="module")
def fitted(registered):
    """(model, the cells it was fitted on)."""
    adata = small_adata(60, 20)
    options = TINY_FIT | {"prior": "laplace", "num_latents": N, "num_genes": None}
    with launched():
        return qbm_jax.fit(adata, progress=False, **options), adata


@pytest.fixture(scope="module")
def cells(fitted):
    """The counts on the device."""
    return device_counts(from_anndata(fitted[1]))


def test_it_trains_and_embeds_under_a_name_of_its_own(fitted):
    model, adata = fitted
    embedding, energy = adata.obsm["X_laplace_vae"], adata.obs["laplace_vae_energy"]
    assert embedding.shape == (60, N) and np.ptp(embedding, axis=0).min() > 0
    assert np.isfinite(embedding).all() and np.isfinite(energy).all()
    np.testing.assert_allclose(model.embed(adata), embedding, rtol=1e-5, atol=1e-6)


def test_its_latents_are_drawn_from_its_own_law(fitted):
    latents = np.asarray(inference.draw_latent(KEY, fitted[0].vae, fitted[0].params, None, 4000))
    assert stats.kstest(latents.ravel(), "laplace").pvalue > 1e-4
    assert stats.kstest(latents.ravel(), "norm").pvalue < 1e-6
    counts = fitted[0].generate(KEY, 5)
    assert counts.shape == (5, 20) and np.all(counts == np.round(counts))


def test_its_kl_in_the_bound_is_the_integral(fitted, cells):
    model, params = fitted[0].vae, fitted[0].params
    shown = gather(cells, SHOWN)
    values = jax.jit(lambda key: objective.terms(model, params, key, shown))(KEY)
    location, log_scale = np.split(np.float64(model.encode(params, shown.counts)), 2, axis=1)
    z = np.linspace(-40, 40, 80_001)[:, None, None]
    log_q = stats.laplace.logpdf(z, location, np.exp(log_scale))
    integrals = np.sum(np.exp(log_q) * (log_q - stats.laplace.logpdf(z)), axis=0) * 1e-3
    log_z = training.estimate_log_z(KEY, model, params).value
    np.testing.assert_allclose(objective.kl(values, log_z), integrals.sum(axis=1), rtol=1e-3)


def test_its_importance_weighted_bound_is_the_integral_over_the_latents(fitted, cells):
    model, params = fitted[0].vae, fitted[0].params
    z = np.linspace(-10, 10, 161)
    grid = np.stack(np.meshgrid(z, z), axis=-1).reshape(-1, N).astype(np.float32)
    log_p = stats.laplace.logpdf(grid).sum(axis=1) + 2 * np.log(z[1] - z[0])
    shown = gather(cells, SHOWN)

    def given(latent):
        rows = jnp.broadcast_to(latent, (len(SHOWN), N))
        return vae.log_likelihood(model, params, rows, shown)

    values = jax.jit(jax.vmap(given))(grid)
    want = logsumexp(log_p[:, None] + np.float64(values), axis=0)
    got = importance_weighted_bound(KEY, model, params, cells, SHOWN, 0.0, num_samples=2000)
    np.testing.assert_allclose(got.values, want, atol=0.1)


def test_free_bits_stop_the_gradient_of_its_latents_that_tell_little(fitted):
    model = with_free_bits(fitted[0].vae, 0.5)
    outputs = jnp.array([[2.0, 0.1, -1.0, 0.0]])  # the first latent tells 1.5 nats, the other 0.005

    def kl(outputs):
        drawn = model.posterior.draw(KEY, {}, outputs)
        return jnp.sum(drawn.expected_energy - drawn.entropy)

    assert (np.asarray(jax.grad(kl)(outputs)) != 0).tolist() == [[True, False, True, False]]


def test_it_is_saved_and_loaded_and_refused_where_it_is_unknown(fitted, tmp_path, monkeypatch):
    model, adata = fitted
    model.save(tmp_path)
    loaded = qbm_jax.FittedModel.load(tmp_path)
    np.testing.assert_array_equal(loaded.embed(adata), model.embed(adata))
    monkeypatch.delitem(priors.PRIORS, "laplace")
    with pytest.raises(InputError, match="unknown prior 'laplace'") as error:
        qbm_jax.FittedModel.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("options", "message"), [
    ({"posterior": "two_groups"}, "binary prior; use boltzmann, bernoulli, rbm"),
    ({"couplings_scale": 1.0}, "prior laplace has no couplings"),
])  # fmt: skip
def test_what_only_spins_have_is_refused_in_one_line(options, message):
    with pytest.raises(InputError, match=message) as error:
        vae.build(num_genes=2, num_batches=1, num_latents=N, prior="laplace", **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("options", "message"), [
    ({"objective": "disarm"}, "needs bits, got prior laplace"),
    ({"sharpness_start": 1.0}, "must be 0 with prior laplace"),
])  # fmt: skip
def test_trainings_that_relax_spins_are_refused_in_one_line(fitted, options, message):
    with pytest.raises(InputError, match=message) as error:
        training.check_model(train_options(options), fitted[0].vae)
    assert "\n" not in str(error.value)
