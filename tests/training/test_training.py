"""The step, the loop, and a run that stops and goes on, on sixty simulated cells.

Guards qbm_jax.training.loop and qbm_jax.training.outcomes.
"""

import dataclasses
import functools
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from qbm_jax import samplers, training
from qbm_jax.errors import InputError
from qbm_jax.feed import minibatches
from qbm_jax.feed.minibatches import gather, to_device
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import enumerate_spins, log_weights
from qbm_jax.model import inference, vae
from qbm_jax.model.presets import PRESETS
from qbm_jax.training import (
    TrainingDiverged,
    TrainingStopped,
    TrainOptions,
    build_optimiser,
    init_state,
)
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.training.options import (
    OF_THE_LOOP,
    check_applicable,
    option_numbers,
    program_options,
    schedule_of,
)
from qbm_jax.training.spec import Numbers
from qbm_jax.training.step import build_sharpness_schedule, many_steps

N, GENES, CELLS = 5, 12, 60
KEY = jax.random.key(0)
OPTIONS = TrainOptions(
    num_epochs=4, minibatch_size=8, validate_every=1, num_chains=16, max_steps_per_dispatch=3,
    kl_warmup_epochs=1.0, learning_rate=0.02, couplings_delay=0.0, couplings_rate=0.05,
    kl_weight=1.0, report_epoch="best",
)  # fmt: skip
STEPS = 24  # 54 cells in training: 6 minibatches an epoch, in 2 dispatches of 3 steps


