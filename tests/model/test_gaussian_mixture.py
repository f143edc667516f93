"""The mixture priors: their density and draws, the KL's gradients, and a model that is trained."""

from functools import partial
from types import SimpleNamespace

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
from qbm_jax.feed.cell_source import InMemory
from qbm_jax.feed.minibatches import gather
from qbm_jax.fitted.model import device_counts
from qbm_jax.model import gaussian_mixture, inference, posteriors, priors, vae
from qbm_jax.model.presets import PRESETS
from qbm_jax.training import run as training_run

KEY = jax.random.key(0)
N = 2
MIXTURE = {
    "logits": np.log([0.2, 0.5, 0.3]),
    "means": np.array([[-2.0, 0.5], [1.0, 1.0], [0.0, -2.5]]),
    "log_sd": np.log([[0.5, 1.0], [0.8, 0.4], [1.5, 0.7]]),
}
POSTERIOR = np.array([0.4, -0.7, -0.3, 0.2])


def _log_density(params, z, factorised=False):
    """Log of the mixture's density at z [points, N], by scipy."""
    weights = np.exp(params["logits"]) / np.exp(params["logits"]).sum()
    each = stats.norm.logpdf(z[:, None], params["means"], np.exp(params["log_sd"]))
    if factorised:
        return logsumexp(each, b=weights[:, None], axis=1).sum(axis=-1)
    return logsumexp(each.sum(axis=-1), b=weights, axis=1)


def _grid(half, points):
    """Points of a square [points^2, N] and the log volume of each."""
    values = np.linspace(-half, half, points)
    return np.stack(np.meshgrid(values, values), -1).reshape(-1, N), 2 * np.log(np.diff(values)[0])


def _integral(params, posterior, factorised=False):
    """The KL of the posterior to the mixture by quadrature."""
    z, volume = _grid(10, 401)
    log_q = stats.norm.logpdf(z, posterior[:N], np.exp(posterior[N:])).sum(axis=1)
    return np.sum(np.exp(log_q + volume) * (log_q - _log_density(params, z, factorised)))


def test_energy_is_minus_the_log_density_and_weights_need_not_be_normalised(float64):
    z, shifted = _grid(5, 7)[0], MIXTURE | {"logits": MIXTURE["logits"] + 3}
    for params in (MIXTURE, shifted):
        np.testing.assert_allclose(gaussian_mixture.energy(params, z), -_log_density(MIXTURE, z))


def test_a_factorised_mixture_has_the_product_of_its_latents_laws_which_is_another(float64):
    z, volume = _grid(12, 241)
    params = jax.tree.map(jnp.asarray, MIXTURE)
    energy = gaussian_mixture.factorised_energy(params, z)
    np.testing.assert_allclose(energy, -_log_density(MIXTURE, z, factorised=True))
    assert np.exp(-energy + volume).sum() == pytest.approx(1, abs=1e-6)
    assert np.abs(energy - gaussian_mixture.energy(params, z)).max() > 1
    one = jax.tree.map(lambda leaf: leaf[..., :1], params) | {"logits": params["logits"]}
    np.testing.assert_allclose(
        gaussian_mixture.factorised_energy(one, z[:9, :1]), gaussian_mixture.energy(one, z[:9, :1])
    )


def test_the_kl_and_its_gradients_are_those_of_the_integral_on_average(float64):
    """200,000 draws, each gradient within 5 standard errors of a finite difference."""
    family = posteriors.factorial(priors.build("gaussian_mixture"))

    def kl(params, posterior, key):
        drawn = family.draw(key, params, posterior[None])
        return (drawn.expected_energy - drawn.entropy)[0]

    over_keys = jax.vmap(jax.value_and_grad(kl, (0, 1)), (None, None, 0))
    mixture = jax.tree.map(jnp.asarray, MIXTURE)
    found = jax.jit(over_keys)(mixture, jnp.asarray(POSTERIOR), jax.random.split(KEY, 200_000))
    _assert_mean(found[0], _integral(MIXTURE, POSTERIOR))
    _assert_mean(found[1][1], _difference(lambda x: _integral(MIXTURE, x), POSTERIOR))
    for name, start in MIXTURE.items():
        want = _difference(lambda x, name=name: _integral(MIXTURE | {name: x}, POSTERIOR), start)
        _assert_mean(found[1][0][name], want)


