"""Sparse rows against scipy, and which cells a step sees."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from qbm_jax.errors import InputError
from qbm_jax.feed.cell_source import CellBlock, Streamed
from qbm_jax.feed.minibatches import (
    LARGE,
    counts_bytes,
    dispatch_plan,
    epoch_order,
    gather,
    is_dense,
    pad_rows,
    room,
    scan_some,
    shuffled,
    stack_counts,
    to_device,
)


@pytest.fixture(scope="module")
def matrix():
    """Counts [9, 7] with an empty row, a full row, and the last row empty."""
    generator = np.random.default_rng(0)
    dense = generator.poisson(0.5, (9, 7))
    dense[3], dense[5], dense[8] = 0, np.arange(1, 8), 0
    return scipy.sparse.csr_matrix(dense)


def _device(matrix, dense=False):
    batch = np.arange(matrix.shape[0]) % 3
    return to_device(matrix.indptr, matrix.indices, matrix.data, batch, matrix.shape[1], dense)


both_forms = pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])


@both_forms
def test_gathered_rows_equal_the_dense_rows_of_scipy(matrix, dense):
    rows = np.array([8, 5, 3, 0, 5, 1])  # empty, full, repeated, out of order
    cells = jax.jit(gather)(_device(matrix, dense), rows)
    np.testing.assert_array_equal(cells.counts, matrix[rows].toarray())
    np.testing.assert_array_equal(cells.batch, rows % 3)
    assert cells.counts.dtype == jnp.float32


@both_forms
def test_gathered_rows_do_not_depend_on_the_order_of_the_stored_genes(matrix, dense):
    shuffled = matrix.copy()
    start, stop = shuffled.indptr[5:7]
    shuffled.indices[start:stop] = shuffled.indices[start:stop][::-1].copy()
    shuffled.data[start:stop] = shuffled.data[start:stop][::-1].copy()
    cells = jax.jit(gather)(_device(shuffled, dense), np.arange(6))
    np.testing.assert_array_equal(cells.counts, matrix[:6].toarray())


@pytest.mark.parametrize(("num_stored", "dense"), [(9, False), (10, True), (40, True)])
def test_zeros_are_stored_where_that_takes_at_most_twice_the_bytes(num_stored, dense):
    rows = np.resize(np.arange(8), num_stored)
    genes = np.arange(num_stored) // 8
    full = scipy.sparse.csr_matrix((np.ones(num_stored), (rows, genes)), (8, 5))
    data = to_device(full.indptr, full.indices, full.data, np.zeros(8), 5)
    assert data.dense == dense == is_dense(num_stored, 8, 5)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(data)) == counts_bytes(num_stored, 8, 5)


def test_sets_of_about_equal_size_share_the_shapes_of_dense_counts(matrix):
    fewer = _device(matrix[:-1], dense=True), _device(matrix[:-2], dense=True)
    shapes = [jax.tree.map(jnp.shape, data) for data in fewer]
    assert room(8) == room(7) and shapes[0] == shapes[1]


def test_an_epoch_visits_every_cell_once_in_an_order_fixed_by_key_and_epoch():
    key, cells = jax.random.key(0), jnp.arange(100, 150)
    order = epoch_order(key, 3, cells)
    np.testing.assert_array_equal(np.sort(order), cells)
    np.testing.assert_array_equal(order, epoch_order(key, 3, cells))
    assert np.any(order != epoch_order(key, 4, cells))
    assert np.any(order != epoch_order(jax.random.key(1), 3, cells))


@pytest.mark.parametrize("num_cells", [1, 7, 8, 100, 801, 1234])
@pytest.mark.parametrize("max_steps", [1, 3, 100])
def test_dispatches_fit_the_epoch_and_drop_less_than_one_minibatch_each(num_cells, max_steps):
    num_dispatches, steps = dispatch_plan(num_cells, 8, max_steps)
    minibatches = max(num_cells // 8, 1)
    assert 1 <= steps <= max_steps
    assert minibatches - num_dispatches < num_dispatches * steps <= minibatches


def test_padded_rows_hold_every_cell_once_with_weight_one():
    cells = np.array([4, 9, 2, 7, 5])
    rows, weights, num_chunks = pad_rows(cells, 3)
    assert rows.shape == weights.shape == (2, 3) and num_chunks == 2
    np.testing.assert_array_equal(rows[weights == 1], cells)
    np.testing.assert_array_equal(weights, [[1, 1, 1], [1, 1, 0]])
    assert set(rows.ravel()) == set(cells)


def test_rows_that_fill_their_chunks_are_not_padded():
    rows, weights, _ = pad_rows(np.arange(6), 3)
    np.testing.assert_array_equal(rows.ravel(), np.arange(6))
    assert weights.min() == 1


def test_there_is_room_for_more_chunks_in_which_no_cell_has_weight():
    rows, weights, num_chunks = pad_rows(np.arange(9), 3)
    assert rows.shape == (4, 3) and num_chunks == 3
    np.testing.assert_array_equal(weights.sum(axis=1), [3, 3, 3, 0])


def test_there_is_room_for_all_and_few_sizes():
    """Powers of two, or quarters between them for large arrays and where it is asked for."""
    for parts, most in ((1, 2.0), (4, 1.25)):
        sizes = [room(count, parts) for count in range(1, 2000)]
        assert all(count <= size < most * count + 1 for count, size in enumerate(sizes, 1))
        assert len(set(sizes)) <= 12 * parts
    assert room(0) == 1 and room(LARGE) == LARGE and room(LARGE + 1) == LARGE * 5 // 4


@pytest.mark.parametrize("size", [1, 2, 100, 1625, 1626])  # one sort, and from there on two
def test_a_shuffle_is_that_of_jax(size):
    key, values = jax.random.key(size), np.arange(size) + 7
    np.testing.assert_array_equal(shuffled(key, values), jax.random.permutation(key, values))


def test_a_scan_over_some_is_a_scan_over_these_and_compiled_once():
    scan = jax.jit(lambda x, count: scan_some(lambda s, x: (s + x, {"y": s * x}), 1.0, x, count))
    items = jnp.arange(1.0, 9.0)
    for count in (8, 3, 0):
        state, found = scan(items, count)
        wanted, each = jax.lax.scan(lambda s, x: (s + x, s * x), 1.0, items[:count])
        assert state == wanted
        np.testing.assert_array_equal(found["y"], np.r_[each, np.zeros(8 - count)])
    assert scan._cache_size() == 1


@pytest.mark.parametrize("where", ["in memory", "on disk"])
def test_more_stored_counts_than_an_int32_can_number_are_refused(where):
    one = np.broadcast_to(np.float32(1), (2**31,))  # takes no memory
    block = CellBlock(np.array([0, 2**31]), one, one, np.zeros(1, np.int32))
    with pytest.raises(InputError, match=r"at most 2147483647 .* got 2147483648; keep the cells"):
        if where == "in memory":
            to_device(*block, num_genes=2**31)
        else:
            reader = SimpleNamespace(num_cells=1, read=lambda cells: block)
            Streamed(reader).select(np.zeros(1, int))


@both_forms
def test_stacked_parts_are_the_parts_with_room_and_their_own_numbers_of_cells(dense):
    parts = [
        to_device(
            np.arange(cells + 1), np.zeros(cells, int), np.ones(cells), np.zeros(cells), 3, dense
        )
        for cells in (3, 40)
    ]
    stacked = stack_counts(parts)
    assert stacked.size.tolist() == [3, 40]
    for name in ("indptr", "indices", "values", "batch"):
        for row, part in zip(getattr(stacked, name), parts, strict=True):
            own = np.asarray(getattr(part, name))
            np.testing.assert_array_equal(row[: own.size], own)
            assert not np.any(row[own.size :])
