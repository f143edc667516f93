"""Counts on the device, and the order in which cells are visited.

Sets of about equal size share their compiled programs: arrays have room for more cells than there
are, and the number of cells is an argument. What is computed does not depend on the room.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from qbm_jax.errors import InputError

LARGE = 2**24  # entries of an array whose doubling a device would feel
MOST_STORED = 2**31 - 1  # counts that an int32 can number
DENSE_COST = 2  # counts with all their zeros may take so many times the bytes of sparse ones


def room(count: int, parts: int = 1) -> int:
    """So many that there is room for `count`, one of few sizes.

    Args:
      count: from 0 on.
      parts: sizes between a power of two and the next; from `LARGE` on at least four.
    """
    step = max(2 ** max(count - 1, 0).bit_length() // (2 * max(parts, 4 * (count > LARGE))), 1)
    return max(-(-count // step) * step, 1)


class DeviceCounts(struct.PyTreeNode):
    """Counts of a whole set in CSR form or dense, with each cell's experimental batch.

    Attributes:
      indptr: int32 [room for cells + 1], of the CSR form in either case; what is beyond the cells
        is not read.
      indices: int32 [room for nonzeros], gene of each stored count; not read if dense.
      values: float32 [room for nonzeros], or if dense [room for cells * genes], cell by cell.
      batch: int32 [room for cells], experimental batch code.
      size: int32, the number of cells.
      num_genes: number of genes.
      max_nonzeros: no fewer than the stored counts of any cell; the width of a gathered row.
      dense: whether zeros are stored too: a row is then read at once, not put together.
    """

    indptr: jax.Array
    indices: jax.Array
    values: jax.Array
    batch: jax.Array
    size: jax.Array
    num_genes: int = struct.field(pytree_node=False)
    max_nonzeros: int = struct.field(pytree_node=False)
    dense: bool = struct.field(pytree_node=False, default=False)

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return int(self.size)


class Minibatch(struct.PyTreeNode):
    """Cells of one training step: counts float32 [cells, genes], batch int32 [cells]."""

    counts: jax.Array
    batch: jax.Array


def to_device(
    indptr: np.ndarray,
    indices: np.ndarray,
    values: np.ndarray,
    batch: np.ndarray,
    num_genes: int,
    dense: bool | None = None,
) -> DeviceCounts:
    """Puts CSR arrays and batch codes [cells] on the default device.

    Args:
      indptr: of the CSR form.
      indices: likewise; each gene of a cell at most once.
      values: likewise.
      batch: experimental batch codes [cells].
      num_genes: number of genes.
      dense: whether zeros are stored too; None: if `is_dense`.

    Raises:
      InputError: there are more stored counts than int32 can number.
    """
    check_stored(len(values))
    num_genes, widest = int(num_genes), int(np.diff(indptr).max(initial=0))
    if dense is None:
        dense = is_dense(len(values), len(batch), num_genes)
    width = max(min(room(widest, 4), num_genes), widest)
    if dense:
        rows = np.repeat(np.arange(len(batch)), np.diff(indptr))
        filled: np.ndarray = np.zeros((room(len(batch)), num_genes), np.float32)
        filled[rows, indices[: len(rows)]] = values[: len(rows)]
        indices, width = indices[:0], num_genes
    return DeviceCounts(
        indptr=_filled_up(indptr, np.int32, room(len(batch)) + 1),
        indices=_filled_up(indices, np.int32, room(len(indices))),
        values=jax.device_put(filled.ravel())
        if dense
        else _filled_up(values, np.float32, room(len(values))),
        batch=_filled_up(batch, np.int32, room(len(batch))),
        size=jnp.int32(len(batch)),
        num_genes=num_genes,
        max_nonzeros=width,
        dense=dense,
    )


def is_dense(num_stored: int, num_cells: int, num_genes: int) -> bool:
    """Whether counts are kept with their zeros: where that costs little memory (`DENSE_COST`)."""
    entries = room(num_cells) * num_genes
    return entries <= MOST_STORED and entries <= DENSE_COST * 2 * num_stored  # two words a count


def counts_bytes(num_stored: int, num_cells: int, num_genes: int) -> int:
    """Bytes of what `to_device` makes of so many stored counts."""
    stored = 2 * room(num_stored)
    if is_dense(num_stored, num_cells, num_genes):
        stored = room(num_cells) * num_genes + 1
    return 4 * (stored + 2 * room(num_cells) + 2)


def check_stored(number: int) -> None:
    """Raises an InputError for more stored counts than the int32 of `DeviceCounts` can number."""
    if number > MOST_STORED:
        raise InputError(
            f"expected at most {MOST_STORED} stored counts on the device at a time, got {number}; "
            "keep the cells on disk, model fewer genes, or take a smaller max_steps_per_dispatch"
        )


def _filled_up(values: np.ndarray, dtype: type, size: int) -> jax.Array:
    """The array on the device, with zeros behind it up to so many."""
    filled: np.ndarray = np.zeros(size, dtype)
    filled[: len(values)] = values
    return jax.device_put(filled)  # `jnp.asarray` would compile a copy of every shape


def gather(data: DeviceCounts, rows: jax.Array) -> Minibatch:
    """Dense counts of the cells `rows` [cells]."""
    if data.dense:
        counts = data.values.reshape(-1, data.num_genes)[rows]
        return Minibatch(counts=counts, batch=data.batch[rows])
    start = data.indptr[rows][:, None]
    offset = jnp.arange(data.max_nonzeros)[None, :]
    stored = offset < data.indptr[rows + 1][:, None] - start
    position = jnp.where(stored, start + offset, 0)
    gene = jnp.where(stored, data.indices[position], data.num_genes)  # out of range: dropped

    # Mapped over cells, so that each device of a mesh does its own without asking the others.
    def dense(gene: jax.Array, values: jax.Array) -> jax.Array:
        return jnp.zeros(data.num_genes, jnp.float32).at[gene].set(values, mode="drop")

    counts = jax.vmap(dense)(gene, data.values[position])
    return Minibatch(counts=counts, batch=data.batch[rows])


def stack_counts(parts: Sequence[DeviceCounts]) -> DeviceCounts:
    """Parts of equally many cells, with a leading axis; the shorter ones get room for more."""

    def stack(*leaves: jax.Array) -> jax.Array:
        if not leaves[0].ndim:  # numbers of cells
            return jnp.stack(leaves)
        size = max(leaf.size for leaf in leaves)
        return jnp.stack([jnp.pad(leaf, (0, size - leaf.size)) for leaf in leaves])

    return jax.tree.map(stack, *parts)


@functools.partial(jax.jit, static_argnums=1)
def _random_words(key: jax.Array, size: int) -> jax.Array:
    return jax.random.bits(key, (size,))


def random_words(key: jax.Array, size: int) -> np.ndarray:
    """What `jax.random.bits(key, (size,))` gives: words do not depend on how many there are."""
    return np.asarray(_random_words(key, room(size)))[:size]


def shuffled(key: jax.Array, values: np.ndarray) -> np.ndarray:
    """What `jax.random.permutation(key, values)` gives, compiled for few numbers of values."""
    size = len(values)
    for _ in range(math.ceil(3 * math.log(max(1, size)) / math.log(2**32 - 1))):  # as JAX has it
        key, own = jax.random.split(key)
        values = values[np.argsort(random_words(own, size), kind="stable")]
    return values


def epoch_order(key: jax.Array, epoch: int, cells: np.ndarray) -> np.ndarray:
    """The order in which an epoch visits `cells` [cells]: a function of (key, epoch) alone."""
    return shuffled(jax.random.fold_in(key, epoch), cells)


def block_order(
    key: jax.Array, epoch: int, cells: np.ndarray, block_size: int, window: int
) -> np.ndarray:
    """The order of an epoch by blocks: what is close in `cells` [cells] comes in one window.

    Blocks of `block_size` consecutive entries of `cells` are put in random order; each `window`
    entries of what results are then mixed. A window of many blocks is read from disk as a few long
    ranges, and its cells come from all over the set.
    """
    key_shift, key_blocks, key_cells = jax.random.split(jax.random.fold_in(key, epoch), 3)
    num_blocks = -(-len(cells) // block_size)
    # Cells that do not fill a block are another block's share each time.
    shift = int(jax.random.randint(key_shift, (), 0, block_size))
    blocks: np.ndarray = np.arange(num_blocks * block_size).reshape(num_blocks, block_size)
    blocks = shuffled(key_blocks, blocks).ravel()
    blocks = (blocks[blocks < len(cells)] + shift) % len(cells)
    noise = random_words(key_cells, len(cells))
    return cells[blocks[np.lexsort((noise, np.arange(len(cells)) // window))]]


def dispatch_plan(num_cells: int, minibatch_size: int, max_steps: int) -> tuple[int, int]:
    """How an epoch is cut into dispatches of equally many steps.

    Equal dispatches need one compilation. An epoch drops the cells that do not fill a minibatch or
    a dispatch; the order is new in each epoch, so these are other cells each time.

    Returns:
      (dispatches per epoch, steps per dispatch).
    """
    steps = max(num_cells // minibatch_size, 1)
    num_dispatches = -(-steps // max_steps)
    return num_dispatches, steps // num_dispatches


def pad_rows(cells: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Cells as rows [room for chunks, width], their weights, and the number of chunks.

    The last chunk is padded with repeats of weight 0, and so are those that there is room for.
    """
    num_chunks = -(-len(cells) // width)
    shape = (room(num_chunks), width)
    rows = np.resize(cells, shape)
    weights = (np.arange(rows.size) < len(cells)).astype(np.float32)
    return rows, weights.reshape(shape), num_chunks


def scan_some(body: Callable[..., Any], start: Any, items: Any, count: jax.Array | int) -> Any:
    """`jax.lax.scan` over the first `count` of `items`, with zeros in place of the other results.

    One compiled program does for every count.
    """
    traced = jax.jit(body)  # once for the shapes and the loop
    first = jax.tree.map(lambda item: item[0], items)
    size = jax.tree.leaves(items)[0].shape[0]
    _, shapes = jax.eval_shape(traced, start, first)
    empty = jax.tree.map(lambda one: jnp.zeros((size, *one.shape), one.dtype), shapes)

    def step(index: jax.Array, carried: Any) -> Any:
        state, results = carried
        state, found = traced(state, jax.tree.map(lambda item: item[index], items))
        return state, jax.tree.map(lambda every, one: every.at[index].set(one), results, found)

    return jax.lax.fori_loop(0, count, step, (start, empty))
