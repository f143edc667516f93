"""What connects objective, optimiser and validation to a training's numbers, on twenty cells."""

import dataclasses
import itertools
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from qbm_jax import objective, training
from qbm_jax.feed.minibatches import to_device
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.model import vae
from qbm_jax.runtime import keys
from qbm_jax.samplers.base import Sampler
from qbm_jax.training import TrainOptions, evaluation, plan
from qbm_jax.training import run as training_run
from qbm_jax.training.state import build_optimiser, copied
from qbm_jax.training.step import build_dispatch, build_sharpness_schedule

GENES, CELLS, N = 8, 20, 4
KEY = jax.random.key(5)


def low_bits(key):
    """What a float32 holds exactly of a key."""
    return (jax.random.key_data(key).ravel()[-1] & 0xFFFF).astype(jnp.float32)


def build(**options):
    return vae.build(**{
        "num_genes": GENES, "num_batches": 2, "num_latents": N, "likelihood": "poisson",
        "relaxation": "straight_through", "encoder_widths": (4,), "decoder_widths": (4,), **options,
    })  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).poisson(2.0, (CELLS, GENES)) + np.eye(CELLS, GENES, dtype=int)


@pytest.fixture(scope="module")
def data(counts):
    rows = scipy.sparse.csr_matrix(counts)
    return to_device(rows.indptr, rows.indices, rows.data, np.arange(CELLS) % 2, GENES)


def probe(vae, params, key, cells, negatives, weight, num_cells, sharpness):
    """A loss with gradient 1 everywhere, whose terms are the arguments it was given.

    Where the sharpness grows, its progress stands in place of the number of cells.
    """
    loss = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))
    third = num_cells if sharpness is None else sharpness.progress
    given = (weight, low_bits(key), third, jnp.mean(negatives))
    return loss, objective.Terms(*(jnp.asarray(value, jnp.float32)[None] for value in given))


def _count_chains(key, params, chains):
    info = {"energy": jnp.zeros(()), "key": low_bits(key)}
    return jnp.full((2, N), chains, jnp.float32), chains + 1, info


COUNTER = Sampler(lambda key, params, num_chains: jnp.int32(0), None, _count_chains, True)


@pytest.fixture(scope="module", autouse=True)
def objectives():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(objective.OBJECTIVES, "probe", objective.Objective(probe))
        yield