@pytest.fixture(scope="module")
def counts():
    """Two programmes of six genes that exclude each other."""
    generator = np.random.default_rng(0)
    kind = np.arange(CELLS) % 2
    mean = np.where((np.arange(GENES) // 6)[None] == kind[:, None], 4.0, 0.5)
    return np.maximum(generator.poisson(mean), np.eye(CELLS, GENES, dtype=int))


def _device(counts):
    rows = scipy.sparse.csr_matrix(counts)
    return to_device(rows.indptr, rows.indices, rows.data, np.arange(len(counts)) % 2, GENES)


@pytest.fixture(scope="module")
def data(counts):
    return _device(counts)


def _build(prior="boltzmann", num_latents=N, relaxation="straight_through", sharpness=None):
    return vae.build(
        num_genes=GENES, num_batches=2, prior=prior, num_latents=num_latents,
        relaxation=relaxation, sharpness=sharpness, likelihood="poisson",
        encoder_widths=(8,), decoder_widths=(8,), start="lecun",
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return _build()


@pytest.fixture(scope="module")
def sampler():
    return samplers.build("gibbs", num_steps=2)


@pytest.fixture(scope="module")
def run(model, sampler, data):
    """One uninterrupted training without checkpoints: the result and its progress reports."""
    reports = []
    trained = training.train(KEY, model, sampler, data, OPTIONS, on_progress=reports.append)
    return trained, reports


def _assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(tmp_path, run, model, sampler, data):
    for stop_after in (3, 4):  # inside an epoch, and at the end of one
        calls = iter(range(1, 100))
        with pytest.raises(TrainingStopped):
            training.train(
                KEY, model, sampler, data, OPTIONS, checkpoints=Checkpoints(tmp_path),
                should_stop=lambda calls=calls, n=stop_after: next(calls) == n,
            )  # fmt: skip
    starts = []
    resumed = training.train(
        KEY, model, sampler, data, OPTIONS, checkpoints=Checkpoints(tmp_path),
        on_progress=lambda progress: starts.append(progress.step),
    )  # fmt: skip
    assert starts[0] == 3 * (3 + 4)
    _assert_equal(resumed.state, run[0].state)  # parameters, optimiser, chains, best, step
    _assert_equal(resumed.params, run[0].params)
    assert int(resumed.state.step) == STEPS


def test_a_complete_run_is_restored_and_not_trained_further(tmp_path, run, model, sampler, data):
    Checkpoints(tmp_path).save(STEPS, run[0].state)
    again = training.train(KEY, model, sampler, data, OPTIONS, checkpoints=Checkpoints(tmp_path))
    _assert_equal(again.state, run[0].state)


@pytest.mark.parametrize("prior", ["bernoulli", "gaussian"])
def test_states_without_a_sampler_survive_a_checkpoint(tmp_path, prior):
    model = _build(prior)
    optimiser = training.build_optimiser(OPTIONS, STEPS)
    state = training.init_state(KEY, model, None, optimiser, 4)
    Checkpoints(tmp_path).save(0, state)
    _assert_equal(Checkpoints(tmp_path).restore(state), state)


def test_equal_runs_share_one_compilation_of_the_step(run, model, sampler):
    # Fresh and resumed runs, before and after their best parameters change: all of the above.
    assert (
        training.build_dispatch(model, sampler, program_options(OPTIONS), None)._cache_size() == 1
    )


def test_another_number_of_cells_needs_no_program_and_its_room_changes_no_bit(
    counts, model, sampler, monkeypatch
):
    options = dataclasses.replace(OPTIONS, num_epochs=2, max_steps_per_dispatch=100)
    found = []
    for exact in (False, True):  # the second with room for what there is alone
        if exact:
            monkeypatch.setattr(minibatches, "room", lambda count, parts=1: max(count, 1))
            options = dataclasses.replace(options, max_steps_per_dispatch=6)
        data = _device(counts[:-3])
        trained = training.train(KEY, model, sampler, data, options)
        found.append((trained.state, *inference.embed(model, trained.params, data)))
        if not exact:
            program = training.build_dispatch(model, sampler, program_options(OPTIONS), None)
            compiled = [program, inference._encode_rows]
            before = [program._cache_size() for program in compiled]
            more = _device(counts[:-1])
            longer = dataclasses.replace(options, num_epochs=3, kl_warmup_epochs=1.0)
            trained = training.train(KEY, model, sampler, more, longer)
            inference.embed(model, trained.params, more)
            assert [program._cache_size() for program in compiled] == before
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_what_the_loop_alone_reads_is_in_no_program(model, sampler, data):
    """A field of `OF_THE_LOOP` that the steps read would be at its default there, in silence."""
    options = dataclasses.replace(
        OPTIONS, num_steps=7, num_epochs=5, minibatch_size=3, couplings_delay=0.9, kl_warmup=0.7,
        kl_warmup_epochs=3.3, validation_fraction=0.4, validate_every=4, patience=2, num_retries=3,
        validation_temperatures=11, max_steps_per_dispatch=9, num_chains=5, block_size=2,
        max_validation_cells=17, report_epoch="best",
    )  # fmt: skip
    defaults = training.TrainOptions()
    assert all(getattr(options, name) != getattr(defaults, name) for name in OF_THE_LOOP)
    state = training.init_state(KEY, model, sampler, training.build_optimiser(OPTIONS, 9), 16)
    numbers = Numbers(option_numbers(options), None, {}, schedule_of(options, 4))
    programs = [
        str(jax.make_jaxpr(many_steps(model, sampler, each, None))(
            KEY, data, state, jnp.zeros((2, 8), jnp.int32), 1, numbers, 2
        ))
        for each in (options, program_options(options))
    ]  # fmt: skip
    strip = [re.sub(r"0x[0-9a-f]+", "", program) for program in programs]
    assert strip[0] == strip[1]


def test_tracing_happens_once_per_shape(model, sampler, data, caplog):
    traces = []

    def encode(params, counts):
        traces.append(counts.shape)
        return model.encode(params, counts)

    options = dataclasses.replace(OPTIONS, num_epochs=2, couplings_rate=0.2)
    with caplog.at_level("INFO", "qbm_jax"):
        training.train(KEY, model._replace(encode=encode), sampler, data, options)
    begin, done = caplog.messages  # for both epochs
    assert "compiling" in begin and "compiling" in done
    # The body of a scan is traced twice at most; four dispatches and two validations trace no more.
    assert set(traces) == {(8, GENES), (256, GENES)}
    assert max(traces.count(shape) for shape in set(traces)) <= 2


def test_golden_step(model, sampler, data):
    """One step's metrics, as they were when the model was checked by the other tests.

    If you changed the model, the sampler or the use of keys on purpose, put the new values here.
    If you did not, a failure is the fault to look for.
    """
    optimiser = training.build_optimiser(OPTIONS, STEPS)
    state = training.init_state(KEY, model, sampler, optimiser, 16)
    couplings = 0.2 * (jnp.ones((N, N)) - jnp.eye(N))  # so that the energy is more than zero
    machine = Boltzmann(J=couplings, h=jnp.linspace(-1, 1, N))
    state = state.replace(params={**state.params, "prior": machine})
    step = functools.partial(training.train_step, model, sampler, optimiser, lambda step: 1.0)
    state, metrics = jax.jit(step)(KEY, data, state, jnp.arange(8))
    golden = {
        "entropy": 3.09375,
        "expected_energy": 0.49970,
        "gradient_norm": 19.04676,
        "library_kl": 0.0,
        "reconstruction": 36.98475,
        "sampler/energy": -1.86250,
        "sampler/is_finite": 1.0,
    }
    assert set(metrics) == set(golden)
    for name, value in golden.items():
        # Other versions of JAX round differently, but draw the same random numbers.
        np.testing.assert_allclose(metrics[name], value, rtol=2e-3, err_msg=name)
    assert int(state.step) == 1


# Fault 4 of public implementations: the machine that is sampled is not the one in the loss.
def test_the_sampler_gets_the_machine_of_the_loss(model, sampler, data):
    seen = []

    def sample(key, params, state):
        seen.append(params)
        return sampler.sample(key, params, state)

    optimiser = training.build_optimiser(OPTIONS, STEPS)
    state = training.init_state(KEY, model, sampler, optimiser, 16)
    spy = sampler._replace(sample=sample)
    jax.eval_shape(
        lambda state: (
            training.train_step(
                model, spy, optimiser, lambda step: 1.0, KEY, data, state, jnp.arange(8)
            ),
            seen.append(state.params["prior"]),
        )[0][1],
        state,
    )
    sampled, in_loss = seen
    assert sampled.J is in_loss.J and sampled.h is in_loss.h


def test_an_ising_machine_gets_the_energies_of_the_loss(run):
    machine = run[0].params["prior"]
    states = enumerate_spins(N)
    want = model_energies = np.asarray(_build().prior.expected_energy(machine, 60 * states))
    linear, quadratic, constant = boltzmann.to_bit_form(machine)
    bits = boltzmann.spins_to_bits(states)
    bit_energy = -(bits @ linear) - 0.5 * jnp.sum((bits @ quadratic) * bits, axis=1) - constant
    np.testing.assert_allclose(bit_energy, want, atol=1e-5)
    gauge = jnp.concatenate([states, jnp.ones((len(states), 1))], axis=1)
    for sign in (1, -1):  # the whole configuration flipped is the same state
        energy = boltzmann.energy(boltzmann.with_gauge_spin(machine), sign * gauge)
        np.testing.assert_allclose(energy, model_energies, atol=1e-5)
        np.testing.assert_array_equal(boltzmann.remove_gauge_spin(sign * gauge), states)


def test_couplings_stay_symmetric_with_a_zero_diagonal(run):
    for prior in (run[0].params["prior"], run[0].state.params["prior"]):
        np.testing.assert_array_equal(prior.J, prior.J.T)
        np.testing.assert_array_equal(np.diagonal(prior.J), 0)
    assert np.abs(run[0].state.params["prior"].J).max() > 1e-3


def test_couplings_follow_their_own_rate_and_the_rest_does_not():
    machine = Boltzmann(J=jnp.zeros((3, 3)), h=jnp.zeros(3))
    params = {"encoder": jnp.zeros(3), "prior": machine}
    gradient = jax.tree.map(jnp.ones_like, params)
    updates = {}
    for rate in (1.0, 0.1, 0.0):
        options = dataclasses.replace(OPTIONS, couplings_rate=rate)
        optimiser = training.build_optimiser(options, STEPS)
        updates[rate] = optimiser.update(gradient, optimiser.init(params), params)[0]
    full, tenth, frozen = (updates[rate] for rate in (1.0, 0.1, 0.0))
    np.testing.assert_allclose(tenth["prior"].J, 0.1 * full["prior"].J, rtol=1e-6)
    assert not np.any(frozen["prior"].J) and np.all(full["prior"].J < 0)
    for update in (tenth, frozen):
        _assert_equal(update["encoder"], full["encoder"])
        _assert_equal(update["prior"].h, full["prior"].h)


def test_couplings_wait_for_their_part_of_the_training():
    machine = Boltzmann(J=jnp.zeros((3, 3)), h=jnp.zeros(3))
    params = {"encoder": jnp.zeros(3), "prior": machine}
    gradient = jax.tree.map(jnp.ones_like, params)
    optimiser = training.build_optimiser(dataclasses.replace(OPTIONS, couplings_delay=0.25), 8)
    state, moved = optimiser.init(params), []
    for _ in range(4):
        updates, state = optimiser.update(gradient, state, params)
        moved.append(bool(np.any(updates["prior"].J)))
        assert np.all(updates["prior"].h) and np.all(updates["encoder"])
    assert moved == [False, False, True, True]


def test_couplings_decay_at_their_own_rate_and_nothing_else_does():
    machine = Boltzmann(J=jnp.ones((3, 3)) - jnp.eye(3), h=jnp.ones(3))
    params = {"encoder": jnp.ones(3), "prior": machine}
    still = jax.tree.map(jnp.zeros_like, params)
    options = dataclasses.replace(
        OPTIONS, learning_rate=0.1, final_learning_rate=1.0, couplings_rate=0.5,
        couplings_delay=0.25, couplings_decay=0.2,
    )  # fmt: skip
    optimiser = training.build_optimiser(options, 8)
    state, factors = optimiser.init(params), []
    for _ in range(4):
        updates, state = optimiser.update(still, state, params)
        factors.append(1 + updates["prior"].J[0, 1])
        _assert_equal(updates["encoder"], still["encoder"])
        _assert_equal(updates["prior"].h, still["prior"].h)
        _assert_equal(updates["prior"].J, updates["prior"].J.T)
    # They wait as the gradient's steps do; then 1 - learning_rate * couplings_rate * decay a step.
    np.testing.assert_allclose(factors, [1, 1, 1 - 0.01, 1 - 0.01], rtol=1e-6)


def test_sharpness_grows_over_the_first_half_of_the_training():
    schedule = build_sharpness_schedule(dataclasses.replace(OPTIONS, sharpness_start=0.5), 40)
    values = [float(schedule(jnp.asarray(step)).towards(8.0)) for step in (0, 10, 20, 39)]
    np.testing.assert_allclose(values, [0.5, 2, 8, 8], rtol=1e-6)
    assert build_sharpness_schedule(OPTIONS, 40) is None


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"prior": "gaussian"}, "sharpness_start must be 0 with prior gaussian"),
        ({"relaxation": "power_function"}, "power_function cannot change in a training"),
        ({"relaxation": "gumbel", "sharpness": 0.5}, "of at most 0.5, .* got 1$"),
    ],
)
def test_a_sharpness_that_cannot_grow_is_refused_before_anything_is_trained(model, words):
    options = dataclasses.replace(OPTIONS, sharpness_start=1.0)
    with pytest.raises(InputError, match=words) as error:
        training.train(KEY, _build(**model), None, None, options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("decoder", ["mlp", "linear"])
def test_minibatches_of_one_cell_are_refused_where_they_are_normalised_over(decoder):
    """Such a network gives the same for every cell, and learns nothing of any."""
    options = dataclasses.replace(OPTIONS, minibatch_size=1)
    check_applicable(options, vae.build(GENES, 2, decoder=decoder))
    with pytest.raises(InputError, match=r"minibatch_size must be at least 2 .* got 1") as error:
        check_applicable(options, vae.build(GENES, 2, decoder=decoder, normalisation="batch"))
    assert "\n" not in str(error.value)


def test_free_bits_are_for_the_bound_alone():
    with pytest.raises(InputError, match="free_bits must be 0 with objective kaiwu_qvae"):
        TrainOptions(objective="kaiwu_qvae", free_bits=0.1)


# Fault 7: best weights kept by reference are the last weights.
def test_best_parameters_are_kept_by_value_when_later_bounds_are_worse(run):
    trained, reports = run
    state = jax.tree.map(jnp.copy, trained.state).replace(best_elbo=jnp.asarray(-jnp.inf))
    best = training.keep_best(state, -10.0, 1)
    moved = best.replace(params=jax.tree.map(lambda leaf: leaf + 1, best.params))
    for worse in (-11.0, -10.0, float("nan")):
        kept = training.keep_best(moved, worse, 2)
        _assert_equal(kept.best_params, state.params)
        assert int(kept.best_epoch) == 1 and float(kept.best_elbo) == -10.0
    pairs = zip(jax.tree.leaves(best.params), jax.tree.leaves(best.best_params), strict=True)
    assert all(
        a is not b and a.unsafe_buffer_pointer() != b.unsafe_buffer_pointer() for a, b in pairs
    )
    elbos = [report.metrics["elbo"] for report in reports if report.split == "validation"]
    assert float(trained.state.best_elbo) == np.float32(max(elbos))
    assert int(trained.state.best_epoch) == 1 + int(np.argmax(elbos))


def test_a_later_worse_bound_does_not_change_what_is_returned(model, sampler, data, monkeypatch):
    elbos, snapshots = iter([-9.0, -5.0, -7.0, -8.0]), []
    true_bound = training.run.bound

    def scripted(key, vae, evaluate, data, params, cells, **options):
        snapshots.append(jax.tree.map(np.array, params))
        metrics = true_bound(key, vae, evaluate, data, params, cells, **options)
        return {**metrics, "elbo": next(elbos)}

    monkeypatch.setattr(training.run, "bound", scripted)
    trained = training.train(KEY, model, sampler, data, OPTIONS)
    _assert_equal(trained.params, snapshots[1])
    last = jax.tree.leaves(trained.state.params)
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(trained.params), last, strict=True))


