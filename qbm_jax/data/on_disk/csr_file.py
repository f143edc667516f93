"""One file of counts, h5ad or zarr: its tables, and any rows of its matrix without the rest."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr

from qbm_jax.data.compressed import as_counts, check_indices, kind_of, native, open_compressed
from qbm_jax.data.h5ad import (
    check_is_hdf5,
    check_tables,
    choose_elements,
    damage_named,
    is_zarr,
    simulator_preset,
)
from qbm_jax.data.tables import read_table
from qbm_jax.errors import InputError

_HDF5_GAP = 8192  # stored counts between two ranges that cost less to read than a second call
_READ_ENTRIES = 2**22  # stored counts that are held before the rows are picked out of them
_BLOCK_ENTRIES = 4_000_000  # stored counts of one block of a pass over all rows: 32 MB
_BLOCK_ROWS = 65_536


class CsrFile:
    """Counts of one file in CSR form, open for reading, from several threads if need be.

    Ranges of the stored arrays are read directly: anndata's backed matrices read each row by
    itself (`benchmarks/loader_throughput.py`). Files without compression are read fastest.

    Attributes:
      path: the file or folder.
      indptr: int64 [rows + 1], in memory.
      shape: rows and columns.
    """

    def __init__(self, path: Path, layer: str | None, use_raw: bool):
        """Opens the file.

        Raises:
          InputError: it cannot be opened, or the matrix asked for is missing or not in CSR form.
        """
        self.path = path
        self._file = _open(path)
        with contextlib.ExitStack() as stack, damage_named(path):
            stack.callback(self.close)  # unless all goes well
            check_tables(self._file, path)
            matrix, self._var_name = choose_elements(self._file, layer, use_raw, path)
            self._check_is_csr(matrix, layer, use_raw)
            stored = open_compressed(matrix, path)
            self.shape, self.indptr = stored.shape, stored.indptr
            self._values, self._columns = stored.values, stored.indices
            if 0 in self.shape:
                raise InputError(f"{path}: expected cells and genes, found {self.shape}")
            stack.pop_all()
        is_zarr = isinstance(self._file, zarr.Group)
        # a range of a zarr array decodes whole chunks, so that two ranges in one chunk are one
        self._gap = max(self._values.chunks) if is_zarr else _HDF5_GAP

    def close(self) -> None:
        """Closes the file; it cannot be read any more."""
        if isinstance(self._file, h5py.File):
            self._file.close()

    def var(self) -> tuple[pd.DataFrame, list[str]]:
        """The table of genes that belongs to the matrix, indexed by name, and notes on it."""
        with damage_named(self.path):
            var, notes = read_table(self._file, self._var_name, self.path)
        self._check_length("var", "genes", len(var), self.shape[1])
        return var, notes

    def obs(self, columns: Sequence[str]) -> pd.DataFrame:
        """These columns of the table of cells, with the cells' names.

        Raises:
          InputError: there is no such column.
        """
        with damage_named(self.path):
            obs, _ = read_table(self._file, "obs", self.path, columns)
        self._check_length("obs", "cells", len(obs), self.shape[0])
        return obs

    def _check_length(self, table: str, what: str, length: int, expected: int) -> None:
        if length != expected:
            raise InputError(
                f"{self.path} is damaged: {table} has {length} {what}, its matrix {expected}; "
                "copy it again"
            )

    def simulator_preset(self) -> str | None:
        """The preset of the simulator that wrote this file; None for other files."""
        with damage_named(self.path):
            return simulator_preset(self._file, self.path)

    def blocks(self) -> Iterator[slice]:
        """All rows in blocks of bounded memory."""
        num_rows, start = self.shape[0], 0
        while start < num_rows:
            fits = np.searchsorted(self.indptr, self.indptr[start] + _BLOCK_ENTRIES, side="right")
            stop = min(max(int(fits) - 1, start + 1), start + _BLOCK_ROWS, num_rows)
            yield slice(start, stop)
            start = stop

    def read(self, rows: np.ndarray) -> sp.csr_matrix:
        """Rows [n], given in ascending order and each once, as they are stored.

        Memory holds these rows and some millions of the stored counts between them.

        Raises:
          InputError: the file has been damaged, cut off or exchanged since it was opened.
        """
        gaps = self._gaps(rows)
        costs = self.indptr[rows + 1] - self.indptr[rows]
        costs[1:] += np.where(gaps > self._gap, 0, gaps)
        # no less than a chunk, which is decoded whole for any part of it
        turns = np.cumsum(costs) // max(_READ_ENTRIES, self._gap)
        cuts = np.flatnonzero(np.diff(turns)) + 1
        parts = [self._read_at_once(part) for part in np.split(rows, cuts)]
        return parts[0] if len(parts) == 1 else sp.vstack(parts, format="csr")

    def _gaps(self, rows: np.ndarray) -> np.ndarray:
        """Stored counts between each of the rows [n] and the next, int64 [n - 1]."""
        return self.indptr[rows[1:]] - self.indptr[rows[:-1] + 1]

    def _read_at_once(self, rows: np.ndarray) -> sp.csr_matrix:
        """As `read`, all ranges together, with the rows in small gaps between."""
        cuts = np.flatnonzero(self._gaps(rows) > self._gap) + 1
        firsts, stops = rows[np.r_[0, cuts]], rows[np.r_[cuts - 1, len(rows) - 1]] + 1
        spans = list(zip(firsts.tolist(), stops.tolist(), strict=True))
        ranges = [(self.indptr[first], self.indptr[stop]) for first, stop in spans]
        with damage_named(self.path, ValueError, TypeError):
            values = _joined([as_counts(self._values[start:stop]) for start, stop in ranges])
            columns = _joined([self._columns[start:stop] for start, stop in ranges])
        check_indices(columns, self.shape[1], "csr", str(self.path))
        read = _joined([np.arange(first, stop) for first, stop in spans])
        indptr = np.r_[0, np.cumsum(self.indptr[read + 1] - self.indptr[read])]
        matrix = sp.csr_matrix((values, native(columns), indptr), shape=(len(read), self.shape[1]))
        return matrix if len(read) == len(rows) else matrix[np.searchsorted(read, rows)]

    def _check_is_csr(self, matrix: Any, layer: str | None, use_raw: bool) -> None:
        kind = kind_of(matrix)
        if kind != "csr":
            name = "raw.X" if use_raw else "X" if layer is None else f"layers[{layer!r}]"
            found = {"csc": "CSC"}.get(kind, kind)
            raise InputError(
                f"{self.path}: expected counts stored as CSR, {name} is {found}; convert it once "
                "with scipy.sparse.csr_matrix and write the file again"
            )


def _open(path: Path) -> h5py.File | zarr.Group:
    if not os.path.isdir(path):
        check_is_hdf5(path)
        with damage_named(path):
            return h5py.File(path, "r")
    if not is_zarr(path):
        raise InputError(f"expected an h5ad file or a zarr folder, {path} is a plain directory")
    with damage_named(path):
        return zarr.open_group(str(path), mode="r")


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
