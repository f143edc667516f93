"""What cells in memory and cells on disk have in common."""

from typing import Any, Protocol

import numpy as np
import pandas as pd


class CellTable(Protocol):
    """`Cells` or `StoredCells`: all that is known of cells and genes, but for the counts.

    All parts are read only, as those records are frozen.
    """

    @property
    def genes(self) -> tuple[str, ...]:
        """Gene names, in the order of the model."""

    @property
    def obs(self) -> pd.DataFrame:
        """Table of the cells, indexed by their names."""

    @property
    def batch(self) -> np.ndarray:
        """Experimental batch, int32 codes [cells] into `batch_names`."""

    @property
    def batch_names(self) -> tuple[str, ...]:
        """One name per batch."""

    @property
    def batch_column(self) -> str | None:
        """Column that gave the batches, or None."""

    @property
    def labels(self) -> np.ndarray | None:
        """Cell type, int32 codes [cells] into `label_names`; None if no column was given."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """One name per cell type."""

    @property
    def label_column(self) -> str | None:
        """Column that gave the cell types, or None."""

    @property
    def source(self) -> str:
        """Where the cells come from."""

    @property
    def counts_digest(self) -> str:
        """Digest of all counts."""

    @property
    def num_cells(self) -> int:
        """Number of cells."""

    @property
    def num_genes(self) -> int:
        """Number of genes."""

    @property
    def is_integer(self) -> bool:
        """Every count is a whole number, as the count likelihoods require."""

    @property
    def largest(self) -> float:
        """The largest count."""

    def fractions(self) -> tuple[float, float]:
        """A count that is no whole number and the largest count; for cells that have such."""

    def select(self, cells: np.ndarray) -> Any:
        """The cells with these indices [n], in memory, as `Cells`."""