# Fault 9: folds that are seeds, so that no cell is ever held out.
def test_validation_cells_are_never_in_a_training_minibatch():
    for key in jax.random.split(KEY, 3):
        plan = training.plan_epochs(CELLS, OPTIONS, key)
        rows = [np.asarray(r) for r in training.dispatches(KEY, plan, 0, 5)]
        assert not np.intersect1d(rows, plan.validation_cells).size
        everything = np.union1d(plan.train_cells, plan.validation_cells)
        np.testing.assert_array_equal(everything, np.arange(CELLS))
        assert len(plan.validation_cells) == 6
        np.testing.assert_array_equal(np.unique(rows), plan.train_cells)  # over 5 epochs, all
        for epoch in range(5):  # within one, none twice
            cells = np.concatenate([r.ravel() for r in rows[2 * epoch : 2 * epoch + 2]])
            assert len(np.unique(cells)) == len(cells) == 48


def test_dispatches_from_a_later_step_are_the_rest_of_all():
    plan = training.plan_epochs(CELLS, OPTIONS, KEY)
    every = [np.asarray(rows) for rows in training.dispatches(KEY, plan, 0, 4)]
    assert len(every) == 8
    for first in range(9):
        rest = [np.asarray(rows) for rows in training.dispatches(KEY, plan, 3 * first, 4)]
        _assert_equal(rest, every[first:])


