"""Where training gets its cells: all of them on the device, or from disk, a dispatch at a time."""

import collections
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.feed.minibatches import DeviceCounts, check_stored

Part = tuple[DeviceCounts, jax.Array | np.ndarray]
"""Counts on the device, and which of their rows are meant."""

GRANULE = 65536  # stored counts; a part on the device has room for a multiple of these


class CellBlock(NamedTuple):
    """Cells in CSR form on the host.

    Attributes:
      indptr: int64 [cells + 1].
      indices: int32 [nonzeros], ascending within each row.
      values: float32 [nonzeros].
      batch: int32 [cells], experimental batch code.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    batch: np.ndarray


class CellReader(Protocol):
    """Cells that can be read by their indices.

    Attributes:
      num_cells: how many there are.
      num_genes: genes of the model.
      max_nonzeros: most stored counts of any cell in these genes.
    """

    num_cells: int
    num_genes: int
    max_nonzeros: int

    def read(self, cells: np.ndarray) -> CellBlock:
        """Cells of any indices [cells], in that order.

        Raises:
          InputError: a file could not be read.
        """


class CellSource(Protocol):
    """What a training asks for."""

    @property
    def num_cells(self) -> int:
        """Number of cells."""

    def select(self, cells: np.ndarray) -> tuple[DeviceCounts, np.ndarray]:
        """Counts that stay on the device, and the rows in them of these cells [cells]."""

    def stream(self, dispatches: Iterable[jax.Array | np.ndarray]) -> Generator[Part, None, None]:
        """Counts for every dispatch of cells [steps, minibatch], and their rows in them."""


class InMemory:
    """All cells on the device."""

    def __init__(self, data: DeviceCounts):
        """Wraps the counts."""
        self._data = data
        self.num_cells = data.num_cells

    def select(self, cells: np.ndarray) -> tuple[DeviceCounts, np.ndarray]:
        """All counts, and the cells [cells] as they are."""
        return self._data, cells

    def stream(self, dispatches: Iterable[jax.Array | np.ndarray]) -> Generator[Part, None, None]:
        """All counts, and the rows of each dispatch [steps, minibatch] as they are."""
        return ((self._data, rows) for rows in dispatches)


class Streamed:
    """Cells that are read while the device computes, in the order in which they are used.

    A part on the device has more room than it needs, and as much as the last one where that is
    enough, so that few programs are compiled. Which cells come, and their counts, do not depend on
    that: a training gives what it gives in memory.
    """

    def __init__(self, reader: CellReader, prefetch: int = 2):
        """Reads `prefetch` dispatches ahead, on a thread of its own."""
        self.num_cells = reader.num_cells
        self._reader = reader
        self._prefetch = prefetch
        self._room = 0

    def select(self, cells: np.ndarray) -> tuple[DeviceCounts, np.ndarray]:
        """The counts of these cells [cells] alone.

        Raises:
          InputError: they could not be read.
        """
        return self._load(np.asarray(cells), room=0), np.arange(len(cells))

    def stream(self, dispatches: Iterable[jax.Array | np.ndarray]) -> Generator[Part, None, None]:
        """The counts of each dispatch [steps, minibatch] alone; closing the stream stops reading.

        Raises:
          InputError: they could not be read.
        """
        with ThreadPoolExecutor(1) as pool:
            ahead: collections.deque[Future[Part]] = collections.deque()
            try:
                for rows in dispatches:
                    ahead.append(pool.submit(self._dispatch, np.asarray(rows)))
                    if len(ahead) > self._prefetch:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def blocks(self, size: int) -> Iterator[tuple[slice, DeviceCounts]]:
        """All cells in their order, at most `size` at a time; each block has `size` rows of room.

        Raises:
          InputError: they could not be read.
        """
        starts = range(0, self.num_cells, size)
        # The last block is filled up with its last cell, so that all have one shape.
        rows = (np.minimum(np.arange(start, start + size), self.num_cells - 1) for start in starts)
        for start, (data, _) in zip(starts, self.stream(rows), strict=True):
            yield slice(start, min(start + size, self.num_cells)), data

    def _dispatch(self, rows: np.ndarray) -> Part:
        data = self._load(rows.ravel(), room=self._room)
        self._room = max(self._room, data.values.shape[0])
        return data, np.arange(rows.size, dtype=np.int32).reshape(rows.shape)

    def _load(self, cells: np.ndarray, room: int) -> DeviceCounts:
        block = self._reader.read(cells)
        used = block.values.shape[0]
        check_stored(used)
        if used > room or not room:  # a tenth more, so that the next one fits as well
            room = max(1, -(-(used + used // 10) // GRANULE)) * GRANULE
        indices, values = np.zeros(room, np.int32), np.zeros(room, np.float32)
        indices[:used], values[:used] = block.indices, block.values
        return DeviceCounts(
            indptr=jnp.asarray(block.indptr, jnp.int32),
            indices=jnp.asarray(indices),
            values=jnp.asarray(values),
            batch=jnp.asarray(block.batch, jnp.int32),
            size=jnp.int32(len(block.batch)),
            num_genes=self._reader.num_genes,
            max_nonzeros=max(1, self._reader.max_nonzeros),
        )


def as_source(data: DeviceCounts | CellSource) -> CellSource:
    """Counts on the device as a source; a source as it is."""
    return InMemory(data) if isinstance(data, DeviceCounts) else data
