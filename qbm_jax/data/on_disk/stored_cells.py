"""The record of cells that stay on disk, and the reader that gives any of them."""

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from qbm_jax.data.cells import UNLABELLED, Cells, positions_of
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.data.on_disk.parts import FilePart
from qbm_jax.feed.cell_source import CellBlock


@dataclass(frozen=True, eq=False)
class StoredCells:
    """Cells on disk: `data.Cells` without the counts, which are read when they are needed.

    Attributes:
      parts: the files, with the model's genes.
      genes: gene names, in the order of the model.
      obs: names of the cells, with the columns of batch and label only.
      var: the first file's table of these genes, indexed by `genes`.
      rows: row of each cell in the files, one after another, int64 [cells].
      batch: experimental batch, int32 codes [cells] into `batch_names`.
      batch_names: one name per batch.
      labels: cell type, int32 codes [cells] into `label_names`; None if no column was given.
      label_names: one name per cell type; empty without labels.
      batch_column: column of `obs` that gave `batch`, or None.
      label_column: column of `obs` that gave `labels`, or None.
      counts_digest: digest of all counts of the files, in all their genes.
      totals: total counts in these genes, float32 [cells].
      max_nonzeros: most stored counts of any cell in these genes.
      fraction: a count that is no whole number, or None where all counts are whole.
      largest: the largest count.
      simulated: the cells come from the simulator and are no measurement.
      source: where the cells come from, in the words that a report prints.
      notes: one sentence for each thing dropped, sampled or skipped.
    """

    parts: tuple[FilePart, ...]
    genes: tuple[str, ...]
    obs: pd.DataFrame
    var: pd.DataFrame
    rows: np.ndarray
    batch: np.ndarray
    batch_names: tuple[str, ...]
    labels: np.ndarray | None
    label_names: tuple[str, ...]
    batch_column: str | None
    label_column: str | None
    counts_digest: str
    totals: np.ndarray
    max_nonzeros: int
    fraction: float | None
    largest: float
    simulated: bool
    source: str
    notes: tuple[str, ...]

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return len(self.rows)

    @property
    def num_genes(self) -> int:
        """Number of genes."""
        return len(self.genes)

    @property
    def is_integer(self) -> bool:
        """Every count is a whole number, as the count likelihoods require."""
        return self.fraction is None

    @property
    def labelled(self) -> np.ndarray:
        """Cells that have a cell type, bool [cells]; all False without a label column."""
        if self.labels is None:
            return np.zeros(self.num_cells, dtype=bool)
        return np.asarray(self.label_names)[self.labels] != UNLABELLED

    def fractions(self) -> tuple[float, float]:
        """A count that is no whole number and the largest count; for cells that have such."""
        if self.fraction is None:
            raise ValueError("all counts are whole numbers")
        return self.fraction, self.largest

    def reader(self) -> "StoredReader":
        """Opens the files.

        Raises:
          InputError: a file cannot be opened.
        """
        return StoredReader(self)

    def select(self, cells: np.ndarray) -> Cells:
        """The cells of these positions [n] or of this mask, in this order, in memory.

        Raises:
          InputError: a mask of another length, positions of no cell, or a file that cannot be read.
        """
        cells = positions_of(cells, self.num_cells, "cells")
        with self.reader() as reader:
            counts = reader.counts(cells)
        return self.in_memory(counts, cells, self.notes)

    def in_memory(
        self, counts: sp.csr_matrix, cells: np.ndarray, notes: tuple[str, ...] = ()
    ) -> Cells:
        """The cells of these positions [n], whose counts [n, genes] are at hand already."""
        return Cells(
            counts=counts,
            genes=self.genes,
            obs=self.obs.iloc[cells],
            var=self.var,
            rows=self.rows[cells],
            batch=self.batch[cells],
            batch_names=self.batch_names,
            labels=None if self.labels is None else self.labels[cells],
            label_names=self.label_names,
            batch_column=self.batch_column,
            label_column=self.label_column,
            is_integer=self.is_integer,
            simulated=self.simulated,
            source=self.source,
            notes=notes,
        )

    def fingerprint(self) -> dict[str, Any]:
        """What tells these cells from others, part by part; nothing is read for it."""
        return fingerprint(self)


class StoredReader:
    """Reads cells by their indices; a `cell_source.CellReader`.

    Blocks of neighbouring cells are read as one range each, so that they are cheap and cells all
    over the files are not. Several threads may read at the same time.
    """

    def __init__(self, stored: StoredCells):
        """Opens the files; `close` or a `with` block closes them.

        Raises:
          InputError: a file cannot be opened; none stays open then.
        """
        self.num_cells = stored.num_cells
        self.num_genes = stored.num_genes
        self.max_nonzeros = stored.max_nonzeros
        self._rows, self._batch = stored.rows, stored.batch
        with contextlib.ExitStack() as stack:
            opening = (contextlib.closing(part.open()) for part in stored.parts)
            files = [stack.enter_context(file) for file in opening]
            self._open_files = stack.pop_all()
        self._parts = list(zip(stored.parts, files, strict=True))

    def __enter__(self) -> "StoredReader":
        """Returns the reader."""
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the files."""
        self.close()

    def close(self) -> None:
        """Closes the files."""
        self._open_files.close()

    def read(self, cells: np.ndarray) -> CellBlock:
        """Cells of any indices [n], in that order.

        Raises:
          InputError: a file could not be read.
        """
        counts = self.counts(cells)
        return CellBlock(
            indptr=counts.indptr.astype(np.int64),
            indices=counts.indices.astype(np.int32, copy=False),
            values=counts.data,
            batch=self._batch[cells],
        )

    def counts(self, cells: np.ndarray) -> sp.csr_matrix:
        """Counts of cells of any indices [n], in that order: CSR float32 [n, genes], sorted.

        Raises:
          InputError: a file could not be read.
        """
        rows, back = np.unique(self._rows[cells], return_inverse=True)
        blocks = [sp.csr_matrix((0, self.num_genes), dtype=np.float32)]
        for part, file in self._parts:
            first, stop = np.searchsorted(rows, part.first_row + np.array([0, file.shape[0]]))
            if first < stop:
                blocks.append(part.restrict(file.read(rows[first:stop] - part.first_row)))
        counts = blocks[-1] if len(blocks) <= 2 else sp.vstack(blocks[1:], format="csr")
        return counts if np.array_equal(back, np.arange(len(rows))) else counts[back]
