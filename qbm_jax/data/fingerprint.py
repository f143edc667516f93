"""What tells a set of cells from others, part by part, for cells in memory and on disk."""

from typing import Any

import scipy.sparse as sp

from qbm_jax.data.cell_table import CellTable
from qbm_jax.runtime.identity import Digest, digest_names, digest_of


class CountsDigest:
    """The digest of a matrix of counts that comes in blocks of rows of any size."""

    def __init__(self) -> None:
        """Of no rows yet."""
        self._lengths, self._indices, self._values = Digest(), Digest(), Digest()

    def add(self, counts: sp.csr_matrix) -> None:
        """Adds the next rows, CSR float32 with sorted indices.

        The lengths of the rows say to which cell a count belongs.
        """
        self._lengths.add((counts.indptr[1:] - counts.indptr[:-1]).astype("<i8"))
        self._indices.add(counts.indices.astype("<i4", copy=False))
        self._values.add(counts.data.astype("<f4", copy=False))

    def text(self) -> str:
        """The digest of all rows so far."""
        parts = (self._lengths, self._indices, self._values)
        return digest_names(part.text() for part in parts)


def fingerprint(cells: CellTable) -> dict[str, Any]:
    """What tells these cells from others: a number, a name or a digest for each part.

    Sets with equal parts are equal in all that a training, a score or a figure reads.
    `identity.differences` says in which parts two sets differ.
    """
    return {
        "source": cells.source,
        "num_cells": cells.num_cells,
        "num_genes": cells.num_genes,
        "counts": cells.counts_digest,
        "gene_names": digest_names(cells.genes),
        "cell_names": digest_names(cells.obs.index),
        "batch_column": cells.batch_column,
        "batch_names": digest_names(cells.batch_names),
        "batches_of_cells": digest_of(cells.batch),
        "label_column": cells.label_column,
        "cell_type_names": digest_names(cells.label_names),
        "cell_types_of_cells": digest_of(cells.labels),
    }


def digest_counts(counts: sp.csr_matrix) -> str:
    """The digest of a whole matrix of counts."""
    digest = CountsDigest()
    digest.add(counts)
    return digest.text()
