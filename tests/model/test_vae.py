"""What the model's options mean: the linear decoder and its loadings, dispersions per batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import Minibatch
from qbm_jax.model import likelihoods, vae

GENES, N = 6, 3


def _build(**options):
    return vae.build(
        num_genes=GENES, num_batches=2, num_latents=N, encoder_widths=(5,), decoder_widths=(5,),
        **options,
    )  # fmt: skip


def _noisy(params, key=1):
    """Parameters in which nothing is zero any more."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(key), len(leaves))
    noisy = [x + jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noisy)


@pytest.mark.slow
@pytest.mark.parametrize(("prior", "likelihood"), [("gaussian", "nb"), ("boltzmann", "zinb")])
def test_linear_decoder_is_a_linear_map_and_a_batch_shift_before_the_softmax(prior, likelihood):
    model = _build(prior=prior, likelihood=likelihood, decoder="linear")
    params = _noisy(jax.jit(model.init)(jax.random.key(0)))
    latent = jax.random.normal(jax.random.key(2), (4, N))
    batch = jnp.array([0, 1, 1, 0])
    decode = jax.jit(model.decode)
    logits = decode(params, latent, batch)["scale_logits"]
    origin = decode(params, jnp.zeros((4, N)), batch)["scale_logits"]
    loadings = model.loadings(params)
    assert loadings.shape == (GENES, N)
    np.testing.assert_allclose(logits, origin + latent @ loadings.T, rtol=1e-5, atol=1e-5)
    shift = params["decoder"]["params"]["shift"]["kernel"]
    np.testing.assert_allclose(origin[1] - origin[0], shift[1] - shift[0], rtol=1e-5, atol=1e-5)


def test_a_decoder_with_hidden_layers_has_no_loadings():
    model = _build(prior="gaussian")
    with pytest.raises(InputError, match="linear decoder for loadings, got mlp"):
        model.loadings({})


@pytest.mark.slow
def test_each_cell_reads_the_dispersions_of_its_own_batch():
    model = _build(prior="bernoulli", dispersion="gene_batch")
    params = _noisy(jax.jit(model.init)(jax.random.key(0)))
    table, batch = params["genes"]["log_inverse_dispersion"], jnp.array([1, 0, 1, 1])
    assert table.shape == (2, GENES)
    np.testing.assert_array_equal(
        vae.gene_params(params, batch)["log_inverse_dispersion"], table[batch]
    )
    counts = jnp.asarray(np.random.default_rng(0).poisson(3.0, (4, GENES)), jnp.float32)
    latent = jax.random.normal(jax.random.key(2), (4, N))
    cells = Minibatch(counts=counts, batch=batch)
    got = jax.jit(lambda p: vae.log_likelihood(model, p, latent, cells))(params)
    outputs = jax.jit(model.decode)(params, latent, batch)
    log_prob = jax.jit(likelihoods.build("nb").log_prob)
    for cell in range(4):
        row = {"log_inverse_dispersion": table[batch[cell]]}
        one = {name: values[cell : cell + 1] for name, values in outputs.items()}
        want = log_prob(counts[cell : cell + 1], one, row, counts[cell : cell + 1].sum(axis=-1))
        np.testing.assert_allclose(got[cell], want[0], rtol=1e-5)


def test_dispersions_per_gene_need_no_batch():
    params = {"genes": {"log_inverse_dispersion": jnp.arange(3.0)}}
    same = vae.gene_params(params, jnp.zeros(5, jnp.int32))["log_inverse_dispersion"]
    assert same is params["genes"]["log_inverse_dispersion"]


@pytest.mark.parametrize("prior", ["boltzmann", "bernoulli", "gaussian", "rbm"])
@pytest.mark.parametrize("likelihood", likelihoods.LIKELIHOODS)
def test_every_point_of_the_grid_can_be_built_and_starts(prior, likelihood):
    for decoder in ("mlp", "linear"):
        model = _build(prior=prior, likelihood=likelihood, decoder=decoder)
        params = jax.eval_shape(model.init, jax.random.key(0))
        outputs = jax.eval_shape(model.decode, params, jnp.zeros((2, N)), jnp.zeros(2, jnp.int32))
        assert set(outputs) == set(model.likelihood.heads)


@pytest.mark.parametrize(
    ("start", "variance", "moved"), [("lecun", 1.0, False), ("pytorch", 1 / 3, True)]
)
def test_weights_start_by_the_law_that_is_asked_for(start, variance, moved):
    model = vae.build(
        num_genes=400, num_batches=3, num_latents=64, decoder_widths=(128,), start=start
    )
    params = jax.jit(model.init)(jax.random.key(0))
    hidden = params["decoder"]["params"]["MLP_0"]
    kernel, effects = hidden["Dense_0"]["kernel"], hidden["Dense_1"]["kernel"]
    # 8192 weights: their variance is within a tenth with false alarms below 1e-9
    assert 64 * kernel.var() == pytest.approx(variance, rel=0.1)
    assert effects.shape == (3, 128) and bool(np.any(effects != 0)) == moved
    assert np.abs(effects).max() <= 67**-0.5
    assert not np.any(params["decoder"]["params"]["shift"]["kernel"])


def test_an_unknown_start_is_refused():
    with pytest.raises(InputError, match="unknown start 'zeros'; choose from lecun, pytorch"):
        vae.build(num_genes=4, num_batches=2, start="zeros")


def test_dispersions_and_decoder_shifts_are_those_of_each_cells_batch():
    genes = {"genes": {"log_inverse_dispersion": jnp.arange(2.0 * GENES).reshape(2, GENES)}}
    rows = vae.gene_params(genes, jnp.array([1, 0, 1]))["log_inverse_dispersion"]
    np.testing.assert_array_equal(
        rows, genes["genes"]["log_inverse_dispersion"][jnp.array([1, 0, 1])]
    )
    model = _build(prior="bernoulli", likelihood="poisson")
    params = jax.jit(model.init)(jax.random.key(2))
    shifted = jax.tree.map(lambda leaf: leaf, params)
    kernel = params["decoder"]["params"]["shift"]["kernel"]
    values = jnp.arange(float(kernel.size)).reshape(kernel.shape)
    shifted["decoder"]["params"]["shift"]["kernel"] = kernel + values
    latent, batch = jnp.ones((3, N)), jnp.array([1, 0, 1])
    before, after = (model.decode(p, latent, batch)["scale_logits"] for p in (params, shifted))
    np.testing.assert_allclose(after - before, values[np.array([1, 0, 1])], rtol=1e-5, atol=1e-5)