def test_a_count_that_is_not_finite_stops_the_run_with_the_step_and_the_quantity(
    tmp_path, counts, model, sampler
):
    plan = training.plan_epochs(CELLS, OPTIONS, jax.random.split(KEY, 5)[0])
    order = jax.random.split(KEY, 5)[2]
    second = list(training.dispatches(order, plan, 0, 1))[1]
    bad = counts.astype(np.float32)
    bad[int(second[1, 0])] = np.nan  # met first in the second step of the second dispatch
    with pytest.raises(TrainingDiverged, match=r"at step 4: \w+ is not finite.*step 3 is kept"):
        training.train(
            KEY, model, sampler, _device(bad), OPTIONS, checkpoints=Checkpoints(tmp_path)
        )
    state = training.init_state(KEY, model, sampler, training.build_optimiser(OPTIONS, STEPS), 16)
    kept = Checkpoints(tmp_path).restore(state)
    assert int(kept.step) == 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept.params))


def test_a_bound_that_is_not_finite_stops_the_run(counts, model, sampler):
    plan = training.plan_epochs(CELLS, OPTIONS, jax.random.split(KEY, 5)[0])
    bad = counts.astype(np.float32)
    bad[plan.validation_cells[0]] = np.nan
    with pytest.raises(TrainingDiverged, match="at step 6: validation reconstruction"):
        training.train(KEY, model, sampler, _device(bad), OPTIONS)


