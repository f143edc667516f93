"""What cells in memory and cells on disk have in common."""

from typing import Any, Protocol

import numpy as np
import pandas as pd


class CellTable(Protocol):
    """`Cells` or `StoredCells`: all that is known of cells and genes, but for the counts.

    Attributes:
      genes: gene names, in the order of the model.
      obs: table of the cells, indexed by their names.
      batch: experimental batch, int32 codes [cells] into `batch_names`.
      batch_names: one name per batch.
      batch_column: column that gave them, or None.
      labels: cell type, int32 codes [cells] into `label_names`; None if no column was given.
      label_names: one name per cell type.
      label_column: column that gave them, or None.
      source: where the cells come from.
      counts_digest: digest of all counts.
    """

    genes: tuple[str, ...]
    obs: pd.DataFrame
    batch: np.ndarray
    batch_names: tuple[str, ...]
    batch_column: str | None
    labels: np.ndarray | None
    label_names: tuple[str, ...]
    label_column: str | None
    source: str
    counts_digest: str

    @property
    def num_cells(self) -> int:
        """Number of cells."""

    @property
    def num_genes(self) -> int:
        """Number of genes."""

    @property
    def is_integer(self) -> bool:
        """Every count is a whole number, as the count likelihoods require."""

    def fractions(self) -> tuple[float, float]:
        """A count that is no whole number and the largest count; for cells that have such."""

    def select(self, cells: np.ndarray) -> Any:
        """The cells with these indices [n], in memory, as `Cells`."""