def _difference(function, start, step=1e-4):
    shifts = step * np.eye(start.size).reshape(-1, *start.shape)
    ups_and_downs = [function(start + shift) - function(start - shift) for shift in shifts]
    return np.reshape(ups_and_downs, start.shape) / (2 * step)


def _assert_mean(values, want):
    error = np.std(values, axis=0) / np.sqrt(len(values))
    assert np.all(np.abs(np.mean(values, axis=0) - want) < 5 * error + 1e-6)


@pytest.mark.parametrize("factorised", [False, True])
def test_what_is_drawn_has_the_density(factorised):
    draw = gaussian_mixture.sample_factorised if factorised else gaussian_mixture.sample
    drawn = draw(KEY, jax.tree.map(jnp.asarray, MIXTURE), (4000, N))
    weights, sd = np.exp(MIXTURE["logits"]), np.exp(MIXTURE["log_sd"])
    for i in range(N):

        def cdf(z, i=i):
            return stats.norm.cdf(z[:, None], MIXTURE["means"][:, i], sd[:, i]) @ weights

        assert stats.kstest(np.asarray(drawn[:, i]), cdf).pvalue > 1e-4
    wrong = drawn[:, 0] + 0.2
    assert stats.kstest(np.asarray(wrong), lambda z: cdf(z, 0)).pvalue < 1e-4
    want = 0 if factorised else _correlation()
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(want, abs=0.05) and abs(_correlation()) > 0.1


def _correlation():
    z, volume = _grid(10, 401)
    p = np.exp(_log_density(MIXTURE, z) + volume)
    centred = z - p @ z
    covariance = (p[:, None] * centred).T @ centred
    return covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])


@pytest.fixture(scope="module", params=["gaussian_mixture", "vamp", "vamp_factorised"])
def fitted(request):
    """(model, the cells it was fitted on, whether its mixture is factorised)."""
    adata = small_adata(60, 20)
    options = TINY_FIT | {"prior": request.param, "num_latents": N, "num_genes": None}
    with launched():
        model = qbm_jax.fit(adata, progress=False, num_components=3, **options)
    return model, adata, request.param == "vamp_factorised"


def _mixture(model):
    """The trained law, float64."""
    return jax.tree.map(np.float64, vae.prior_params(model.vae, model.params))


def test_results_are_kept_under_the_name_of_the_preset(fitted):
    model, adata, _ = fitted
    names = {"gaussian_mixture": "mog_vae", "vamp": "vamp_vae", "vamp_factorised": "sysvi"}
    name = names[model.vae.prior.name]
    assert PRESETS[name].model["prior"] == model.vae.prior.name
    assert f"X_{name}" in adata.obsm and f"{name}_energy" in adata.obs


def test_it_trains_embeds_generates_and_is_loaded(fitted, tmp_path):
    model, adata, factorised = fitted
    name = model.vae.prior.model_name
    embedding = adata.obsm[f"X_{name}"]
    assert embedding.shape == (60, N) and np.ptp(embedding, axis=0).min() > 0
    params = _mixture(model)
    assert params["means"].shape == (3, N) and np.abs(params["logits"]).max() > 0
    energy = adata.obs[f"{name}_energy"]
    want = -_log_density(params, embedding, factorised)
    np.testing.assert_allclose(energy, want, rtol=1e-4, atol=1e-4)
    assert model.generate(KEY, 5).shape == (5, 20)
    model.save(tmp_path)
    loaded = qbm_jax.FittedModel.load(tmp_path)
    np.testing.assert_array_equal(loaded.embed(adata), model.embed(adata))