def test_the_first_fault_is_the_earliest_and_its_cause():
    fine, bad = np.zeros(3), np.array([0, np.nan, 0])
    assert training.first_fault({"a": fine}) is None
    assert training.first_fault({"a": np.array([0, 0, np.inf]), "b": bad}) == (1, "b")
    # Whatever is bad makes the gradient bad too.
    assert training.first_fault({"gradient_norm": bad, "sampler/energy": bad}) == (
        1, "sampler/energy",
    )  # fmt: skip


def test_reported_bound_equals_its_enumeration(run, model, data):
    trained, reports = run
    report = reports[-1].metrics
    assert reports[-1].split == "validation" and reports[-1].epoch == 4
    machine = trained.state.params["prior"]
    np.testing.assert_allclose(report["log_z"], jax.nn.logsumexp(log_weights(machine)), rtol=1e-5)
    np.testing.assert_allclose(report["elbo"], -report["reconstruction"] - report["kl"], rtol=1e-6)
    logits = model.encode(trained.state.params, gather(data, trained.validation_cells).counts)
    states = enumerate_spins(N)
    log_q = jax.nn.log_sigmoid(states[None] * logits[:, None, :]).sum(-1)
    log_p = jax.nn.log_softmax(log_weights(machine))
    kl = jnp.sum(jnp.exp(log_q) * (log_q - log_p[None]), axis=1)
    np.testing.assert_allclose(report["kl"], kl.mean(), rtol=1e-4)
    assert report["kl"] > 0


