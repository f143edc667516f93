"""The genes of several files: those of the first, of all, or of any."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from qbm_jax.data.columns import writable
from qbm_jax.data.names import some
from qbm_jax.data.on_disk.csr_file import CsrFile
from qbm_jax.data.read import check_genes, named_by_text
from qbm_jax.errors import InputError

GENES_OF = ("first", "intersection", "union")

Aligned = tuple[pd.DataFrame, list[np.ndarray], list[str]]
"""The genes' table, for each file the column of each gene (-1: it lacks the gene), and notes."""


def align(files: Sequence[CsrFile], genes_of: str = "first") -> Aligned:
    """Genes to use, where they stand in each file, and notes on what is left out or filled in.

    Args:
      files: open files.
      genes_of: "first": those of the first file, which all others must have. "intersection":
        those that every file has. "union": those that any file has; a file that lacks one
        counts zero of it.

    Raises:
      InputError: a name is repeated, genes are missing in a file, or none is left.
    """
    if genes_of not in GENES_OF:
        raise InputError(f"expected genes_of as one of {', '.join(GENES_OF)}, got {genes_of!r}")
    read = [file.var() for file in files]
    tables = [named_by_text(table) for table, _ in read]
    for file, table in zip(files, tables, strict=True):
        check_genes(table.index, str(file.path))
    wanted = _wanted([table.index for table in tables], genes_of)
    if not len(wanted):
        raise InputError(
            f"expected genes that all {len(files)} files have, there are none; gene names must "
            "match exactly (symbols and Ensembl identifiers do not)"
        )
    columns = [table.index.get_indexer(wanted) for table in tables]
    names = [file.path.name for file in files]
    if genes_of == "first":
        _check_missing(names, wanted, columns)
    kept = writable(tables[0].reindex(wanted) if genes_of == "union" else tables[0].loc[wanted],
                    "var")  # fmt: skip
    notes = [*read[0][1], *kept.notes]
    for name, table, found in zip(names, tables, columns, strict=True):
        num_left = len(table) - int((found >= 0).sum())
        lacks = names[0] + " lacks" if genes_of == "first" else "not every file has"
        if num_left:
            notes.append(f"Left out {num_left} genes of {name} that {lacks}.")
        num_absent = int((found < 0).sum())
        if num_absent:
            notes.append(
                f"{name} lacks {num_absent} of {len(wanted)} genes, whose counts are taken as zero "
                f"in its cells: {some(wanted[found < 0])}."
            )
    return kept.table, columns, notes


def pick(matrix: sp.csr_matrix, columns: np.ndarray) -> sp.csr_matrix:
    """The columns [genes] of a matrix, sorted; -1 stands for a gene without counts."""
    if np.array_equal(columns, np.arange(matrix.shape[1])):
        return matrix
    if len(columns) and columns.min() < 0:  # becomes the last column, which is empty
        shape = (matrix.shape[0], matrix.shape[1] + 1)
        matrix = sp.csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=shape)
    matrix = matrix[:, columns]
    matrix.sort_indices()
    return matrix


def _wanted(indices: Sequence[pd.Index], genes_of: str) -> pd.Index:
    """Names of the genes, in the order of the first file, further ones as they come."""
    wanted = indices[0]
    for index in indices[1:]:
        if genes_of == "intersection":
            wanted = wanted[wanted.isin(index)]
        elif genes_of == "union":
            wanted = wanted.append(index[~index.isin(wanted)])
    return wanted


def _check_missing(names: Sequence[str], wanted: pd.Index, columns: Sequence[np.ndarray]) -> None:
    missing = [
        f"{name} lacks {int((found < 0).sum())} of them: {some(wanted[found < 0])}"
        for name, found in zip(names, columns, strict=True)
        if (found < 0).any()
    ]
    if missing:
        raise InputError(
            f"expected the {len(wanted)} genes of {names[0]} in every file; "
            f"{'; '.join(missing)}; give files of the same genes, the one with the fewest first, "
            'or ask for genes_of "intersection" or "union"'
        )
