"""The share of one file in a set of stored cells, and the rows of all files in their order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from qbm_jax.data.on_disk.csr_file import CsrFile
from qbm_jax.data.on_disk.genes import pick
from qbm_jax.data.read import to_counts
from qbm_jax.errors import InputError


@dataclass(frozen=True, eq=False)
class FilePart:
    """What is read from one file.

    Attributes:
      path: the file.
      layer: its layer with the counts, or None.
      use_raw: whether the counts are those of `raw`.
      columns: int64 [genes], the file's column of each gene; -1 where it lacks the gene.
      first_row: number of rows in the files before.
      is_clean: stored genes ascend within each row and no zero is stored.
    """

    path: Path
    layer: str | None
    use_raw: bool
    columns: np.ndarray
    first_row: int
    is_clean: bool

    def open(self) -> CsrFile:
        """The file, open for reading."""
        return CsrFile(self.path, self.layer, self.use_raw)

    def restrict(self, matrix: sp.csr_matrix) -> sp.csr_matrix:
        """Rows as stored to float32 counts of the genes, sorted and without zeros.

        Raises:
          InputError: the rows are not what they were when the file was first read.
        """
        if not self.is_clean:
            matrix = to_counts(matrix, str(self.path))
        elif not (matrix.has_canonical_format and matrix.data.all()):
            raise InputError(
                f"{self.path} has changed or lost data since it was opened; restore it and rerun"
            )
        if matrix.dtype != np.float32:
            matrix = matrix.astype(np.float32)
        return pick(matrix, self.columns)


def all_rows(files: Sequence[CsrFile]) -> Iterator[tuple[int, slice, sp.csr_matrix]]:
    """Every row as stored, in blocks of bounded memory: index of the file, rows of all, matrix."""
    first = 0
    for index, file in enumerate(files):
        for block in file.blocks():
            rows = slice(first + block.start, first + block.stop)
            yield index, rows, file.read(np.arange(block.start, block.stop))
        first += file.shape[0]