def _coupled_programmes(num_cells):
    """Cells of four programmes of three genes, on or off as the spins of a planted ferromagnet."""
    generator = np.random.default_rng(0)
    states = np.asarray(enumerate_spins(4))
    weights = np.exp(0.2 * states.sum(axis=1) ** 2)  # J = 0.4 between all
    spins = states[generator.choice(16, num_cells, p=weights / weights.sum())]
    # In each programme two genes are on with the spin and one against it: totals say little.
    on = np.repeat(spins, 3, axis=1) * np.tile([1, 1, -1], 4) > 0
    return np.maximum(generator.poisson(np.where(on, 10.0, 0.5)), np.eye(num_cells, 12, dtype=int))


@pytest.mark.slow
def test_couplings_raise_the_bound_where_programmes_are_coupled(sampler):
    data = _device(_coupled_programmes(400))
    options = TrainOptions(
        num_epochs=30, minibatch_size=32, validate_every=30, num_chains=64,
        kl_warmup_epochs=1.0, learning_rate=0.02, couplings_rate=0.3, couplings_delay=0.0,
    )  # fmt: skip
    elbo = {}
    for prior in ("bernoulli", "boltzmann"):
        model = _build(prior)
        trained = training.train(
            KEY, model, sampler if prior == "boltzmann" else None, data, options
        )
        elbo[prior] = training.bound(
            KEY, model, training.build_evaluation(model), data, trained.params, np.arange(400),
            num_draws=8,
        )["elbo"]  # fmt: skip
    # When written: -34.47 without couplings, -32.70 with them.
    assert elbo["boltzmann"] > elbo["bernoulli"] + 0.5
    assert np.abs(trained.params["prior"].J).max() > 0.2


