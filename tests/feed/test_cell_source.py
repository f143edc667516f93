"""Cells read a dispatch at a time train the same model as cells in memory, to the last bit."""

import dataclasses
import time

import jax
import numpy as np
import pytest
import scipy.sparse
from small_training import newest_step

from qbm_jax import samplers, training
from qbm_jax.data import simulate
from qbm_jax.errors import InputError
from qbm_jax.feed.cell_source import GRANULE, CellBlock, Streamed
from qbm_jax.feed.minibatches import block_order, gather, to_device
from qbm_jax.fitted.trainings import fit_trainings
from qbm_jax.model import inference, vae
from qbm_jax.model.options import ModelOptions
from qbm_jax.training import TrainingStopped, TrainOptions
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.training.step import build_vmapped_dispatch

GENES, CELLS = 12, 60
KEY = jax.random.key(0)
OPTIONS = TrainOptions(
    num_epochs=3, minibatch_size=8, validate_every=2, num_chains=16, max_steps_per_dispatch=3,
    kl_warmup_epochs=1.0, learning_rate=0.02, couplings_delay=0.0, block_size=4,
)  # fmt: skip


class Shelf:
    """Cells in memory, handed out as a file would; fails at the reads asked for."""

    def __init__(self, counts, batch, failing=()):
        self.counts, self.batch, self.failing = counts, batch, failing
        self.num_cells, self.num_genes = counts.shape
        self.max_nonzeros = int(np.diff(counts.indptr).max())
        self.reads = []

    def read(self, cells):
        self.reads.append(np.asarray(cells))
        if len(self.reads) - 1 in self.failing:
            raise InputError("cells.h5ad is damaged")
        rows = self.counts[cells]
        return CellBlock(rows.indptr.astype(np.int64), rows.indices, rows.data, self.batch[cells])


