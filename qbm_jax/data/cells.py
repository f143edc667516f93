"""The record that every stage after reading works on: sparse counts, genes, batches, labels."""

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from qbm_jax.data.fingerprint import digest_counts
from qbm_jax.errors import InputError

UNLABELLED = "unlabelled"
"""Name of the label given to cells whose label is missing in the input (see `Cells.labelled`)."""
DROPPED = ("Dropped", "Left out")
"""How notes on cells or genes that were dropped begin."""


@dataclass(frozen=True, eq=False, repr=False)
class Cells:
    """Counts of cells by genes, with what is known about both; checked when built.

    Attributes:
      counts: raw counts, CSR float32 [cells, genes], sorted indices, no stored zeros.
      genes: gene names, unique, in the order of the columns of `counts`.
      obs: the input's table of cells [cells, any columns].
      var: the input's table of genes [genes, any columns], indexed by `genes`.
      rows: position of each cell in the input, int64 [cells] (reading drops empty cells).
      batch: experimental batch, int32 codes [cells] into `batch_names`.
      batch_names: one name per batch; a single name if no batch column was given.
      labels: cell type, int32 codes [cells] into `label_names`; None if no column was given.
      label_names: one name per cell type; empty without labels. Cells without a label carry the
        name `UNLABELLED`, which is no cell type: scores leave those cells out.
      batch_column: column of `obs` that gave `batch`, or None.
      label_column: column of `obs` that gave `labels`, or None.
      is_integer: every count is a whole number, as the count likelihoods require.
      simulated: the cells come from the simulator and are no measurement.
      source: where the cells come from, in the words that a report prints.
      notes: one sentence for each thing dropped, substituted or skipped; of the first kind those
        that begin with a word of `DROPPED`.
    """

    counts: sp.csr_matrix
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
    is_integer: bool
    simulated: bool
    source: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Its sizes and its source; the counts are too many to show."""
        types = "" if self.labels is None else f", {len(self.label_names)} types"
        num_cells, num_genes = self.counts.shape
        return (
            f"Cells({num_cells} cells x {num_genes} genes, {len(self.batch_names)} batches{types}; "
            f"{self.source})"
        )

    def __post_init__(self) -> None:
        num_cells, num_genes = self.counts.shape
        _require(isinstance(self.counts, sp.csr_matrix), "counts is a scipy csr_matrix")
        _require(self.counts.dtype == np.float32, "counts is float32")
        _require(bool(self.counts.has_sorted_indices), "counts has sorted indices")
        _require(len(self.genes) == len(self.var) == num_genes, "one gene and var row per column")
        _require(len(set(self.genes)) == num_genes, "gene names are unique")
        _require(len(self.obs) == len(self.rows) == num_cells, "one obs row per row of counts")
        _check_codes("batch", self.batch, self.batch_names, num_cells)
        if self.labels is not None:
            _check_codes("labels", self.labels, self.label_names, num_cells)
        else:
            _require(not self.label_names, "label_names is empty without labels")

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return self.counts.shape[0]

    @property
    def num_genes(self) -> int:
        """Number of genes."""
        return self.counts.shape[1]

    @property
    def totals(self) -> np.ndarray:
        """Total count of each cell, float32 [cells]."""
        return np.asarray(self.counts.sum(axis=1)).ravel()

    @functools.cached_property
    def counts_digest(self) -> str:
        """Digest of all counts, see `fingerprint`."""
        return digest_counts(self.counts)

    @property
    def labelled(self) -> np.ndarray:
        """Cells that have a cell type, bool [cells]; all False without a label column."""
        if self.labels is None:
            return np.zeros(self.num_cells, dtype=bool)
        return np.asarray(self.label_names)[self.labels] != UNLABELLED

    def select(self, cells: np.ndarray | None = None, genes: np.ndarray | None = None) -> "Cells":
        """The given cells and genes, each a mask or positions [kept]; None keeps all.

        Cells may come several times, genes may not. Codes and names of batches and labels stay, so
        that parts of one set agree on them.

        Raises:
          InputError: a mask of another length, or positions of no cell or gene.
        """
        cells = positions_of(cells, self.num_cells, "cells")
        genes = positions_of(genes, self.num_genes, "genes")
        counts = self.counts[cells]
        if not np.array_equal(genes, np.arange(self.num_genes)):
            counts = counts[:, genes]
        counts.sort_indices()
        return dataclasses.replace(
            self,
            counts=counts,
            genes=tuple(self.genes[g] for g in genes),
            obs=self.obs.iloc[cells],
            var=self.var.iloc[genes],
            rows=self.rows[cells],
            batch=self.batch[cells],
            labels=None if self.labels is None else self.labels[cells],
        )

    @property
    def largest(self) -> float:
        """The largest count."""
        return float(self.counts.data.max(initial=0))

    def fractions(self) -> tuple[float, float]:
        """A count that is no whole number and the largest count; for cells that have such."""
        values = self.counts.data
        return float(values[values != np.rint(values)][0]), self.largest

    def with_notes(self, *notes: str) -> "Cells":
        """The same cells with sentences added to `notes`."""
        return dataclasses.replace(self, notes=self.notes + notes)


def positions_of(chosen: np.ndarray | None, size: int, what: str) -> np.ndarray:
    """Positions [kept] of what a mask or positions choose of `size` cells or genes; None: of all.

    Raises:
      InputError: a mask of another length, or positions of no cell or gene.
    """
    if chosen is None:
        return np.arange(size)
    chosen = np.asarray(chosen)
    if chosen.dtype != bool:
        return _checked_positions(chosen, size, what)
    if chosen.shape != (size,):
        raise InputError(
            f"expected a mask [{size}] of the {what}, got one of shape {chosen.shape}; give a "
            "boolean for each, or positions"
        )
    return np.flatnonzero(chosen)


def _checked_positions(chosen: np.ndarray, size: int, what: str) -> np.ndarray:
    """Refuses what numpy would take for other positions, such as -1 of a name that is not there."""
    if chosen.shape == (0,):
        return chosen.astype(np.int64)  # an empty list is one of floats
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        raise InputError(
            f"expected positions of {what} as whole numbers, or a mask [{size}], got "
            f"{chosen.dtype} {chosen.shape}"
        )
    if chosen.min() < 0 or chosen.max() >= size:
        raise InputError(
            f"expected positions of {what} from 0 to {size - 1}, got {chosen.min()} to "
            f"{chosen.max()}"
        )
    if what == "genes" and len(np.unique(chosen)) < len(chosen):
        raise InputError("expected positions of genes once each, got some twice")
    return chosen


def _check_codes(field: str, codes: np.ndarray, names: tuple[str, ...], num_cells: int) -> None:
    _require(codes.shape == (num_cells,) and codes.dtype == np.int32, f"{field} is int32 [cells]")
    in_range = num_cells == 0 or (codes.min() >= 0 and codes.max() < len(names))
    _require(in_range, f"{field} codes point into their names")
    _require(len(set(names)) == len(names), f"{field} names are unique")


def _require(condition: bool, rule: str) -> None:
    """A broken rule is a fault of the code that builds the record, not of the user."""
    if not condition:
        raise ValueError(f"Cells: broken rule: {rule}")


def of_matrix(
    matrix: np.ndarray, classes: np.ndarray, class_names: tuple[str, ...], source: str
) -> Cells:
    """Rows that are no cells, such as images: a row in place of a cell, a column of a gene.

    Args:
      matrix: of at least 0 [rows, columns].
      classes: in place of experimental batches, int32 codes into `class_names` [rows].
      class_names: one at least.
      source: where the rows come from.
    """
    number, width = matrix.shape
    columns = tuple(f"column {column}" for column in range(width))
    counts = sp.csr_matrix(matrix, dtype=np.float32)
    return Cells(
        counts=counts,
        genes=columns,
        obs=pd.DataFrame(index=np.arange(number).astype(str)),
        var=pd.DataFrame(index=list(columns)),
        rows=np.arange(number),
        batch=classes,
        batch_names=class_names,
        labels=None,
        label_names=(),
        batch_column=None,
        label_column=None,
        is_integer=bool(np.all(counts.data == np.rint(counts.data))),
        simulated=False,
        source=source,
    )