@pytest.mark.slow
def test_more_spins_than_cells_in_a_minibatch_and_in_the_set_work(sampler, data):
    options = dataclasses.replace(OPTIONS, num_epochs=1, validation_temperatures=5)
    trained = training.train(KEY, _build(num_latents=70), sampler, data, options)
    assert trained.params["prior"].J.shape == (70, 70)
    assert np.isfinite(float(trained.state.best_elbo))
    assert trained.state.chains.spins.shape == (70, 16)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_epochs", 0), ("num_epochs", 2.5), ("minibatch_size", 0), ("num_chains", -1),
        ("validate_every", 0), ("learning_rate", 0.0), ("learning_rate", float("nan")),
        ("gradient_clip", -1.0), ("couplings_rate", -0.1), ("kl_weight", float("nan")),
        ("validation_fraction", 0.0), ("validation_fraction", 1.0), ("free_bits", -0.1),
        ("couplings_decay", -1.0), ("sharpness_start", float("nan")),
    ],
)  # fmt: skip
def test_an_option_out_of_range_is_one_line_that_names_the_field(field, value):
    with pytest.raises(InputError, match=f"{field} must") as error:
        TrainOptions(**{field: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("num_cells", [2, 5, 9, 50])
def test_small_sets_have_both_parts_and_whole_minibatches(num_cells):
    plan = training.plan_epochs(num_cells, TrainOptions(), KEY)
    assert plan.train_cells.size + plan.validation_cells.size == num_cells
    assert plan.validation_cells.size >= 1 and plan.minibatch_size == plan.train_cells.size
    (rows,) = training.dispatches(KEY, plan, 0, 1)
    np.testing.assert_array_equal(np.sort(rows.ravel()), plan.train_cells)


@pytest.mark.parametrize("name", PRESETS)
def test_a_state_starts_with_the_types_it_keeps_so_its_step_is_compiled_once(name):
    arguments = dict(PRESETS[name].model)
    if arguments.get("library") == "latent":
        arguments["library_prior"] = ((1.0, 1.0),)
    model = vae.build(num_genes=7, num_batches=1, num_latents=4, **arguments)
    optimiser = build_optimiser(TrainOptions(), 10)
    start = functools.partial(
        init_state, vae=model, sampler=None, optimiser=optimiser, num_chains=2
    )
    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(start, jax.random.key(0)))
    assert not [jax.tree_util.keystr(path) for path, leaf in leaves if leaf.weak_type]


def test_a_divergence_keeps_its_seed_in_another_process():
    error = pickle.loads(pickle.dumps(TrainingDiverged("training of seed 3 diverged", 3)))
    assert error.seed == 3 and str(error) == "training of seed 3 diverged"