@pytest.fixture(scope="module")
def options():
    return TrainOptions(
        objective="probe", num_epochs=4, minibatch_size=4, max_steps_per_dispatch=4, kl_weight=0.5,
        final_kl_weight=0.4, kl_warmup_epochs=1.5, learning_rate=0.1, final_learning_rate=0.2,
        couplings_rate=0.25, couplings_delay=0.5, validation_fraction=0.2, validate_every=1,
        num_chains=2, report_epoch="best",
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(model, data, options):
    """A training by the probe, its reports, what the bound was asked for, and what it was told."""
    return train_by_probe(model, data, options)


def train_by_probe(model, data, options):
    reports, asked = [], []
    elbos = iter([1.0, 3.0, 2.0, -1.0])

    def bound(key, vae, evaluate, data, params, cells, **given):
        asked.append((key, jax.tree.map(jnp.copy, params), np.asarray(cells), given))
        return dict.fromkeys(evaluation.CHECKED, 0.0) | {"elbo": next(elbos)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "bound", bound)
        result = training.train(KEY, model, COUNTER, data, options, on_progress=reports.append)
    return SimpleNamespace(result=result, reports=reports, asked=asked)


@pytest.fixture(scope="module")
def start(model, options):
    return training.init_state(KEY, model, COUNTER, build_optimiser(options, 16), 2)


@pytest.fixture(scope="module")
def steps(model, data, options, start):
    """Metrics of eight steps of a compiled call, four an epoch, and the state after them."""
    start = jax.tree.map(jnp.copy, start)
    rows = jnp.arange(32).reshape(8, 4) % CELLS
    state, metrics = build_dispatch(model, COUNTER, options, 4)(KEY, data, start, rows, 16.0)
    return state, {name: np.asarray(values) for name, values in metrics.items()}


def test_the_weight_of_the_kl_rises_by_one_share_a_step_to_the_weight_itself(steps):
    # 1.5 epochs of 4 steps: the first step has one sixth of 0.5, the sixth and later ones all.
    np.testing.assert_allclose(
        steps[1]["reconstruction"], 0.5 * np.array([1, 2, 3, 4, 5, 6, 6, 6]) / 6, rtol=1e-6
    )


def test_the_weight_of_the_kl_goes_to_its_last_share_in_the_second_half(
    model, data, options, steps
):
    """By the same program: a factor of 1 - 0.6 k / 8 in step k of the second eight."""
    state, rows = copied(steps[0]), jnp.arange(32).reshape(8, 4) % CELLS
    _, second = build_dispatch(model, COUNTER, options, 4)(KEY, data, state, rows, 16.0)
    wanted = 0.5 * (1 - 0.6 * np.arange(1, 9) / 8)
    np.testing.assert_allclose(second["reconstruction"], wanted, rtol=1e-6)
    assert float(second["reconstruction"][-1]) == pytest.approx(0.5 * 0.4)


def test_every_step_draws_with_keys_of_its_own_for_posterior_and_prior(steps):
    wanted = [jax.random.split(jax.random.fold_in(KEY, step)) for step in range(8)]
    np.testing.assert_array_equal(steps[1]["entropy"], [low_bits(pair[0]) for pair in wanted])
    np.testing.assert_array_equal(steps[1]["sampler/key"], [low_bits(pair[1]) for pair in wanted])
    drawn = np.concatenate([steps[1]["entropy"], steps[1]["sampler/key"]])
    assert len(set(drawn)) == 16


@pytest.fixture(scope="module")
def restarted(model, data, options, start):
    """Metrics of the same steps with chains from data and a sharpness that grows."""

    def restart(key, vae, params, cells, chains):
        del vae, params, chains
        return low_bits(key) + 0 * cells.batch[0]

    first = jax.tree.map(jnp.copy, start).replace(chains=jnp.zeros((), low_bits(KEY).dtype))
    sampler = training.Restarted.of(COUNTER, restart)
    growing = dataclasses.replace(options, sharpness_start=2.0)
    rows = jnp.arange(32).reshape(8, 4) % CELLS
    return build_dispatch(model, sampler, growing, 4)(KEY, data, first, rows, 16.0)[1]


def test_chains_from_data_start_each_step_with_keys_of_their_own_and_all_else_is_the_same(
    restarted, steps
):
    of_data = keys.named(KEY, "chains from data")
    wanted = [low_bits(jax.random.fold_in(of_data, step)) for step in range(8)]
    np.testing.assert_array_equal(restarted["library_kl"], wanted)
    assert len(set(map(float, wanted))) == 8
    for name in ("reconstruction", "entropy", "sampler/key"):
        np.testing.assert_array_equal(restarted[name], steps[1][name])


def test_the_sharpness_of_a_compiled_training_grows_over_half_of_its_steps(restarted):
    np.testing.assert_allclose(restarted["expected_energy"], np.arange(8) / 8, rtol=1e-6)


def test_chains_persist_and_their_spins_are_the_negatives(steps):
    np.testing.assert_array_equal(steps[1]["library_kl"], np.arange(8))
    assert int(steps[0].chains) == 8
    np.testing.assert_array_equal(steps[1]["expected_energy"], 16)


def test_a_training_reports_its_own_cells_epochs_and_means_over_a_dispatch(trained, options):
    train = [report for report in trained.reports if report.split == "train"]
    assert [report.epoch for report in train] == [1, 2, 3, 4]
    assert [report.step for report in train] == [4, 8, 12, 16]
    assert trained.result.train_cells.size == 16 and trained.result.validation_cells.size == 4
    assert {report.metrics["expected_energy"] for report in train} == {16.0}
    weights = [report.metrics["reconstruction"] for report in train]
    late = [0.5 * (1 - 0.6 * mean / 8) for mean in (2.5, 6.5)]  # of steps 1 to 4 and 5 to 8 of 8
    np.testing.assert_allclose(weights, [0.5 * 2.5 / 6, 0.5 * 5.75 / 6, *late], rtol=1e-6)
    assert [report.metrics["library_kl"] for report in train] == [1.5, 5.5, 9.5, 13.5]


def test_rates_decay_and_couplings_wait_by_the_steps_of_the_training(trained):
    """Adam moves by its rate where every gradient is 1; J waits half of 16 steps."""
    after = [params for _, params, _, _ in trained.asked]
    for epoch in (2, 3, 4):
        rates = [
            0.1 * (0.8 * 0.5 * (1 + math.cos(math.pi * step / 16)) + 0.2)
            for step in range(4 * epoch - 4, 4 * epoch)
        ]
        old, new = after[epoch - 2], after[epoch - 1]
        fields, couplings = (new["prior"].h - old["prior"].h), (new["prior"].J - old["prior"].J)
        np.testing.assert_allclose(fields, -sum(rates), rtol=1e-5)
        apart = couplings[~np.eye(N, dtype=bool)]
        np.testing.assert_allclose(apart, -0.25 * sum(rates) * (epoch > 2), rtol=1e-5)


def test_the_best_epoch_is_the_one_with_the_highest_validation_bound(trained):
    state = trained.result.state
    assert float(state.best_elbo) == 3.0 and int(state.best_epoch) == 2
    jax.tree.map(np.testing.assert_array_equal, trained.result.params, trained.asked[1][1])
    with pytest.raises(AssertionError):
        jax.tree.map(np.testing.assert_array_equal, trained.result.params, state.params)


def test_the_last_epoch_is_reported_if_asked_for(trained, model, data, options):
    last = train_by_probe(model, data, dataclasses.replace(options, report_epoch="last")).result
    assert float(last.state.best_elbo) == -1.0 and int(last.state.best_epoch) == 4
    jax.tree.map(np.testing.assert_array_equal, last.params, last.state.params)
    jax.tree.map(np.testing.assert_array_equal, last.params, trained.result.state.params)


def test_every_validation_has_one_key_of_its_own_and_the_training_cells_share(trained):
    wanted = jax.random.key_data(jax.random.split(KEY, 5)[4])
    for key, _, cells, given in trained.asked:
        np.testing.assert_array_equal(jax.random.key_data(key), wanted)
        np.testing.assert_array_equal(np.sort(cells), trained.result.validation_cells)
        assert given["num_train_cells"] == 16
        assert given["num_temperatures"] == given["num_equilibration"] == 200


def test_parts_of_a_root_key_split_start_order_train_and_validate(model, options):
    built = training_run.Built(model, COUNTER, options)
    (seed,) = training_run.plan_seeds([training_run.Seed(KEY, built)], CELLS)
    parts = jax.random.split(KEY, 5)
    for key, wanted in zip(seed.keys, parts, strict=True):
        np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(wanted))
    order = np.asarray(jax.random.permutation(parts[0], CELLS))
    np.testing.assert_array_equal(seed.plan.validation_cells, np.sort(order[:4]))


