"""The autoregressive prior: a normalised law, its draws, the KL's gradients, a trained model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import TINY_FIT, launched, small_adata
from scipy import stats
from scipy.special import logsumexp

import qbm_jax
from qbm_jax import objective
from qbm_jax.data import from_anndata
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import gather
from qbm_jax.fitted.model import device_counts
from qbm_jax.machine.enumeration import enumerate_spins
from qbm_jax.model import made, posteriors, priors, relaxations, vae
from qbm_jax.model.latent_laws import spins_log_q
from qbm_jax.model.presets import with_prior
from qbm_jax.objective.importance_weighted import importance_weighted_bound

KEY = jax.random.key(0)
N = 4
SHOWN = np.arange(4)


def _params(width=7):
    """Parameters of a law far from factorial."""
    noise = np.random.default_rng(0)
    start = made.init(KEY, N, width)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf + noise.normal(size=leaf.shape)), start)


def _states():
    return enumerate_spins(N).astype(jnp.float64)


LOGITS = jnp.asarray([[0.4, -1.2, 2.0, -0.3], [-0.5, 0.1, 0.0, 1.0]])


@pytest.mark.parametrize("width", [1, 2, 7])
def test_the_law_is_normalised_and_no_spin_reads_itself_or_those_behind_it(float64, width):
    params = _params(width)
    assert logsumexp(-made.energy(params, _states())) == pytest.approx(0, abs=1e-12)
    each = jax.vmap(jax.jacobian(lambda spins: made.logits(params, spins[None])[0]))(_states())
    reads = np.abs(each).max(axis=0) > 0  # [spin, spin that it reads]
    np.testing.assert_array_equal(reads, np.tri(N, k=-1, dtype=bool))


def test_a_hidden_layer_alone_lets_every_spin_read_all_before_it(float64):
    params = _params(7) | {"direct": jnp.zeros((N, N))}
    each = jax.vmap(jax.jacobian(lambda spins: made.logits(params, spins[None])[0]))(_states())
    np.testing.assert_array_equal(np.abs(each).max(axis=0) > 0, np.tri(N, k=-1, dtype=bool))


def test_it_starts_as_fair_spins():
    np.testing.assert_allclose(
        made.energy(made.init(KEY, N, 7), enumerate_spins(N)), N * np.log(2), rtol=1e-6
    )


def test_what_is_drawn_has_the_law():
    params = jax.tree.map(jnp.float32, _params())
    drawn = np.asarray(made.sample(KEY, params, (20_000, N)))
    assert set(np.unique(drawn)) == {-1, 1}
    states = enumerate_spins(N)
    found = np.all(drawn[:, None] == np.asarray(states)[None], axis=-1).sum(axis=0)
    expected = np.exp(-np.float64(made.energy(params, states)))
    often = expected * len(drawn) > 5
    assert stats.chisquare(
        [*found[often], found[~often].sum()],
        len(drawn) * np.array([*expected[often], expected[~often].sum()]) / expected.sum(),
    ).pvalue > 1e-4  # fmt: skip


def _expected_energy(params, logits):
    """E_q[E] [cells], the sum over all states."""
    log_q = spins_log_q(logits[:, None], _states()[None])
    return jnp.exp(log_q) @ made.energy(params, _states())


def test_the_mean_over_all_draws_of_value_and_gradients_is_that_of_the_enumerated_energy(float64):
    params, logits = _params(), LOGITS.astype(jnp.float64)
    q = np.exp(spins_log_q(logits[:, None], _states()[None]))  # [cells, states]

    def of_draw(params, logits, spins):
        rows = jnp.broadcast_to(spins, logits.shape)
        places = posteriors.flipped_places(KEY, *rows.shape)
        return posteriors.energy_of_draw(made.energy, params, logits, rows, places)

    values = jax.vmap(of_draw, (None, None, 0), 1)(params, logits, _states())
    want, pull = jax.vjp(_expected_energy, params, logits)
    np.testing.assert_allclose(np.sum(q * values, axis=1), want, rtol=1e-10)

    def weighted(params, logits):
        values = jax.vmap(of_draw, (None, None, 0), 1)(params, logits, _states())
        return jnp.sum(q * values)

    got = jax.grad(weighted, (0, 1))(params, logits)
    for leaf, exact in zip(jax.tree.leaves(got), jax.tree.leaves(pull(jnp.ones(2))), strict=True):
        np.testing.assert_allclose(leaf, exact, rtol=1e-9, atol=1e-12)
    for i in range(N):  # and that of finite differences
        shift = 1e-5 * jnp.eye(N)[i][None]
        change = _expected_energy(params, logits + shift) - _expected_energy(params, logits - shift)
        np.testing.assert_allclose(got[1][:, i], change / 2e-5, rtol=1e-6)


def test_random_flips_stand_for_all_on_average(float64, monkeypatch):
    params, logits = _params(), LOGITS.astype(jnp.float64)
    spins = jnp.where(logits > 0, 1.0, -1.0)

    def slope(places):
        total = lambda given: posteriors.energy_of_draw(  # noqa: E731
            made.energy, params, given, spins, places
        ).sum()
        return jax.grad(total)(logits)

    every = slope(posteriors.flipped_places(KEY, *spins.shape))
    monkeypatch.setattr(posteriors, "MOST_FLIPS", 2)
    keys = jax.random.split(KEY, 4000)
    places = jax.vmap(lambda key: posteriors.flipped_places(key, *spins.shape))(keys)
    assert places.shape == (4000, 2, 2) and np.all(places[..., 0] != places[..., 1])
    some = jax.jit(jax.vmap(slope))(places)
    error = np.std(some, axis=0) / np.sqrt(len(keys))
    assert np.all(np.abs(some.mean(axis=0) - every) < 4.5 * error + 1e-12)
    assert np.all(error < 0.1 * np.abs(every).max())


@pytest.mark.parametrize("relaxation", ["spike_exponential", "power_function"])
def test_the_kl_is_that_of_true_spins_whatever_the_decoder_reads(float64, relaxation):
    prior = priors.build("made", relaxations.build(relaxation))
    params, rows = _params(), jnp.repeat(LOGITS.astype(jnp.float64), 20_000, axis=0)
    drawn = jax.jit(posteriors.factorial(prior).draw)(KEY, params, rows)
    energies = np.asarray(drawn.expected_energy).reshape(2, -1)
    assert np.abs(np.asarray(drawn.zeta)).min() < 0.9  # relaxed
    error = energies.std(axis=1) / np.sqrt(energies.shape[1])
    off = energies.mean(axis=1) - _expected_energy(params, LOGITS.astype(jnp.float64))
    assert np.all(np.abs(off) < 5 * error)


@pytest.fixture(scope="module")
def fitted():
    """(model, the cells it was fitted on)."""
    adata = small_adata(60, 20)
    options = TINY_FIT | {"prior": "made", "num_latents": N, "num_genes": None}
    with launched():
        model = qbm_jax.fit(
            adata, progress=False, made_width=5, relaxation="straight_through", **options
        )
    return model, adata


def test_it_trains_embeds_generates_bounds_and_is_loaded(fitted, tmp_path):
    model, adata = fitted
    embedding = adata.obsm["X_made_vae"]
    assert embedding.shape == (60, N) and np.ptp(embedding, axis=0).min() > 0
    params = model.params["prior"]
    assert params["inputs"].shape == (N, 5) and np.abs(params["direct"]).max() > 0
    energy = made.energy(params, jnp.asarray(embedding))
    np.testing.assert_allclose(adata.obs["made_vae_energy"], energy, rtol=1e-4)
    assert model.generate(KEY, 5).shape == (5, 20)
    bound = model.bound(adata)
    assert bound.log_z.value == 0 and np.isfinite(bound.value) and bound.terms["kl"] > 0
    model.save(tmp_path)
    loaded = qbm_jax.FittedModel.load(tmp_path)
    np.testing.assert_array_equal(loaded.embed(adata), model.embed(adata))


def test_its_importance_weighted_bound_is_the_sum_over_all_spins(fitted):
    model, params = fitted[0].vae, fitted[0].params
    cells = device_counts(from_anndata(fitted[1]))
    shown, states = gather(cells, SHOWN), enumerate_spins(N)

    def given(spins):
        return vae.log_likelihood(model, params, jnp.broadcast_to(spins, (4, N)), shown)

    log_p = -made.energy(params["prior"], states)[:, None] + jax.jit(jax.vmap(given))(states)
    want = logsumexp(np.float64(log_p), axis=0)
    got = importance_weighted_bound(KEY, model, params, cells, SHOWN, 0.0, num_samples=4000)
    np.testing.assert_allclose(got.values, want, atol=0.05)
    elbos = jax.vmap(lambda key: objective.elbo(objective.terms(model, params, key, shown), 0.0))
    elbo = np.mean(jax.jit(elbos)(jax.random.split(KEY, 500)), axis=0)
    assert np.all(elbo < want)


def test_a_posterior_in_two_groups_is_refused_and_left_out_of_a_comparison():
    build = functools.partial(vae.build, num_genes=2, num_batches=1, num_latents=N, prior="made")
    with pytest.raises(InputError, match="multilinear binary prior; use boltzmann, bernoulli, rbm"):
        build(posterior="two_groups", relaxation="straight_through")
    assert with_prior("made", {"posterior": "two_groups"})["posterior"] == "factorial"
    assert with_prior("rbm", {"posterior": "two_groups"})["posterior"] == "two_groups"
