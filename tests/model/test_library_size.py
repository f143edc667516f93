"""The latent library size: its KL, its draws, its start and what a model does with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import objective
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import Minibatch
from qbm_jax.model import library_size, vae
from qbm_jax.model.library_size import LibraryPosterior

PRIORS = ((5.0, 0.7), (8.0, 0.4))
BATCH = jnp.array([0, 1, 1])
GENES = 6


def test_a_batchs_prior_is_of_its_cells_with_a_count():
    logs = np.array([2.0, 3.0, 7.0])
    found = library_size.prior_of(np.append(np.exp(logs), 0.0))
    np.testing.assert_allclose(found, (4.0, logs.std()))
    np.testing.assert_allclose(library_size.prior_of(np.full(3, 20)), (np.log(20), 0.01))
    with pytest.raises(InputError, match="needs a cell with a count in every batch"):
        library_size.prior_of(np.zeros(2))


def _posterior():
    return LibraryPosterior(jnp.array([5.5, 7.0, 8.0]), jnp.log(jnp.array([0.3, 1.1, 0.4])))


def _model(**options):
    return vae.build(
        num_genes=GENES, num_batches=2, prior="bernoulli", num_latents=3, encoder_widths=(8,),
        decoder_widths=(8,), relaxation="gumbel", **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return _model(library="latent", library_prior=PRIORS)


@pytest.fixture(scope="module")
def params(model):
    return jax.jit(model.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def cells():
    counts = np.random.default_rng(0).poisson(40.0, (3, GENES)) * [[1], [4], [10]]
    return Minibatch(counts=jnp.asarray(counts, jnp.float32), batch=BATCH)


def test_kl_agrees_with_monte_carlo_and_vanishes_at_the_prior(float64):
    """200,000 draws; each of 2 comparisons fails by chance in less than 1 of 1e6 keys (5 s.e.)."""
    posterior = _posterior()
    keys = jax.random.split(jax.random.key(0), 200_000)
    sizes = jax.jit(jax.vmap(lambda key: library_size.draw(key, posterior)))(keys)
    log_size, sd = jnp.log(sizes), jnp.exp(posterior.log_sd)
    mean_p, sd_p = np.array(PRIORS)[BATCH].T
    log_density = jax.scipy.stats.norm.logpdf
    ratio = np.asarray(
        log_density(log_size, posterior.mean[None], sd[None])
        - log_density(log_size, mean_p[None], sd_p[None])
    )
    kl = library_size.kl(posterior, PRIORS, BATCH)
    error = np.abs(ratio.mean(0) - kl)
    assert np.all(error[:2] < 5 * ratio.std(0)[:2] / np.sqrt(len(ratio)))
    np.testing.assert_allclose(kl[2], 0, atol=1e-12)
    assert np.all(kl[:2] > 0.5)


def test_posterior_starts_at_that_of_a_poisson_rate():
    posterior = library_size.posterior(jnp.zeros((2, 2)), jnp.array([100.0, 10_000.0]))
    np.testing.assert_allclose(posterior.mean, np.log([100, 10_000]), rtol=1e-6)
    np.testing.assert_allclose(np.exp(posterior.log_sd), [0.1, 0.01], rtol=1e-5)


@pytest.mark.slow
def test_terms_hold_the_library_kl_and_the_bound_counts_it(model, params, cells):
    values = jax.jit(lambda p: objective.terms(model, p, jax.random.key(1), cells))(params)
    posterior = jax.jit(model.encode_library)(params, cells.counts)
    want = library_size.kl(posterior, PRIORS, BATCH)
    np.testing.assert_allclose(values.library_kl, want, rtol=1e-4)
    key_latent, key_observation = jax.random.split(jax.random.key(1))
    latent = model.prior.draw(key_latent, model.encode(params, cells.counts))
    drawn = library_size.draw(jax.random.split(key_observation)[1], posterior)
    reconstruction = -vae.log_likelihood(model, params, latent, cells, drawn)
    np.testing.assert_allclose(values.reconstruction, reconstruction, rtol=1e-5)
    without = values._replace(library_kl=jnp.zeros(3))
    np.testing.assert_allclose(
        objective.elbo(without, 0.0) - objective.elbo(values, 0.0), want, rtol=1e-3
    )


@pytest.mark.slow
def test_the_drawn_size_reaches_the_likelihood_and_all_gradients_are_finite(model, params, cells):
    @jax.jit
    def gradient(params):
        def loss(params):
            return objective.surrogate_loss(model, params, jax.random.key(1), cells, None)[0]

        return jax.grad(loss)(params)

    leaves = gradient(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(leaves))
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(leaves["library"])) > 1e-3

    latent = jnp.zeros((3, 3))
    observed = vae.log_likelihood(_model(), params, latent, cells)
    sizes = cells.counts.sum(axis=-1)
    np.testing.assert_allclose(
        vae.log_likelihood(model, params, latent, cells, sizes), observed, rtol=1e-6
    )
    half = vae.log_likelihood(model, params, latent, cells, sizes / 2)
    assert np.all(np.abs(half - observed) > 0.1)
    median = jnp.exp(model.encode_library(params, cells.counts).mean)
    np.testing.assert_allclose(
        vae.log_likelihood(model, params, latent, cells),
        vae.log_likelihood(model, params, latent, cells, median),
        rtol=1e-6,
    )


def test_an_observed_library_has_no_encoder_and_no_kl(cells):
    model = _model()
    params = jax.jit(model.init)(jax.random.key(0))
    assert "library" not in params and model.encode_library is None
    values = jax.jit(lambda p: objective.terms(model, p, jax.random.key(1), cells))(params)
    np.testing.assert_array_equal(values.library_kl, jnp.zeros(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"library": "guessed"}, "'guessed'; choose from observed, latent"),
        ({"library": "latent"}, "each of 2 batches, got none"),
        ({"library": "latent", "library_prior": ((5.0, 1.0),)}, "each of 2 batches, got 1"),
        ({"library": "latent", "library_prior": ((5.0, 1.0), (5.0, 0.0))}, "above 0"),
        ({"library_prior": PRIORS}, "for library latent"),
        ({"library": "latent", "library_prior": PRIORS, "likelihood": "normal"}, "of counts"),
    ],
)
def test_a_library_that_cannot_be_is_refused_in_one_line(options, message):
    with pytest.raises(InputError, match=message) as error:
        _model(**options)
    assert "\n" not in str(error.value)
