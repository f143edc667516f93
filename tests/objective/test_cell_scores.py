"""Scores of cells against sums by hand, on a model of three spins."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from scipy import special, stats

from qbm_jax import training
from qbm_jax.feed.minibatches import to_device
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.model import vae
from qbm_jax.objective.cell_scores import cell_terms, score_cells

N, GENES, CELLS = 3, 6, 5
KEY = jax.random.key(0)
COUNTS = np.random.default_rng(0).poisson(3.0, (CELLS, GENES)) + np.eye(CELLS, GENES, dtype=int)
BATCH = np.arange(CELLS) % 2
J = np.array([[0.0, 0.8, -0.5], [0.8, 0.0, 0.3], [-0.5, 0.3, 0.0]])
H = np.array([0.4, -0.2, 0.6])


@pytest.fixture(scope="module")
def model():
    built = vae.build(
        num_genes=GENES, num_batches=2, num_latents=N, likelihood="poisson", prior="boltzmann",
        relaxation="straight_through", encoder_widths=(4,), decoder_widths=(4,), start="lecun",
    )  # fmt: skip
    machine = Boltzmann(jnp.asarray(J, jnp.float32), jnp.asarray(H, jnp.float32))
    return built, {**jax.jit(built.init)(jax.random.key(1)), "prior": machine}


@pytest.fixture(scope="module")
def data():
    rows = scipy.sparse.csr_matrix(COUNTS)
    return to_device(rows.indptr, rows.indices, rows.data, BATCH, GENES)


@pytest.fixture(scope="module")
def scores(model, data):
    return score_cells(KEY, *model, data, width=2)  # the last chunk has one cell and one of padding


def test_energy_and_entropy_are_those_of_each_cells_posterior(model, scores):
    built, params = model
    logits = np.float64(jax.jit(built.encode)(params, jnp.asarray(COUNTS, jnp.float32)))
    up = special.expit(logits)
    means = 2 * up - 1
    energy = -0.5 * np.einsum("ci,ij,cj->c", means, J, means) - means @ H
    np.testing.assert_allclose(scores.energy, energy, rtol=1e-4, atol=1e-5)
    entropy = -(up * np.log(up) + (1 - up) * np.log1p(-up)).sum(axis=1)
    np.testing.assert_allclose(scores.entropy, entropy, rtol=1e-4)
    wanted = scores.reconstruction + scores.energy - scores.entropy
    np.testing.assert_allclose(scores.negative_bound, wanted, rtol=1e-5)


def test_each_reconstruction_is_of_one_of_the_states_and_of_the_cells_own_counts(model, scores):
    built, params = model
    decode = jax.jit(built.decode)
    losses = []
    for state in itertools.product([-1.0, 1.0], repeat=N):
        outputs = decode(params, jnp.full((CELLS, N), jnp.array(state)), jnp.asarray(BATCH))
        shares = special.softmax(np.float64(outputs["scale_logits"]), axis=1)
        means = COUNTS.sum(axis=1, keepdims=True) * shares
        losses.append(-stats.poisson.logpmf(COUNTS, means).sum(axis=1))
    away = np.abs(np.array(losses) - scores.reconstruction).min(axis=0)
    assert away.max() < 1e-3 < np.ptp(losses, axis=0).min()


def test_draws_are_of_the_key_and_those_of_the_evaluation_of_a_training(model, data, scores):
    others = [score_cells(jax.random.key(seed), *model, data, width=2) for seed in range(1, 5)]
    assert any(np.any(other.reconstruction != scores.reconstruction) for other in others)
    assert all(np.array_equal(other.energy, scores.energy) for other in others)
    terms, _ = cell_terms(KEY, *model, data, width=2)
    wanted = training.build_evaluation(model[0], 2)(KEY, data, model[1], np.arange(CELLS))
    for name in ("reconstruction", "entropy", "expected_energy"):
        assert getattr(terms, name).mean() == pytest.approx(float(wanted[name]), rel=1e-5)
