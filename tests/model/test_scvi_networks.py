"""What scVI's networks do otherwise: their start, batch normalisation, dropout, what they read.

Guards qbm_jax.model.networks.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import Minibatch, to_device
from qbm_jax.model import vae
from qbm_jax.model.batch_norm import BatchNorm, is_statistic
from qbm_jax.objective import OBJECTIVES, surrogate_loss
from qbm_jax.training import TrainOptions, build_optimiser, init_state, train_step

GENES, CELLS, N, WIDTH = 6, 8, 2, 5
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
COUNTS = jnp.asarray(RNG.poisson(3.0, (CELLS, GENES)) + 1, jnp.float32)
CELLS_OF = Minibatch(counts=COUNTS, batch=jnp.arange(CELLS) % 2)


def build(**options):
    return vae.build(**{
        "num_genes": GENES, "num_batches": 2, "num_latents": N, "prior": "gaussian",
        "encoder_widths": (WIDTH,), "decoder_widths": (WIDTH,), "start": "scvi_tools", **options,
    })  # fmt: skip


@pytest.fixture(scope="module")
def normalised():
    """(model with batch normalisation, its first parameters)."""
    model = build(normalisation="batch", decoder="linear", encoder_input="log_counts")
    return model, jax.jit(model.init)(KEY)


def test_all_weights_start_uniform_by_the_number_of_inputs_batches_among_them():
    params = jax.jit(build(encoder_widths=(400,), decoder_widths=(400,)).init)(KEY)
    layers = params["encoder"]["params"]["MLP_0"], params["decoder"]["params"]["MLP_0"]
    for layer, fan_in in zip(layers, (GENES, N + 2), strict=True):
        for name in ("kernel", "bias"):
            drawn, bound = np.abs(layer["Dense_0"][name]), fan_in**-0.5
            assert 0.95 * bound < drawn.max() <= bound
            assert drawn.mean() == pytest.approx(bound / 2, rel=0.1)
    bias = np.abs(params["decoder"]["params"]["scale_logits"]["bias"])
    assert 0 < bias.max() <= 400**-0.5


def _hidden(params, counts):
    layer = params["encoder"]["params"]["MLP_0"]["Dense_0"]
    return np.log1p(np.float64(counts)) @ np.float64(layer["kernel"]) + np.float64(layer["bias"])


def _posterior(params, hidden, mean, variance):
    scaled = np.maximum((hidden - mean) / np.sqrt(variance + 1e-3), 0)
    last = params["encoder"]["params"]["Dense_0"]
    return scaled @ np.float64(last["kernel"]) + np.float64(last["bias"])


def test_the_encoder_reads_log_counts_and_is_normalised_by_the_minibatch_only_in_training(
    normalised,
):
    model, params = normalised
    training = vae.while_training(model, params, KEY)
    hidden = _hidden(params, COUNTS)
    want = _posterior(params, hidden, hidden.mean(axis=0), hidden.var(axis=0))
    np.testing.assert_allclose(model.encode(training, COUNTS), want, rtol=1e-4, atol=1e-5)
    still = _posterior(params, hidden, 0.0, 1.0)  # running statistics as they start
    np.testing.assert_allclose(model.encode(params, COUNTS), still, rtol=1e-4, atol=1e-5)


def _moved(params, by):
    """The parameters with other running statistics."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + by if is_statistic(path, leaf) else leaf, params
    )


def test_a_step_moves_running_statistics_as_torch_does_and_no_other_step_moves_them(normalised):
    model, params = normalised
    options = TrainOptions(adam_epsilon=0.01, weight_decay=0.5, gradient_clip=1e-3)
    optimiser = build_optimiser(options, 10)
    rows = np.arange(CELLS + 1) * GENES
    data = to_device(
        rows, np.tile(np.arange(GENES), CELLS), np.asarray(COUNTS).ravel(), np.arange(CELLS) % 2,
        GENES,
    )  # fmt: skip
    state = init_state(KEY, model, None, optimiser, 1).replace(params=params)
    state = state.replace(opt_state=optimiser.init(params))
    step = jax.jit(
        lambda state: train_step(
            model, None, optimiser, lambda step: 1.0, KEY, data, state, jnp.arange(CELLS)
        )
    )
    stepped, told = step(state)
    _, of_others = step(state.replace(params=_moved(params, 100)))
    assert of_others["gradient_norm"] == pytest.approx(float(told["gradient_norm"]), rel=1e-5)
    hidden = _hidden(params, COUNTS)
    running = stepped.params["encoder"][BatchNorm.COLLECTION]["MLP_0"]["BatchNorm_0"]
    np.testing.assert_allclose(running["mean"], 0.01 * hidden.mean(axis=0), rtol=1e-4)
    variance = 0.99 + 0.01 * hidden.var(axis=0, ddof=1)
    np.testing.assert_allclose(running["variance"], variance, rtol=1e-5)
    of_genes = stepped.params["decoder"][BatchNorm.COLLECTION]["normalised_scale_logits"]
    assert np.abs(of_genes["mean"]).min() > 0
    weights = [tree.params["encoder"]["params"] for tree in (state, stepped)]
    assert not np.array_equal(*(each["Dense_0"]["kernel"] for each in weights))

    def evaluated(params):  # as by the pseudo-cells of a VampPrior
        return jnp.sum(jnp.square(model.encode(params, COUNTS)))

    gradient = jax.grad(evaluated)(params)["encoder"][BatchNorm.COLLECTION]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("objective", ["disarm", "kaiwu_qvae"])  # these pass them twice
