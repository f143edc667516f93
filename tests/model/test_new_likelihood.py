"""One entry makes a likelihood: a geometric law registered here trains, draws and is bounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import TINY_FIT, launched, small_adata
from scipy import stats

import qbm_jax
from qbm_jax import objective
from qbm_jax.data import from_anndata
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import gather
from qbm_jax.fitted.model import device_counts
from qbm_jax.model import likelihoods, vae
from qbm_jax.model.likelihoods import Likelihood, log_mean_counts

KEY = jax.random.key(0)


def _log_prob(counts, outputs, gene_params, library_size):
    """P(x) = (mu / (1 + mu))^x / (1 + mu), x = 0, 1, ..., of mean mu."""
    log_mean = log_mean_counts(outputs, library_size)
    log_odds = jax.nn.log_sigmoid(-log_mean) + counts * jax.nn.log_sigmoid(log_mean)
    return jnp.sum(log_odds, axis=-1)


def _sample(key, outputs, gene_params, library_size):
    log_mean = log_mean_counts(outputs, library_size)
    uniform = jax.random.uniform(key, log_mean.shape, minval=1e-7)
    return jnp.floor(jnp.log(uniform) / jax.nn.log_sigmoid(log_mean))


GEOMETRIC = Likelihood(
    heads=("scale_logits",),
    init_gene_params=lambda num_genes: {},
    log_prob=_log_prob,
    sample=_sample,
    mean=lambda outputs, genes, library_size: jnp.exp(log_mean_counts(outputs, library_size)),
)


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The geometric law, by one entry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(likelihoods.LIKELIHOODS, "geometric", GEOMETRIC)
        yield


def fit(adata, **options):
    options = TINY_FIT | {"prior": "bernoulli", "num_genes": None} | options
    with launched():
        return qbm_jax.fit(adata, progress=False, likelihood="geometric", **options)


@pytest.fixture(scope="module")
def fitted(registered):
    """(model, the cells it was fitted on)."""
    adata = small_adata(60, 20)
    return fit(adata), adata


def test_its_probabilities_sum_to_one_and_are_the_geometric_laws(float64):
    means, counts = np.array([0.05, 1.0, 12.0]), np.arange(600.0)
    x, mu = (axis.reshape(-1, 1) for axis in np.meshgrid(counts, means))
    outputs = {"scale_logits": jnp.zeros(x.shape)}  # one gene has all of the library
    log_p = GEOMETRIC.log_prob(x, outputs, {}, mu[:, 0]).reshape(3, -1)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, atol=1e-9)
    want = stats.geom.logpmf(counts + 1, 1 / (1 + means[:, None]))
    np.testing.assert_allclose(log_p, want, rtol=1e-6)


def test_it_trains_and_its_bound_is_finite(fitted):
    model, adata = fitted
    assert model.settings.model["likelihood"] == model.vae.likelihood.name == "geometric"
    assert np.isfinite(adata.obsm["X_bernoulli_vae"]).all()
    cells = gather(device_counts(from_anndata(adata)), np.arange(60))
    values = jax.jit(lambda key: objective.terms(model.vae, model.params, key, cells))(KEY)
    log_z = model.vae.prior.log_z(model.params["prior"])
    bound = objective.elbo(values, log_z)
    assert bound.shape == (60,) and np.all(bound < 0) and np.isfinite(bound).all()


def test_its_cells_are_whole_counts_of_the_total_asked_for(fitted):
    """Totals of 400 cells: their mean is beyond 5 s.e. of 50 for 1 key in 1e6, fixed key."""
    counts = fitted[0].generate(KEY, 400, library_size=50.0)
    assert counts.min() >= 0 and np.all(counts == np.round(counts))
    totals = counts.sum(axis=1)
    assert abs(totals.mean() - 50) < 5 * totals.std() / 20


def test_fractional_counts_are_refused_for_it_in_training_and_embedding(fitted):
    fractions = small_adata(60, 20)
    fractions.X.data += 0.25
    for function in (fit, fitted[0].embed):
        with pytest.raises(InputError, match="likelihood geometric expects whole-number") as error:
            function(fractions)
        assert "\n" not in str(error.value)


def test_what_it_lacks_is_refused_and_what_it_has_is_taken(fitted):
    with pytest.raises(InputError, match="expected likelihood autozi for gates, got geometric"):
        fitted[0].gates()
    sizes = {"num_genes": 2, "num_batches": 1, "num_latents": 2}
    with pytest.raises(InputError, match="likelihood geometric has no dispersion"):
        vae.build(**sizes, likelihood="geometric", dispersion="gene_batch")
    latent = {"library": "latent", "library_prior": ((3.0, 0.5),)}
    assert vae.build(**sizes, likelihood="geometric", **latent).encode_library is not None
    with pytest.raises(InputError, match="of counts; use poisson, nb, zinb, autozi, geometric"):
        vae.build(**sizes, likelihood="normal", **latent)


def test_it_is_saved_and_loaded_and_refused_where_it_is_unknown(fitted, tmp_path, monkeypatch):
    model, adata = fitted
    model.save(tmp_path)
    loaded = qbm_jax.FittedModel.load(tmp_path)
    np.testing.assert_array_equal(loaded.embed(adata), model.embed(adata))
    monkeypatch.delitem(likelihoods.LIKELIHOODS, "geometric")
    with pytest.raises(InputError, match="unknown likelihood 'geometric'") as error:
        qbm_jax.FittedModel.load(tmp_path)
    assert "\n" not in str(error.value)
