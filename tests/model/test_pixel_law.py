"""Bits with means in [0, 1]: drawn anew in each step, bounded as bits, refused outside."""

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse
from command_line import TINY_FIT, launched
from scipy.special import expit, logsumexp
from scipy.stats import bernoulli

import qbm_jax
from qbm_jax import training
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import to_device
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import enumerate_spins, log_weights
from qbm_jax.model import pixel_law, vae
from qbm_jax.objective.bound import Terms
from qbm_jax.objective.importance_weighted import importance_weighted_bound
from qbm_jax.training.state import init_state
from qbm_jax.training.step import train_step

KEY = jax.random.key(0)
MEANS = np.array([0.0, 0.2, 0.7, 1.0, 0.5, 0.9], np.float32)
PIXELS, N = MEANS.size, 5
KINDS = {"likelihood": "bernoulli", "encoder_input": "log_counts"}


def on_device(rows):
    """Rows of pixels as a training takes them."""
    rows = scipy.sparse.csr_matrix(rows)
    batch = np.zeros(rows.shape[0], int)
    return to_device(rows.indptr, rows.indices, rows.data, batch, PIXELS)


@pytest.fixture(scope="module")
def model():
    """(model, parameters): five spins with couplings, a network as decoder."""
    built = vae.build(
        num_genes=PIXELS, num_batches=1, num_latents=N, encoder_widths=(4,), decoder="linear",
        relaxation="straight_through", **KINDS,
    )  # fmt: skip
    params = jax.jit(built.init)(jax.random.key(1))
    params["encoder"] = jax.tree.map(lambda leaf: 0.3 * leaf, params["encoder"])  # near the prior
    J = boltzmann.symmetrise(0.4 * jax.random.normal(KEY, (N, N)))
    return built, {**params, "prior": Boltzmann(J=J, h=jnp.linspace(-0.5, 0.5, N))}


def test_a_redraw_has_the_means_and_keeps_bits():
    """Frequencies of 20,000 draws: one is beyond 5 s.e. for 1 key in 1e6, fixed key."""
    drawn = jax.jit(pixel_law.redraw)(KEY, jnp.broadcast_to(MEANS, (20_000, PIXELS)))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    error = np.sqrt(MEANS * (1 - MEANS) / 20_000)
    assert np.all(np.abs(np.mean(drawn, axis=0) - MEANS) <= 5 * error)


def test_every_step_of_training_sees_other_bits_of_the_same_means(model):
    """Bits of 2,000 steps, by a loss that tells them: within 5 s.e. of the means, fixed key."""
    built, params = model
    optimiser = optax.sgd(0.0)
    start = init_state(KEY, built, None, optimiser, 1).replace(params=params)
    data = on_device(MEANS[None])
    code = 2.0 ** jnp.arange(PIXELS)

    def told(vae, params, key, cells, *given):
        zero = jnp.zeros(1)
        return 0.0 * params["prior"].h.sum(), Terms(cells.counts @ code, zero, zero, zero)

    def bits_of(step):
        state = start.replace(step=step)
        _, metrics = train_step(
            built, None, optimiser, lambda step: 1.0, KEY, data, state, jnp.array([0]), loss=told
        )
        return metrics["reconstruction"]

    codes = np.asarray(jax.jit(jax.vmap(bits_of))(jnp.arange(2000))).astype(int)
    bits = codes[:, None] >> np.arange(PIXELS) & 1
    assert len(np.unique(codes)) == 16  # all that the four grey pixels can give
    error = np.sqrt(MEANS * (1 - MEANS) / 2000)
    assert np.all(np.abs(bits.mean(axis=0) - MEANS) <= 5 * error)


def test_many_draws_give_the_log_likelihood_of_all_spins(model):
    """All 64 images: each within 0.03 of the sum over 32 states, and together of probability 1."""
    built, params = model
    images = (np.arange(2**PIXELS)[:, None] >> np.arange(PIXELS) & 1).astype(np.float32)
    data, rows = on_device(images), np.arange(len(images))
    states = enumerate_spins(N)
    weights = np.asarray(log_weights(params["prior"]), np.float64)
    decode = jax.jit(built.decode)(params, states, jnp.zeros(len(states), jnp.int32))
    chance = expit(np.asarray(decode["scale_logits"], np.float64))
    given = bernoulli.logpmf(images[:, None], chance[None]).sum(axis=-1)
    want = logsumexp(given + weights - logsumexp(weights), axis=1)
    log_z = training.estimate_log_z(KEY, built, params).value
    found = importance_weighted_bound(KEY, built, params, data, rows, log_z, num_samples=40_000)
    np.testing.assert_allclose(found.values, want, atol=0.03)
    assert np.exp(want).sum() == pytest.approx(1, abs=1e-6)
    assert np.exp(found.values).sum() == pytest.approx(1, abs=5e-3)


def test_a_bound_of_means_is_one_of_bits_drawn_by_its_key(model):
    built, params = model
    data, evaluate = on_device(np.tile(MEANS, (40, 1))), training.build_evaluation(built)

    def value(key):
        return training.bound(key, built, evaluate, data, params, np.arange(40))["elbo"]

    first, again, other = value(KEY), value(KEY), value(jax.random.key(1))
    assert first == again != other
    weighted = importance_weighted_bound(KEY, built, params, data, np.arange(40), 0.0)
    assert len(np.unique(weighted.values.round(2))) > 4  # of equal means but different bits


@pytest.fixture(scope="module")
def grey():
    """Grey images of two kinds."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, (60, 1))
    return np.clip(np.where(kind == np.arange(PIXELS) % 2, 0.9, 0.1) + rng.normal(
        scale=0.05, size=(60, PIXELS)), 0.01, 1).astype(np.float32)  # fmt: skip


def fitted(values):
    with launched():
        return qbm_jax.fit(
            anndata.AnnData(values), num_genes=None, progress=False, prior="bernoulli",
            **TINY_FIT, **KINDS,
        )  # fmt: skip


@pytest.mark.slow
def test_images_are_fitted_bounded_and_drawn_as_cells_are(grey):
    model = fitted(grey)
    bound = model.bound(anndata.AnnData(grey), importance_weighted=16)
    assert bound.per_cell.mean() == pytest.approx(bound.value, abs=1e-4)
    assert bound.value < bound.importance_weighted < 0
    drawn = model.generate(KEY, 50)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    with pytest.raises(InputError, match="bernoulli draws values without a library size"):
        model.generate(KEY, 2, library_size=20.0)
    expected = model.denoise(anndata.AnnData(grey))
    assert np.all((expected > 0) & (expected < 1))
    with pytest.raises(InputError, match=r"in \[0, 1\], found 255"):
        model.embed(anndata.AnnData(np.rint(255 * grey / grey.max())))


@pytest.mark.parametrize(("values", "words"), [(255.0, "found 255"), (-1.0, "negative")])
def test_values_outside_of_0_to_1_are_refused_in_one_line(grey, values, words):
    wrong = grey.copy()
    wrong[3, 2] = values
    with pytest.raises(InputError, match=words) as error:
        fitted(wrong)
    assert "\n" not in str(error.value)
