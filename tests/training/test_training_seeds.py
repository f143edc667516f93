"""Several seeds trained together, and cells held out, on sixty simulated cells."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.sparse
from small_training import newest_step

from qbm_jax import samplers, training
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import to_device
from qbm_jax.model import vae
from qbm_jax.training import TrainingDiverged, TrainingStopped, TrainOptions, together
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.training.plan import align
from qbm_jax.training.spec import Built, Seed

N, GENES, CELLS = 5, 12, 60
KEYS = jax.random.split(jax.random.key(0))
OPTIONS = TrainOptions(
    num_epochs=2, minibatch_size=8, validate_every=1, num_chains=16, max_steps_per_dispatch=3,
    kl_warmup_epochs=1.0, learning_rate=0.02, couplings_delay=0.0,
)  # fmt: skip
HELD_OUT = np.arange(0, 12)


def _data(scale=1.0):
    """Poisson counts of two programmes; those of the cells `HELD_OUT` are multiplied."""
    generator = np.random.default_rng(0)
    on = (np.arange(GENES) // 6)[None] == (np.arange(CELLS) % 2)[:, None]
    counts = np.maximum(generator.poisson(np.where(on, 4.0, 0.5)), np.eye(CELLS, GENES))
    counts[HELD_OUT] *= scale
    rows = scipy.sparse.csr_matrix(counts)
    return to_device(rows.indptr, rows.indices, rows.data, np.arange(CELLS) % 2, GENES)


@pytest.fixture(scope="module")
def data():
    return _data()


@pytest.fixture(scope="module")
def setting():
    model = vae.build(
        num_genes=GENES, num_batches=2, num_latents=N, relaxation="straight_through",
        likelihood="poisson", encoder_widths=(8,), decoder_widths=(8,),
    )  # fmt: skip
    return model, samplers.build("gibbs", num_steps=2)


@pytest.fixture(scope="module")
def seeds(setting):
    return [Seed(key, Built(*setting, OPTIONS)) for key in KEYS]


@pytest.fixture(scope="module")
def alone(setting, data):
    return [training.train(key, *setting, data, OPTIONS) for key in KEYS]


def _assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
def test_seeds_together_on_threads_get_exactly_what_each_gets_alone(seeds, data, alone):
    reports = []
    together = training.train_seeds(seeds, data, method="threads", on_progress=reports.append)
    for one, same in zip(alone, together, strict=True):
        _assert_equal(one.state, same.state)
        _assert_equal(one.params, same.params)
        _assert_equal(one.validation_cells, same.validation_cells)
    # A start, then two epochs of two dispatches and a validation, each of both seeds.
    assert [report.seed for report in reports] == [0, 1] * 7
    assert [report.split for report in reports[::2]] == [
        "start", *["train", "train", "validation"] * 2,
    ]  # fmt: skip
    bounds = [report.metrics["elbo"] for report in reports if report.split == "validation"]
    assert len(set(bounds)) == 4


@pytest.mark.slow
def test_seeds_in_one_program_get_what_each_gets_alone(seeds, data, alone):
    together = training.train_seeds(seeds, data, method="vmap")
    for one, same in zip(alone, together, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
            (one.state.params, one.state.chains, one.state.best_elbo, one.state.best_epoch),
            (same.state.params, same.state.chains, same.state.best_elbo, same.state.best_epoch),
        )


@pytest.mark.slow
def test_seeds_in_one_program_get_the_same_with_every_lever_on(data):
    model = vae.build(
        num_genes=GENES, num_batches=2, num_latents=N, relaxation="gumbel", likelihood="poisson",
        encoder_widths=(8,), decoder_widths=(8,),
    )  # fmt: skip
    levers = {"free_bits": 0.05, "couplings_decay": 0.1, "sharpness_start": 0.5}
    built = Built(model, samplers.build("gibbs", num_steps=2), OPTIONS)
    with_levers = built._replace(options=dataclasses.replace(OPTIONS, **levers))
    runs = [
        training.train_seeds([Seed(key, each) for key in KEYS], data, method=method)
        for each, method in ((with_levers, "vmap"), (with_levers, "threads"), (built, "threads"))
    ]
    for one, same, plain in zip(*runs, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
            one.state.params, same.state.params,
        )  # fmt: skip
        moved = jax.tree.map(
            lambda a, b: np.abs(a - b).max(), same.state.params, plain.state.params
        )
        assert min(jax.tree.leaves((moved["encoder"], moved["prior"].J))) > 1e-5


def test_stopped_seeds_go_on_to_the_same_end(tmp_path, setting, seeds, data, alone):
    calls = iter(range(1, 9))
    with pytest.raises(TrainingStopped):
        training.train_seeds(
            seeds, data, checkpoints=Checkpoints(tmp_path), should_stop=lambda: next(calls) == 3
        )
    starts = []
    resumed = training.train_seeds(
        seeds, data, checkpoints=Checkpoints(tmp_path),
        on_progress=lambda progress: starts.append(progress.step),
    )  # fmt: skip
    assert starts[:2] == [9, 9]
    for one, same in zip(alone, resumed, strict=True):
        _assert_equal(one.state, same.state)
    with pytest.raises(InputError, match="another model"):
        training.train(KEYS[0], *setting, data, OPTIONS, checkpoints=Checkpoints(tmp_path))


def test_the_seed_that_diverges_is_named_and_all_last_good_states_are_kept(tmp_path, seeds):
    bad = _data(np.nan)  # seen by seed 1 alone
    with pytest.raises(TrainingDiverged, match="training of seed 1 diverged at step") as error:
        training.train_seeds(
            [seeds[0]._replace(held_out=HELD_OUT), seeds[1]], bad, checkpoints=Checkpoints(tmp_path)
        )
    assert "\n" not in str(error.value)
    assert newest_step(tmp_path) >= 0


def test_held_out_cells_have_no_part_in_training_or_in_the_choice_of_the_epoch(setting, data):
    first, other = (
        training.train(KEYS[0], *setting, cells, OPTIONS, held_out=HELD_OUT)
        for cells in (data, _data(7.0))
    )
    _assert_equal(first.state, other.state)  # best parameters, bound and epoch included
    used = np.concatenate([first.train_cells, first.validation_cells])
    np.testing.assert_array_equal(np.sort(used), np.setdiff1d(np.arange(CELLS), HELD_OUT))


@pytest.mark.parametrize("method", ["threads", "vmap"])
def test_every_training_of_a_group_has_its_own_key_state_cells_and_numbers(
    setting, monkeypatch, method
):
    """The programs give back what they were given; the second training is of another kind."""

    def given(key, rows, num_cells, numbers, count):
        weight, num_steps = float(numbers.options["kl_weight"]), numbers.schedule.num_steps
        return {"given": [(key, rows.tolist(), num_cells, weight, num_steps)] * count + ["none"]}

    def alone(key, data, state, rows, num_cells, numbers, count):
        return state, given(key, rows, num_cells, numbers, count)

    def rows_of_one(keys, data, states, rows, num_cells, numbers, count):
        every = zip(keys, rows, num_cells, numbers, strict=True)
        return states, tuple(given(*each, count) for each in every)

    monkeypatch.setattr(together, "build_dispatch", lambda *_: alone)
    monkeypatch.setattr(together, "vmapped_dispatch", lambda *_: rows_of_one)
    weights = (0.25, 0.5, 1.0)
    built = [
        Built(*setting, dataclasses.replace(
            OPTIONS, kl_weight=weight, num_epochs=2 + (i == 1), max_steps_per_dispatch=3,
            free_bits=0.1 * (i == 1),
        ))
        for i, weight in enumerate(weights)
    ]  # fmt: skip
    counts = object()
    steps = [
        together.Step(f"key {i}", (counts, np.full((2, 1), i)), f"state {i}", i) for i in range(3)
    ]
    with together.SeedThreads(3) as threads:
        found = together.build_steps_of_seeds(built, 4, threads, method)(steps)
    for i, (state, metrics) in enumerate(found):
        assert state == f"state {i}"
        rows = [[i], [i], [0]]  # there is room for a third step, and two are taken
        assert metrics["given"] == 2 * [(f"key {i}", rows, i, weights[i], 4 * (2 + (i == 1)))]


def test_sets_of_different_size_take_the_steps_of_the_smallest():
    plans = [
        training.plan_epochs(CELLS, OPTIONS, key, held_out)
        for key, held_out in zip(KEYS, (None, HELD_OUT), strict=True)
    ]
    assert [plan.steps_per_epoch for plan in plans] == [6, 5 // 2 * 2]
    aligned = align(plans)
    assert [plan.steps_per_epoch for plan in aligned] == [4, 4]
    assert [plan.train_cells.size for plan in aligned] == [54, 43]
    visited = np.concatenate([
        np.ravel(rows) for rows in training.dispatches(KEYS[0], aligned[0], 0, 12)
    ])  # fmt: skip
    np.testing.assert_array_equal(np.unique(visited), plans[0].train_cells)  # all, in the end


@pytest.mark.parametrize(
    ("held_out", "words"),
    [
        (np.array([CELLS]), "held_out indices in 0 to 59, got 60"),
        (np.array([-1]), "got -1"),
        (np.zeros(CELLS, bool), "list of cell indices, got bool"),
        (np.arange(CELLS - 1), "at least 2 cells"),
    ],
)
def test_held_out_cells_that_cannot_be_used_are_refused(held_out, words):
    with pytest.raises(InputError, match=words) as error:
        training.plan_epochs(CELLS, OPTIONS, KEYS[0], held_out)
    assert "\n" not in str(error.value)


def test_no_seeds_unknown_methods_and_parameters_of_some_seeds_alone_are_refused(seeds, data):
    with pytest.raises(InputError, match="threads, vmap"):
        training.train_seeds(seeds, data, method="pmap")
    with pytest.raises(InputError, match="at least one seed"):
        training.train_seeds([], data)
    with pytest.raises(InputError, match="for every seed or for none, got 1 of 2"):
        training.train_seeds([seeds[0], seeds[1]._replace(params={})], data)


@pytest.mark.parametrize(
    ("asked", "steps_per_epoch", "room"), [(100, 7, 100), (10**6, 7, 1000), (10**6, 5000, 5000)]
)
def test_dispatches_have_no_room_for_more_steps_than_an_epoch_may_have(
    asked, steps_per_epoch, room, monkeypatch
):
    """A million steps a dispatch, for as many as there are, took gigabytes of empty rows."""
    given = []

    def dispatch(key, data, state, rows, *rest):
        given.append(rows.shape)
        return state, {}

    monkeypatch.setattr(together, "build_dispatch", lambda *program: dispatch)
    options = TrainOptions(max_steps_per_dispatch=asked)
    one = Built(vae.build(4, 1, prior="gaussian"), None, options)
    with together.SeedThreads(1) as threads:
        steps = together.build_steps_of_seeds([one], steps_per_epoch, threads, "threads")
        steps([together.Step(None, (None, np.zeros((5, 2), np.int32)), None, 1)])
    assert given == [(room, 2)]


def test_an_unknown_objective_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"unknown objective .*; choose from bound"):
        TrainOptions(objective="elbo")
