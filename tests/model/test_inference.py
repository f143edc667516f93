"""Embeddings, energies and generated cells of a model of five spins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from marks import mostly_slow

from qbm_jax import samplers
from qbm_jax.feed.minibatches import to_device
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import enumerate_spins
from qbm_jax.model import inference, vae

N, GENES, CELLS = 5, 8, 11


def _build(prior):
    return vae.build(
        num_genes=GENES, num_batches=2, prior=prior, num_latents=N, likelihood="poisson",
        encoder_widths=(6,), decoder_widths=(6,), relaxation="straight_through",
    )  # fmt: skip


@pytest.fixture(scope="module")
def counts():
    generator = np.random.default_rng(0)
    return generator.poisson(1.0, (CELLS, GENES)) + np.eye(CELLS, GENES, dtype=int)


@pytest.fixture(scope="module")
def data(counts):
    rows = scipy.sparse.csr_matrix(counts)
    return to_device(rows.indptr, rows.indices, rows.data, np.arange(CELLS) % 2, GENES)


@pytest.fixture(scope="module")
def model():
    return _build("boltzmann")


@pytest.fixture(scope="module")
def params(model):
    """A random machine, and a decoder in which the batch matters strongly."""
    generator = np.random.default_rng(1)
    params = jax.jit(model.init)(jax.random.key(0))
    J = boltzmann.symmetrise(jnp.asarray(generator.normal(size=(N, N)), jnp.float32))
    h = jnp.asarray(generator.normal(size=N), jnp.float32)
    shift = np.zeros((2, GENES), np.float32)
    shift[1, 0] = 20.0  # all counts of a cell of batch 1 are in gene 0
    decoder = {"params": {**params["decoder"]["params"], "shift": {"kernel": shift}}}
    return {**params, "decoder": decoder, "prior": Boltzmann(J=J, h=h)}


@pytest.fixture(scope="module")
def embedded(model, params, data):
    return inference.embed(model, params, data, width=4)


def test_embedding_equals_the_encoder_on_dense_rows(model, params, counts, data, embedded):
    want = np.tanh(jax.jit(model.encode)(params, jnp.asarray(counts, jnp.float32)) / 2)
    assert embedded[0].shape == (CELLS, N) and embedded[0].dtype == np.float32
    np.testing.assert_allclose(embedded[0], want, rtol=1e-4, atol=1e-6)
    assert np.abs(embedded[0]).max() <= 1 and embedded[0].min() < 0 < embedded[0].max()


# Fault 9 of public implementations: an embedding that is a random draw.
def test_embedding_is_deterministic_and_does_not_depend_on_the_chunks(
    model, params, data, embedded
):
    again = inference.embed(model, params, data, width=4)
    jax.tree.map(np.testing.assert_array_equal, again, embedded)
    at_once = inference.embed(model, params, data, width=512)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), at_once, embedded
    )


def test_expected_energy_equals_its_sum_over_all_states(params, embedded):
    means, energies = embedded
    states = np.asarray(enumerate_spins(N))
    q = np.prod((1 + states[None] * means[:, None, :].astype(np.float64)) / 2, axis=-1)
    want = q @ np.asarray(boltzmann.energy(params["prior"], states))
    np.testing.assert_allclose(energies, want, rtol=1e-4, atol=1e-5)
    assert energies.shape == (CELLS,) and np.ptp(energies) > 0


def test_embedding_can_be_written_to(embedded):
    embedded[0][0, 0] = embedded[0][0, 0]  # scorers write into what they are given


def _generate(model, params, sampler, batch, key=3):
    library = jnp.full(len(batch), 50.0)
    return inference.generate(
        jax.random.key(key), model, params, sampler, jnp.asarray(batch), library
    )


@pytest.mark.parametrize("prior", mostly_slow(["boltzmann", "bernoulli", "gaussian"], "boltzmann"))
def test_generated_cells_are_counts_fixed_by_the_key_and_follow_their_batch(prior, params):
    model = _build(prior)
    sampler = samplers.build("exact") if prior == "boltzmann" else None
    if prior != "boltzmann":
        start = jax.jit(model.init)(jax.random.key(0))
        params = {**params, "prior": start["prior"]}
    batch = np.arange(60) % 2
    cells = np.asarray(_generate(model, params, sampler, batch))
    assert cells.shape == (60, GENES)
    assert np.all(cells >= 0) and np.all(cells == np.round(cells))
    np.testing.assert_array_equal(cells, _generate(model, params, sampler, batch))
    assert np.any(cells != _generate(model, params, sampler, batch, key=4))
    share = [cells[batch == b, 0].sum() / cells[batch == b].sum() for b in (0, 1)]
    assert share[0] < 0.6 and share[1] > 0.99
    # Totals are Poisson(50): the mean of 60 is within 5 s.e. but for 1 key in 1e6.
    assert abs(cells.sum(axis=1).mean() - 50) < 5 * np.sqrt(50 / 60)


@pytest.mark.slow
def test_generated_latents_follow_the_trained_prior(model, params):
    # Strong fields: P(s = sign h) = sigmoid(6) = 0.9975 for each spin.
    h = 3.0 * jnp.array([1, -1, 1, -1, 1.0])
    machine = Boltzmann(J=jnp.zeros((N, N)), h=h)
    for prior, values in (("boltzmann", machine), ("bernoulli", {"h": h})):
        sampler = samplers.build("exact") if prior == "boltzmann" else None
        latent = inference.draw_latent(
            jax.random.key(0), _build(prior), {**params, "prior": values}, sampler, 200
        )
        assert latent.shape == (200, N) and set(np.unique(latent)) <= {-1.0, 1.0}
        assert np.all(np.sign(latent.mean(0)) == np.sign(h))
        assert np.all(np.abs(latent.mean(0)) > 0.9)
    gaussian = inference.draw_latent(jax.random.key(0), _build("gaussian"), params, None, 2000)
    assert np.all(np.abs(gaussian.mean(0)) < 0.12) and np.all(np.abs(gaussian.std(0) - 1) < 0.1)


def test_generated_cells_have_each_their_own_library_size():
    flat = _build("bernoulli")._replace(
        decode=lambda params, latent, batch: {"scale_logits": jnp.zeros((len(batch), GENES))}
    )
    sizes = np.array([100.0, 10_000.0, 100.0, 2_500.0])
    params = {"prior": {"h": jnp.zeros(N)}, "genes": {}}
    batch = jnp.array([0, 1, 0, 1])
    library = jnp.asarray(sizes, jnp.float32)
    counts = inference.generate(jax.random.key(2), flat, params, None, batch, library)
    totals = np.asarray(counts).sum(axis=1)
    assert np.all(np.abs(totals - sizes) < 5 * np.sqrt(sizes))  # Poisson totals