def test_the_validation_share_is_of_cells_that_are_not_held_out_up_to_the_largest_number():
    held_out = np.arange(4)
    made = TrainOptions(validation_fraction=0.25)
    found = plan.plan_epochs(CELLS, made, KEY, held_out)
    assert found.validation_cells.size == 4 and found.train_cells.size == 12
    together = np.concatenate([found.train_cells, found.validation_cells, held_out])
    np.testing.assert_array_equal(np.sort(together), np.arange(CELLS))
    few = TrainOptions(validation_fraction=0.25, max_validation_cells=2)
    assert plan.plan_epochs(CELLS, few, KEY, held_out).validation_cells.size == 2


def test_an_epoch_takes_every_cell_once_and_each_epoch_in_another_order(options):
    made = plan.plan_epochs(CELLS, options, KEY)
    epochs = [np.concatenate(np.asarray(rows)) for rows in plan.dispatches(KEY, made, 0, 3)]
    for order in epochs:
        np.testing.assert_array_equal(np.sort(order), made.train_cells)
    assert not any((a == b).all() for a, b in itertools.pairwise(epochs))
    (last,) = plan.dispatches(KEY, made, 8, 3)  # resumed after two epochs of four steps
    np.testing.assert_array_equal(np.concatenate(np.asarray(last)), epochs[2])


