"""Sparse counts on the device, and the order in which cells are visited."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


class DeviceCounts(struct.PyTreeNode):
    """Counts of a whole set in CSR form, with each cell's experimental batch.

    Attributes:
      indptr: int32 [cells + 1].
      indices: int32 [nonzeros], gene of each stored count.
      values: float32 [nonzeros].
      batch: int32 [cells], experimental batch code.
      num_genes: number of genes.
      max_nonzeros: most stored counts of any cell; the width of a gathered row.
    """

    indptr: jax.Array
    indices: jax.Array
    values: jax.Array
    batch: jax.Array
    num_genes: int = struct.field(pytree_node=False)
    max_nonzeros: int = struct.field(pytree_node=False)

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return self.batch.shape[0]


class Minibatch(struct.PyTreeNode):
    """Cells of one training step: counts float32 [cells, genes], batch int32 [cells]."""

    counts: jax.Array
    batch: jax.Array


def to_device(
    indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, batch: np.ndarray, num_genes: int
) -> DeviceCounts:
    """Puts CSR arrays and batch codes [cells] on the default device."""
    return DeviceCounts(
        indptr=jnp.asarray(indptr, jnp.int32),
        indices=jnp.asarray(indices, jnp.int32),
        values=jnp.asarray(values, jnp.float32),
        batch=jnp.asarray(batch, jnp.int32),
        num_genes=int(num_genes),
        max_nonzeros=max(int(np.diff(indptr).max(initial=0)), 1),
    )


def gather(data: DeviceCounts, rows: jax.Array) -> Minibatch:
    """Dense counts of the cells `rows` [cells]; only these rows are ever dense."""
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
        room = max(leaf.shape[0] for leaf in leaves)
        return jnp.stack([jnp.pad(leaf, (0, room - leaf.shape[0])) for leaf in leaves])

    return jax.tree.map(stack, *parts)


def epoch_order(key: jax.Array, epoch: int, cells: jax.Array) -> jax.Array:
    """The order in which an epoch visits `cells` [cells]: a function of (key, epoch) alone."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), cells)


def block_order(
    key: jax.Array, epoch: int, cells: np.ndarray, block_size: int, window: int
) -> np.ndarray:
    """As `epoch_order`, but of blocks: what is close in `cells` [cells] comes in one window.

    Blocks of `block_size` consecutive entries of `cells` are put in random order; each `window`
    entries of what results are then mixed. A window of many blocks is read from disk as a few long
    ranges, and its cells come from all over the set.
    """
    key_shift, key_blocks, key_cells = jax.random.split(jax.random.fold_in(key, epoch), 3)
    num_blocks = -(-len(cells) // block_size)
    # Cells that do not fill a block are another block's share each time.
    shift = int(jax.random.randint(key_shift, (), 0, block_size))
    blocks = np.arange(num_blocks * block_size).reshape(num_blocks, block_size)
    blocks = blocks[np.asarray(jax.random.permutation(key_blocks, num_blocks))].ravel()
    blocks = (blocks[blocks < len(cells)] + shift) % len(cells)
    noise = np.asarray(jax.random.bits(key_cells, (len(cells),)))
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


def pad_rows(cells: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells as rows [chunks, width], the last padded with repeats of weight 0, and the weights."""
    num_chunks = -(-len(cells) // width)
    rows = np.resize(cells, num_chunks * width)
    weights = (np.arange(rows.size) < len(cells)).astype(np.float32)
    return rows.reshape(num_chunks, width), weights.reshape(num_chunks, width)