@pytest.fixture(scope="module")
def counts():
    generator = np.random.default_rng(0)
    on = (np.arange(GENES) // 6)[None] == (np.arange(CELLS) % 2)[:, None]
    dense = np.maximum(generator.poisson(np.where(on, 4.0, 0.5)), np.eye(CELLS, GENES))
    return scipy.sparse.csr_matrix(dense, dtype=np.float32)


BATCH = (np.arange(CELLS) % 3).astype(np.int32)


@pytest.fixture(scope="module")
def setting():
    model = vae.build(
        num_genes=GENES, num_batches=3, num_latents=5, likelihood="nb",
        encoder_widths=(8,), decoder_widths=(8,),
    )  # fmt: skip
    return model, samplers.build("gibbs", num_steps=2)


@pytest.fixture(scope="module")
def in_memory(setting, counts):
    data = to_device(counts.indptr, counts.indices, counts.data, BATCH, GENES)
    return training.train(KEY, *setting, data, OPTIONS)


def _assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("order", ["alone", pytest.param("together", marks=pytest.mark.slow)])
def test_streamed_cells_give_the_parameters_of_those_in_memory(setting, counts, in_memory, order):
    shelf = Streamed(Shelf(counts, BATCH))
    if order == "alone":
        streamed = training.train(KEY, *setting, shelf, OPTIONS)
    else:
        built = training.Built(*setting, OPTIONS)
        seeds = [training.Seed(key, built) for key in (jax.random.key(1), KEY)]
        streamed = training.train_seeds(seeds, shelf)[1]
        rows = training.train_seeds(seeds, shelf, method="vmap")[1]
        jax.tree.map(_close, rows.params, in_memory.params)
    _assert_equal(streamed.state, in_memory.state)
    _assert_equal(streamed.params, in_memory.params)


def test_a_streamed_training_stopped_within_an_epoch_goes_on_as_if_never_stopped(
    setting, counts, in_memory, tmp_path
):
    stops = iter([False, False, True])  # 6 steps an epoch in 2 dispatches: after 1.5 epochs
    shelf = Shelf(counts, BATCH)
    with pytest.raises(TrainingStopped, match="step 9"):
        training.train(
            KEY, *setting, Streamed(shelf), OPTIONS, checkpoints=Checkpoints(tmp_path),
            should_stop=lambda: next(stops),
        )  # fmt: skip
    resumed = training.train(
        KEY, *setting, Streamed(shelf), OPTIONS, checkpoints=Checkpoints(tmp_path)
    )
    _assert_equal(resumed.state, in_memory.state)


def test_cells_that_cannot_be_read_end_a_training_whose_state_is_kept(
    setting, counts, in_memory, tmp_path
):
    failing = Shelf(counts, BATCH, failing=(4,))  # validation cells, then the fourth dispatch
    with pytest.raises(InputError, match=r"cells\.h5ad is damaged"):
        training.train(KEY, *setting, Streamed(failing), OPTIONS, checkpoints=Checkpoints(tmp_path))
    assert newest_step(tmp_path) == 9
    resumed = training.train(
        KEY, *setting, Streamed(Shelf(counts, BATCH)), OPTIONS, checkpoints=Checkpoints(tmp_path)
    )
    _assert_equal(resumed.state, in_memory.state)


def test_the_speed_reported_has_the_wait_for_cells_in_it(setting, counts):
    class Slow(Shelf):
        def read(self, cells):
            time.sleep(0.05)
            return super().read(cells)

    trained = training.train(KEY, *setting, Streamed(Slow(counts, BATCH)), OPTIONS)
    assert trained.cells_per_second < 24 / 0.05 * 1.5  # a dispatch is 24 cells


def test_what_a_stream_has_read_ahead_is_the_cells_of_its_dispatches(counts):
    shelf = Shelf(counts, BATCH)
    dispatches = np.random.default_rng(0).integers(CELLS, size=(7, 2, 5))
    parts = list(Streamed(shelf).stream(dispatches))
    for (data, rows), cells in zip(parts, dispatches, strict=True):
        found = gather(data, rows[1])
        np.testing.assert_array_equal(found.counts, counts[cells[1]].toarray())
        np.testing.assert_array_equal(found.batch, BATCH[cells[1]])
    assert {data.values.shape for data, _ in parts} == {(GRANULE,)}  # one program for all


def test_blocks_are_all_cells_in_their_order(counts):
    sizes = []
    for where, data in Streamed(Shelf(counts, BATCH)).blocks(25):
        size = where.stop - where.start
        found = gather(data, np.arange(size)).counts
        np.testing.assert_array_equal(found, counts[where].toarray())
        assert data.num_cells == 25
        sizes.append(size)
    assert sizes == [25, 25, 10]


def test_cells_without_counts_are_rows_of_zeros():
    empty = scipy.sparse.csr_matrix((CELLS, GENES), dtype=np.float32)
    source = Streamed(Shelf(empty, BATCH))
    data, rows = source.select(np.arange(CELLS))
    gathered = gather(data, rows)
    np.testing.assert_array_equal(gathered.counts, np.zeros((CELLS, GENES)))


def test_embedding_by_blocks_is_the_embedding_in_memory(setting, counts, in_memory):
    model, _ = setting
    data = to_device(counts.indptr, counts.indices, counts.data, BATCH, GENES)
    embedding, energy = inference.embed(model, in_memory.params, data, width=8)
    source = Streamed(Shelf(counts, BATCH))
    blocks = inference.embed_blocks(model, in_memory.params, source, width=8, block_size=16)
    for where, found, found_energy in blocks:
        np.testing.assert_array_equal(found, embedding[where])
        np.testing.assert_array_equal(found_energy, energy[where])
    assert where.stop == CELLS


def test_an_order_of_blocks_visits_every_cell_once_and_keeps_neighbours_in_a_window():
    cells = np.arange(0, 2000, 2)
    order = block_order(KEY, 3, cells, block_size=20, window=200)
    np.testing.assert_array_equal(np.sort(order), cells)
    np.testing.assert_array_equal(order, block_order(KEY, 3, cells, 20, 200))
    assert np.any(order != block_order(KEY, 4, cells, 20, 200))
    for window in order.reshape(5, 200):
        assert np.any(np.diff(window) < 0)  # mixed
        runs = 1 + np.count_nonzero(np.diff(np.sort(window)) > 2)
        assert runs <= 12  # ten blocks, one of which may be cut, and one that wraps around


def test_blocks_of_another_epoch_have_other_borders():
    starts = {np.sort(block_order(KEY, e, np.arange(100), 10, 10)[:10])[0] % 10 for e in range(8)}
    assert len(starts) > 1


@pytest.mark.parametrize("method", ["threads", pytest.param("vmap", marks=pytest.mark.slow)])
def test_settings_that_differ_in_tunable_numbers_share_a_program_and_get_their_own_result(
    setting, counts, method
):
    data = to_device(counts.indptr, counts.indices, counts.data, BATCH, GENES)
    options = [dataclasses.replace(OPTIONS, kl_weight=w, learning_rate=r)
               for w, r in ((1.0, 0.02), (0.25, 0.02), (0.25, 0.005))]  # fmt: skip
    assert len({training.without_numbers(each) for each in options}) == 1
    seeds = [training.Seed(KEY, training.Built(*setting, each)) for each in options]
    together = training.train_seeds(seeds, data, method=method)
    for each, found in zip(options, together, strict=True):
        expected = training.train(KEY, *setting, data, each)
        close = np.testing.assert_array_equal if method == "threads" else _close
        jax.tree.map(close, found.params, expected.params)
    differences = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), *(
        result.params for result in together[:2]
    ))  # fmt: skip
    assert max(jax.tree.leaves(differences)) > 1e-3