@pytest.mark.parametrize(("epsilon", "decay"), [(1e-8, 0.0), (0.01, 0.4)])
def test_the_optimiser_is_adam_with_clip_cosine_and_late_slow_couplings_by_hand(epsilon, decay):
    options = TrainOptions(
        learning_rate=0.1, final_learning_rate=0.2, couplings_rate=0.25, couplings_delay=0.5,
        gradient_clip=5.0, couplings_decay=0.3, adam_epsilon=epsilon, weight_decay=decay,
    )  # fmt: skip
    rng, num_steps = np.random.default_rng(1), 8
    params = {"w": np.array([1.0, -2.0, 0.5]), "J": np.array([[0.0, 0.7], [0.7, 0.0]])}
    tree = {"w": jnp.asarray(params["w"], jnp.float32)}
    tree["prior"] = Boltzmann(jnp.asarray(params["J"], jnp.float32), jnp.zeros(2))
    optimiser = build_optimiser(options, num_steps)
    state, first, second = optimiser.init(tree), {"w": 0.0, "J": 0.0}, {"w": 0.0, "J": 0.0}
    for step in range(num_steps):
        size = 10.0 ** (step % 3 - 1)  # some are clipped, some are not
        gradient = {name: size * rng.normal(size=value.shape) for name, value in params.items()}
        given = {"w": jnp.asarray(gradient["w"], jnp.float32)}
        given["prior"] = Boltzmann(jnp.asarray(gradient["J"], jnp.float32), jnp.zeros(2))
        updates, state = optimiser.update(given, state, tree)
        tree = jax.tree.map(jnp.add, tree, updates)
        norm = math.sqrt(sum((value**2).sum() for value in gradient.values()))
        rate = 0.1 * (0.8 * 0.5 * (1 + math.cos(math.pi * step / num_steps)) + 0.2)
        for name, value in gradient.items():
            value = value * min(1, 5.0 / norm) + decay * params[name]
            first[name] = 0.9 * first[name] + 0.1 * value
            second[name] = 0.999 * second[name] + 0.001 * value**2
            mean = first[name] / (1 - 0.9 ** (step + 1))
            moved = mean / (np.sqrt(second[name] / (1 - 0.999 ** (step + 1))) + epsilon)
            if name == "J":
                moved = (moved + 0.3 * params["J"]) * (0.0 if step < 4 else 0.25)
            params[name] = params[name] - rate * moved
        np.testing.assert_allclose(tree["w"], params["w"], rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(tree["prior"].J, params["J"], rtol=2e-5, atol=1e-6)


def test_free_bits_of_a_compiled_step_let_the_kl_move_informed_latents_alone(data):
    """All other parameters are 0: the decoder reads no latent, and the KL alone moves the logits.

    Its slope p (1 - p) (logit - 2 h) is above 0 where the logit is, h being 0, and the first step
    of Adam moves by the rate. A logit of 4 tells 0.60 nats, one of 1 tells 0.11.
    """
    model = build(prior="bernoulli")
    options = TrainOptions(
        free_bits=0.4, num_epochs=1, learning_rate=0.1, final_learning_rate=1.0, kl_warmup=0.0
    )
    made = jax.eval_shape(
        lambda: training.init_state(KEY, model, None, build_optimiser(options, 1), 2)
    )
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), made)
    logits = np.array([4.0, 1.0, -4.0, -1.0], np.float32)
    state.params["encoder"]["params"]["Dense_0"]["bias"][:] = logits
    rows = np.arange(4)[None]
    new = build_dispatch(model, None, options, 1)(KEY, data, state, rows, 16.0)[0].params
    found = new["encoder"]["params"]["Dense_0"]["bias"]
    np.testing.assert_allclose(found, logits - [0.1, 0, -0.1, 0], rtol=1e-6)
    # The prior follows all latents: h has slope tanh(h) - tanh(logit / 2).
    np.testing.assert_allclose(new["prior"]["h"], 0.1 * np.sign(logits), rtol=1e-5)