def test_its_kl_in_the_bound_is_the_integral_on_average(fitted):
    model, params = fitted[0].vae, fitted[0].params
    shown = gather(device_counts(from_anndata(fitted[1])), np.arange(4))
    log_z = training.estimate_log_z(KEY, model, params).value
    assert log_z == 0
    terms = jax.vmap(lambda key: objective.terms(model, params, key, shown))
    drawn = jax.jit(terms)(jax.random.split(KEY, 4000))
    mixture = _mixture(fitted[0])
    posteriors_of_cells = np.float64(model.encode(params, shown.counts))
    want = [_integral(mixture, posterior, fitted[2]) for posterior in posteriors_of_cells]
    _assert_mean(objective.kl(drawn, log_z), np.array(want))


def test_its_latents_are_drawn_from_its_own_law(fitted):
    model, params = fitted[0].vae, fitted[0].params
    latents = np.asarray(inference.draw_latent(KEY, model, params, None, 4000))
    entropy = -np.mean(_log_density(_mixture(fitted[0]), latents, fitted[2]))
    z, volume = _grid(12, 401)
    log_p = _log_density(_mixture(fitted[0]), z, fitted[2])
    assert entropy == pytest.approx(-np.exp(log_p + volume) @ log_p, abs=0.1)


def test_a_training_starts_pseudo_cells_at_training_cells_of_its_key():
    cells = device_counts(from_anndata(small_adata(60, 20)))
    model = vae.build(
        num_genes=20, num_batches=1, prior="vamp", num_components=49, num_latents=N,
        encoder_widths=(4,), decoder_widths=(4,),
    )  # fmt: skip
    held_out = np.arange(5)
    built = training.Built(model, None, training.TrainOptions())
    (seed,) = training_run.plan_seeds([training.Seed(KEY, built, held_out)], 60)
    run = SimpleNamespace(
        source=InMemory(cells), mesh=None, plan=seed.plan, length=SimpleNamespace(num_epochs=1)
    )
    run.random_cells = partial(training_run.TrainingRun.random_cells, run)
    run.placed = lambda seed, state: state
    state = training_run.TrainingRun.first_state(run, seed)
    of_cells = np.log(np.asarray(gather(cells, np.arange(60)).counts) + 0.01)
    same = np.isclose(state.params["prior"]["log_shares"][:, None], of_cells[None]).all(axis=-1)
    found = same.argmax(axis=1)
    assert same.any(axis=1).all() and set(found) <= set(seed.plan.train_cells.tolist())
    assert len(set(found)) == seed.plan.train_cells.size == 49
    jax.tree.map(np.testing.assert_array_equal, state.params, state.best_params)


def test_components_of_a_vamp_prior_are_posteriors_of_pseudo_cells_that_learn(float64):
    model = vae.build(
        num_genes=5, num_batches=1, prior="vamp", num_components=3, num_latents=N,
        encoder_widths=(4,), decoder_widths=(4,),
    )  # fmt: skip
    params = jax.tree.map(lambda leaf: leaf.astype(float), jax.jit(model.init)(KEY))
    pseudo = 1e4 * jax.nn.softmax(params["prior"]["log_shares"])
    law = vae.prior_params(model, params)
    np.testing.assert_allclose(gaussian_mixture.laws(law), model.encode(params, pseudo))

    @jax.jit
    def energy(log_shares):
        changed = {**params, "prior": params["prior"] | {"log_shares": log_shares}}
        return gaussian_mixture.energy(vae.prior_params(model, changed), jnp.ones((1, N)))[0]

    start = params["prior"]["log_shares"]
    gradient = jax.grad(energy)(start)
    np.testing.assert_allclose(gradient, _difference(energy, start), rtol=1e-4, atol=1e-7)
    assert np.abs(gradient).min() > 0