def _close(a, b):
    np.testing.assert_allclose(a, b, atol=2e-4)


def test_settings_that_differ_in_more_are_not_trained_together(setting, counts):
    data = to_device(counts.indptr, counts.indices, counts.data, BATCH, GENES)
    options = [OPTIONS, dataclasses.replace(OPTIONS, num_epochs=4)]
    seeds = [training.Seed(KEY, training.Built(*setting, each)) for each in options]
    with pytest.raises(InputError, match="may differ in learning_rate"):
        training.train_seeds(seeds, data)


@pytest.mark.slow
def test_settings_that_differ_in_sharpness_and_pump_are_rows_of_one_program(counts):
    cells = simulate(KEY, "toy", num_cells=100, num_genes=20)
    trainings = [
        training.Training(
            ModelOptions(num_latents=4, relaxation="gumbel", sharpness=sharpness,
                             encoder_widths=(8,), decoder_widths=(8,)),
            # The gain is a float that cannot be traced: it is the same for all, and fixed.
            training.sampler_spec(
                "cim", {"num_steps": 5, "pump_end": pump, "calibration_gain": 0.5}
            ),
            dataclasses.replace(OPTIONS, num_epochs=1, validate_every=1),
        )
        for sharpness, pump in ((2.0, 1.5), (5.0, 1.5), (5.0, 2.5))
    ]  # fmt: skip
    build_vmapped_dispatch.cache_clear()
    rows = fit_trainings([KEY] * 3, trainings, cells, method="vmap")
    assert build_vmapped_dispatch.cache_info().currsize == 1
    alone = [fit_trainings([KEY], [each], cells)[0] for each in trainings]
    for (_, found), (_, expected) in zip(rows, alone, strict=True):
        jax.tree.map(_close, found.params, expected.params)
    weights = [np.asarray(trained.params["prior"].J) for _, trained in rows]
    assert all(np.abs(weights[i] - weights[j]).max() > 1e-4 for i, j in ((0, 1), (1, 2)))