def test_the_sharpness_is_the_models_own_from_half_of_the_training_on():
    schedule = build_sharpness_schedule(TrainOptions(sharpness_start=2.0), 10)
    found = [schedule(jnp.int32(step)) for step in (0, 1, 4, 5, 9)]
    assert [float(value[0]) for value in found] == [2.0] * 5
    np.testing.assert_allclose([float(value[1]) for value in found], [0, 0.2, 0.8, 1, 1], rtol=1e-6)


def test_a_bound_averages_draws_of_separate_noise_and_has_every_term():
    model = build()
    model = model._replace(likelihood=model.likelihood._replace(global_kl=lambda genes: 12.0))
    J = np.array([[0, 0.3, 0, 0.1], [0.3, 0, -0.4, 0], [0, -0.4, 0, 0.2], [0.1, 0, 0.2, 0]])
    h = np.array([0.2, -0.1, 0.4, 0.0])
    prior = Boltzmann(jnp.asarray(J, jnp.float32), jnp.asarray(h, jnp.float32))
    states = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T
    log_z = np.log(np.exp(0.5 * np.einsum("si,ij,sj->s", states, J, states) + states @ h).sum())
    seen = []

    def evaluate(key, data, params, cells):
        seen.append(tuple(np.asarray(jax.random.key_data(key)).tolist()))
        draw = len(seen)
        return {"reconstruction": 10.0 * draw, "entropy": 1.0 * draw, "expected_energy": 2.0 * draw,
                "library_kl": 0.5 * draw}  # fmt: skip

    params = {"prior": prior, "genes": {}}
    whole = SimpleNamespace(num_cells=24)
    found = evaluation.bound(
        KEY, model, evaluate, whole, params, np.arange(5), num_draws=3, num_train_cells=6
    )
    terms_key = jax.random.split(KEY)[0]
    wanted = [jax.random.key_data(jax.random.fold_in(terms_key, i)).tolist() for i in range(3)]
    assert seen == [tuple(each) for each in wanted] and len(set(seen)) == 3
    assert found["reconstruction"] == 20 and found["global_kl"] == 2
    assert found["log_z"] == pytest.approx(log_z, rel=1e-5)
    assert found["kl"] == pytest.approx(4 - 2 + log_z + 1 + 2, rel=1e-5)
    assert found["elbo"] == pytest.approx(-20 - found["kl"], rel=1e-6)
    found = evaluation.bound(KEY, model, evaluate, whole, params, np.arange(5))
    assert found["global_kl"] == 0.5  # all 24 cells share without a number


def test_terms_are_means_over_cells_in_chunks_of_separate_noise(monkeypatch, model, data, counts):
    def terms(vae, params, key, cells):
        totals = jnp.sum(cells.counts, axis=-1)
        key_term = jnp.full_like(totals, low_bits(key))
        return objective.Terms(totals, key_term, cells.batch.astype(jnp.float32), 0 * totals)

    monkeypatch.setattr(objective, "terms", terms)
    cells = np.array([1, 3, 5, 8])
    found = evaluation.build_evaluation(model, 3)(KEY, data, {}, cells)
    assert found["reconstruction"] == pytest.approx(counts[cells].sum(axis=1).mean(), rel=1e-6)
    chunks = [float(low_bits(jax.random.fold_in(KEY, i))) for i in range(2)]
    assert found["entropy"] == pytest.approx((3 * chunks[0] + chunks[1]) / 4, rel=1e-6)
    assert found["expected_energy"] == 0.75  # cells 1, 3, 5 are of batch 1