def test_running_statistics_move_at_one_rate_however_often_a_loss_passes_the_cells(objective):
    """What they are away from the minibatch's grows by 1 where they do: of each it is told once."""
    model = build(
        prior="boltzmann", normalisation="batch", library="latent",
        library_prior=((3.0, 1.0), (3.0, 1.0)),
    )  # fmt: skip
    params = jax.jit(model.init)(KEY)

    def loss(params):
        used = vae.while_training(model, params, KEY)
        return OBJECTIVES[objective](model, used, KEY, CELLS_OF, jnp.ones((3, N)))[0]

    def of_statistics(moved):
        gradient = jax.grad(loss)(_moved(params, moved))
        networks = "encoder", "decoder", "library"
        return jax.tree.leaves([gradient[name][BatchNorm.COLLECTION] for name in networks])

    for first, second in zip(*jax.jit(lambda: (of_statistics(0), of_statistics(1)))(), strict=True):
        np.testing.assert_allclose(second - first, 1, rtol=1e-4)


def test_loadings_of_a_normalised_linear_decoder_are_its_slopes(normalised):
    model, params = normalised
    running = params["decoder"][BatchNorm.COLLECTION]["normalised_scale_logits"]
    running = {**running, "variance": jnp.arange(1.0, GENES + 1)}
    decoder = {**params["decoder"], BatchNorm.COLLECTION: {"normalised_scale_logits": running}}
    params, latent = {**params, "decoder": decoder}, jnp.asarray(RNG.normal(size=(3, N)))
    batch = jnp.zeros(3, jnp.int32)
    logits = model.decode(params, latent, batch)["scale_logits"]
    origin = model.decode(params, jnp.zeros((3, N)), batch)["scale_logits"]
    want = latent @ model.loadings(params).T
    np.testing.assert_allclose(logits - origin, want, rtol=1e-4, atol=1e-5)
    assert "bias" not in params["decoder"]["params"]["scale_logits"]


def test_dropout_leaves_out_units_in_training_by_its_key_and_none_elsewhere():
    model = build(dropout=0.5, decoder_dropout=0.5, encoder_widths=(400,), decoder_widths=(400,))
    params = jax.jit(model.init)(KEY)
    encode = jax.jit(model.encode)

    def training(key):
        return vae.while_training(model, params, jax.random.key(key))

    first, again, other = (encode(training(key), COUNTS) for key in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.asarray(first - other)).min() > 0
    many = np.mean([encode(training(key), COUNTS) for key in range(400)], axis=0)
    np.testing.assert_allclose(many, encode(params, COUNTS), atol=0.15)
    batch, latent = CELLS_OF.batch, jnp.ones((CELLS, N))
    decoded = [model.decode(each, latent, batch)["scale_logits"] for each in (params, training(1))]
    assert not np.allclose(*decoded)
    plain = build()
    assert vae.while_training(plain, params, KEY) is params


def test_the_loss_is_computed_with_networks_that_train_apart(normalised):
    model, params = normalised
    used = vae.while_training(model, params, KEY)
    losses = [surrogate_loss(model, each, KEY, CELLS_OF, None)[0] for each in (params, used)]
    assert np.isfinite(losses).all() and losses[0] != losses[1]


def test_dispersions_may_start_normal_and_the_batch_may_shift_hidden_units_alone():
    start = {name: jax.jit(build(dispersion_start=name).init)(KEY) for name in ("zero", "normal")}
    drawn = start["normal"]["genes"]["log_inverse_dispersion"]
    assert np.std(drawn) > 0.3 and not np.any(start["zero"]["genes"]["log_inverse_dispersion"])
    for network in ("encoder", "decoder"):
        jax.tree.map(np.testing.assert_array_equal, *(each[network] for each in start.values()))
    with pytest.raises(InputError, match="dispersion_start must be zero with likelihood poisson"):
        build(dispersion_start="normal", likelihood="poisson")
    assert "shift" in start["zero"]["decoder"]["params"]
    assert "shift" not in jax.jit(build(gene_shift=False).init)(KEY)["decoder"]["params"]


def test_encoders_may_give_log_variances_with_a_floor_and_library_sizes_by_themselves():
    options = {"library": "latent", "library_prior": ((2.0, 1.0), (2.0, 1.0))}
    plain, other = (build(encoder_output=name, **options) for name in ("log_sd", "log_variance"))
    params = jax.jit(plain.init)(KEY)
    given, found = (np.float64(model.encode(params, COUNTS)) for model in (plain, other))
    np.testing.assert_array_equal(found[:, :N], given[:, :N])
    np.testing.assert_allclose(np.exp(2 * found[:, N:]), np.exp(given[:, N:]) + 1e-4, rtol=1e-5)
    given, found = (model.encode_library(params, COUNTS) for model in (plain, other))
    totals = np.log(np.float64(COUNTS).sum(axis=1))
    np.testing.assert_allclose(found.mean, given.mean - totals, atol=1e-5)
    log_variance = np.float64(given.log_sd) + 0.5 * totals
    np.testing.assert_allclose(np.exp(2 * found.log_sd), np.exp(log_variance) + 1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="encoder_output must be log_sd with prior boltzmann"):
        build(encoder_output="log_variance", prior="boltzmann")
