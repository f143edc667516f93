"""The unbiased gradient of true bits, against enumeration of three spins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from qbm_jax import objective, training
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import Minibatch, to_device
from qbm_jax.machine.enumeration import enumerate_spins
from qbm_jax.model import vae
from qbm_jax.objective import disarm
from qbm_jax.training import TrainOptions

N, GENES, DRAWS = 3, 6, 4000
KEY = jax.random.key(0)


def _build(**changes):
    options = {"relaxation": "straight_through", "likelihood": "poisson", **changes}
    return vae.build(
        num_genes=GENES, num_batches=2, num_latents=N, encoder_widths=(4,), decoder_widths=(4,),
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    """With logits as parameters instead of an encoder: gradients reach them as they are."""
    return _build()._replace(encode=lambda params, counts: params["logits"])


@pytest.fixture(scope="module")
def params(model):
    """A decoder whose weights are large enough to bend, and cells that are undecided."""
    params = jax.jit(model.init)(jax.random.key(1))
    decoder = jax.tree.map(lambda leaf: 2 * leaf, params["decoder"])
    logits = jnp.array([[-1.5, 0.3, 0.8], [2.0, -0.1, 0.0]])
    return {"logits": logits, "decoder": decoder, "prior": params["prior"], "genes": {}}


@pytest.fixture(scope="module")
def cells():
    counts = np.random.default_rng(0).poisson(2.0, (2, GENES)) + 1
    return Minibatch(counts=jnp.asarray(counts, jnp.float32), batch=jnp.array([0, 1]))


def _enumerated_reconstruction(model, params, cells):
    """Mean over cells of E_q[-log p(x | s)], summed over all states."""
    states = jnp.asarray(enumerate_spins(N))
    logits = model.encode(params, cells.counts)
    q = jnp.exp(jax.nn.log_sigmoid(states[None] * logits[:, None, :]).sum(-1))
    log_x = jax.vmap(
        lambda s: vae.log_likelihood(model, params, jnp.broadcast_to(s, (2, N)), cells), out_axes=1
    )(states)
    return jnp.mean(-jnp.sum(q * log_x, axis=1))


def test_the_mean_gradient_is_that_of_the_bound_summed_over_all_states(model, params, cells):
    """4,000 draws; all 81 numbers within 5.5 s.e.: fails by chance in less than 1 of 1e5 keys."""

    @jax.jit
    def draws(params):
        def value(params, key):
            return disarm.terms(model, params, key, cells).reconstruction.mean()

        keys = jax.random.split(KEY, DRAWS)
        values, gradients = jax.vmap(jax.value_and_grad(value), in_axes=(None, 0))(params, keys)
        return jax.tree.map(lambda x: (x.mean(0), x.std(0) / DRAWS**0.5), (values, gradients))

    exact = jax.jit(jax.value_and_grad(lambda p: _enumerated_reconstruction(model, p, cells)))
    got, want = draws(params), exact(params)
    for part in ("logits", "decoder"):
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(want[1][part])) > 0.1

    def compare(want, got):
        mean, error = got
        assert np.all(np.abs(mean - want) <= 5.5 * error + 1e-5)

    jax.tree.map(compare, want, got)


def test_the_kl_terms_are_those_of_the_bound_and_the_slope_changes_no_value(model, params, cells):
    negatives = jnp.asarray(enumerate_spins(N)[:2])

    @jax.jit
    def everything(params, cells):
        bits = disarm.antithetic_bits(jax.random.split(KEY)[0], model.encode(params, cells.counts))
        losses = [-vae.log_likelihood(model, params, 2 * b - 1, cells) for b in bits]
        loss, got = objective.OBJECTIVES["disarm"](model, params, KEY, cells, negatives, 0.5)
        return got, loss, objective.terms(model, params, KEY, cells), losses

    got, loss, exact, losses = everything(params, cells)
    np.testing.assert_allclose(got.entropy, exact.entropy, rtol=1e-6)
    np.testing.assert_allclose(got.expected_energy, exact.expected_energy, rtol=1e-6)
    np.testing.assert_allclose(got.reconstruction, (losses[0] + losses[1]) / 2, rtol=1e-6)
    kl = objective.kl(got, objective.log_z_surrogate(params["prior"], negatives))
    np.testing.assert_allclose(loss, np.mean(got.reconstruction + 0.5 * kl), rtol=1e-6)


def test_both_draws_have_the_posteriors_probabilities_and_differ_where_it_is_open():
    """20,000 draws of 5 logits; 10 means within 5 s.e.: fails by chance in 1 of 1e5 keys."""
    logits = jnp.broadcast_to(jnp.array([-3.0, -0.5, 0.0, 1.0, 4.0])[None], (20_000, 5))
    bits = np.asarray(disarm.antithetic_bits(KEY, logits))
    q = np.asarray(jax.nn.sigmoid(logits[0]))
    assert np.all(np.abs(bits.mean(1) - q) < 5 * np.sqrt(q * (1 - q) / 20_000))
    np.testing.assert_array_equal(bits[0, :, 2] + bits[1, :, 2], 1)  # at q = 1/2 always opposite


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_seeds_trained_with_it_lower_the_loss_of_toy_cells(num_seeds):
    on = (np.arange(GENES) // 3)[None] == (np.arange(40) % 2)[:, None]
    counts = np.random.default_rng(0).poisson(np.where(on, 8.0, 0.5)) + np.eye(40, GENES, dtype=int)
    rows = scipy.sparse.csr_matrix(counts)
    data = to_device(rows.indptr, rows.indices, rows.data, np.arange(40) % 2, GENES)
    options = TrainOptions(
        objective="disarm", num_epochs=12, minibatch_size=12, validate_every=12,
        kl_warmup_epochs=1.0, learning_rate=0.03,
    )  # fmt: skip
    losses = []
    built = training.Built(_build(prior="bernoulli"), None, options)
    seeds = training.train_seeds(
        [training.Seed(key, built) for key in jax.random.split(KEY, num_seeds)], data,
        on_progress=lambda p: losses.append(p.metrics.get("reconstruction")), method="vmap",
    )  # fmt: skip

    # When written: 25 in the first epoch, 13 in the last.
    for seed, trained in enumerate(seeds):
        of_seed = losses[seed::num_seeds]
        assert of_seed[-2] < of_seed[1] - 5
        assert np.isfinite(float(trained.state.best_elbo))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prior": "gaussian"}, "needs bits, got prior gaussian"),
        ({"relaxation": "spike_exponential"}, "set relaxation to straight_through"),
        ({"posterior": "two_groups"}, "needs posterior factorial, got two_groups"),
    ],
)
def test_models_without_independent_true_bits_are_refused_before_any_training(changes, words):
    with pytest.raises(InputError, match=words) as error:
        training.train(KEY, _build(**changes), None, None, TrainOptions(objective="disarm"))
    assert "\n" not in str(error.value)
