"""An h5ad file, or an AnnData in memory, to validated `Cells`. Nothing is ever unpickled."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from qbm_jax.data import groups
from qbm_jax.data.cells import Cells
from qbm_jax.data.columns import writable
from qbm_jax.data.compressed import (
    as_counts,
    check_in_memory,
    check_numbers,
    kind_of,
    open_compressed,
    read_compressed,
)
from qbm_jax.data.h5ad import (
    SIMULATOR_PRESET,
    Table,
    check_shape,
    choose_matrix,
    damage_named,
    load,
    simulator_preset,
)
from qbm_jax.data.names import some, text
from qbm_jax.data.simulate import simulated_notes, simulated_source
from qbm_jax.data.stored import member
from qbm_jax.errors import InputError
from qbm_jax.runtime.user_cache import expand_home

MIN_CELLS = 50
"""Fewer cells than this cannot be split, trained on and scored."""

SOURCE = "AnnData in memory"

_LARGEST_EXACT = 2**24  # whole numbers up to here are float32 numbers, each of its own


def read(
    path: str | Path,
    *,
    batch_column: str | None = None,
    label_column: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    genes: Sequence[str] | None = None,
    min_cells: int = MIN_CELLS,
) -> Cells:
    """Reads an h5ad file; only the tables and the one matrix asked for are loaded.

    Args:
      path: the file. `X`, a layer or `raw` may be dense, CSR or CSC.
      batch_column: column of `obs` with the experimental batch; None: all cells are one batch.
      label_column: column of `obs` with the cell type; None: no labels.
      layer: name of the layer that holds raw counts; None: `X`.
      use_raw: take the counts (and genes) of `raw` instead.
      genes: only these genes, in this order, kept even where no cell expresses them.
      min_cells: least number of cells with counts; 0 takes a set of empty cells alone.

    Raises:
      InputError: the file, matrix or columns cannot be used; see `from_anndata`.
    """
    path = expand_home(path)
    table, notes = load(path, layer, use_raw)
    cells = _build(table, batch_column, label_column, genes, min_cells, path.name)
    with damage_named(path), h5py.File(path, "r") as file:
        return _marked(cells.with_notes(*notes), simulator_preset(file, path))


def from_anndata(
    adata: anndata.AnnData,
    *,
    batch_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    genes: Sequence[str] | None = None,
    min_cells: int = MIN_CELLS,
    source: str = SOURCE,
) -> Cells:
    """Validated `Cells` from an AnnData, which is left unchanged; arguments as for `read`.

    Several batch columns are one together: each combination of their values is a batch.
    Cells and genes without counts are dropped, cells without a label are kept as `UNLABELLED`;
    both are noted, as are batches and types of one cell.

    Raises:
      InputError: no such matrix or column, duplicate or missing gene names, negative or
        non-finite counts, cells without a batch, or fewer than `min_cells` cells left.
    """
    matrix, obs, var = table_of(adata, layer, use_raw, source)
    obs, batch_column = groups.joined(obs, batch_column, source)
    table = matrix, obs, var
    cells = _build(table, batch_column, label_column, genes, min_cells, source)
    provenance = adata.uns.get("qbm_jax")
    is_told = isinstance(provenance, Mapping) and provenance.get(SIMULATOR_PRESET) is not None
    return _marked(cells, text(provenance[SIMULATOR_PRESET]) if is_told else None)


def table_of(adata: anndata.AnnData, layer: str | None, use_raw: bool, source: str) -> Table:
    """The matrix asked for, in memory, with its obs and var; its values are not yet checked.

    Raises:
      InputError: no AnnData, or no such matrix.
    """
    check_is_anndata(adata, source)
    return choose_matrix(_in_memory(adata), layer, use_raw)


def check_is_anndata(adata: object, source: str) -> None:
    """Refuses paths, tables and containers of several AnnData objects."""
    if not isinstance(adata, anndata.AnnData):
        raise InputError(
            f"{source}: expected an AnnData object, got {type(adata).__name__}; read a file with "
            "anndata.read_h5ad, take one modality of a MuData, or wrap an array in AnnData"
        )


def _in_memory(adata: anndata.AnnData) -> anndata.AnnData:
    """The same cells; matrices of a backed file are checked before they are read."""
    if not adata.isbacked:
        return adata
    path = Path(adata.filename)
    with damage_named(path):
        if not adata.file.is_open:
            adata.file.open()
        for name in ("X", "raw/X"):
            element = member(adata.file["/"], name, path)
            if element is not None and kind_of(element) in ("csr", "csc"):
                read_compressed(open_compressed(element, path), path)
        return adata.to_memory()


def _marked(cells: Cells, preset: str | None) -> Cells:
    """Cells that say that they are simulated, where a preset of the simulator is given."""
    if preset is None:
        return cells
    return dataclasses.replace(
        cells,
        simulated=True,
        source=f"{simulated_source(preset)} ({cells.source})",
        notes=(*simulated_notes(preset), *cells.notes),
    )


def _build(
    table: Table,
    batch_column: str | None,
    label_column: str | None,
    genes: Sequence[str] | None,
    min_cells: int,
    source: str,
) -> Cells:
    """All checks on values, then the record."""
    matrix, obs, var = table
    counts = to_counts(matrix, source)
    check_shape(counts.shape, obs, var, source)
    var = named_by_text(var)
    check_genes(var.index, source)
    keep_genes = counts.getnnz(axis=0) > 0
    if genes is not None:
        wanted = gene_positions(tuple(var.index), genes)
        counts, var = counts[:, wanted], var.iloc[wanted]
        counts.sort_indices()
        keep_genes = np.ones(len(wanted), dtype=bool)
    keep_cells = counts.getnnz(axis=1) > 0
    check_number(keep_cells, min_cells, source)
    notes = notes_on_dropped(keep_cells, keep_genes)
    obs = obs.loc[keep_cells]
    batch, batch_names, batch_notes = groups.batches(obs, batch_column, source)
    labels, label_names, label_notes = groups.labels(obs, label_column, source)
    if not (keep_cells.all() and keep_genes.all()):
        counts = counts[keep_cells][:, keep_genes]
    cell_table = writable(obs, "obs")
    gene_table = writable(var.loc[keep_genes], "var")
    return Cells(
        counts=counts,
        genes=tuple(var.index[keep_genes]),
        obs=cell_table.table.copy(),
        var=gene_table.table.copy(),
        rows=np.flatnonzero(keep_cells),
        batch=batch,
        batch_names=batch_names,
        labels=labels,
        label_names=label_names,
        batch_column=cell_table.name_of(batch_column),
        label_column=cell_table.name_of(label_column),
        is_integer=bool(np.all(counts.data == np.rint(counts.data))),
        simulated=False,
        source=source,
        notes=(
            *notes, *notes_on_rounded(float(counts.data.max(initial=0))), *cell_table.notes,
            *gene_table.notes, *batch_notes, *label_notes,
        ),
    )  # fmt: skip


def named_by_text(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its index as text."""
    return table.set_axis(pd.Index([text(n) for n in table.index], name=table.index.name))


def gene_positions(genes: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Where each wanted gene stands in `genes`, int64 [wanted].

    Raises:
      InputError: no list, a gene that is asked for twice, or missing ones (the first ten and their
        number).
    """
    if isinstance(wanted, str):
        raise InputError(f"expected genes as a list of names, got {wanted!r}; give [{wanted!r}]")
    if len(set(wanted)) < len(wanted):
        raise InputError("expected every gene once in the list of wanted genes; remove repeats")
    positions = pd.Index(genes).get_indexer(list(wanted))
    missing = [gene for gene, position in zip(wanted, positions, strict=True) if position < 0]
    if missing:
        raise InputError(
            f"expected {len(wanted)} genes by name, {len(missing)} are missing: "
            f"{some(missing)}; give cells with these genes (names must match exactly)"
        )
    return positions


def to_counts(matrix: Any, source: str) -> sp.csr_matrix:
    """CSR float32 copy [cells, genes] with sorted indices and no stored zeros.

    Raises:
      InputError: no matrix of numbers, or counts that are negative, NaN or infinite.
    """
    if not (sp.issparse(matrix) or isinstance(matrix, np.ndarray)):
        kind = type(matrix).__name__
        raise InputError(f"{source}: expected a numpy or scipy matrix, got {kind}; convert it")
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"{source}: expected cells and genes, found a matrix {matrix.shape}")
    check_numbers(matrix.dtype, source)
    if isinstance(matrix, np.ma.MaskedArray) and np.ma.is_masked(matrix):
        raise InputError(
            f"{source}: expected a count for every gene and cell, {np.ma.count_masked(matrix)} "
            "entries are masked; fill them"
        )
    if sp.issparse(matrix):
        check_in_memory(matrix, source)
        matrix = matrix.astype(np.float32)  # first: scipy converts no half precision
    else:
        matrix = as_counts(matrix)
    counts = sp.csr_matrix(matrix, copy=True)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    num_bad = int(np.count_nonzero(~np.isfinite(counts.data)))
    if num_bad:
        raise InputError(
            f"{source}: expected finite counts, {num_bad} entries are NaN or infinite; "
            "remove or replace them"
        )
    num_negative = int(np.count_nonzero(counts.data < 0))
    if num_negative:
        raise InputError(
            f"{source}: expected counts of zero or more, {num_negative} entries are negative "
            f"(least: {counts.data.min():.4g}); name the layer with raw counts or use raw"
        )
    return counts


def check_genes(names: pd.Index, source: str) -> None:
    """Refuses repeated gene names."""
    repeated = names[names.duplicated()].unique()
    if len(repeated):
        raise InputError(
            f"{source}: expected unique gene names, {len(repeated)} are repeated: "
            f"{some(repeated)}; call adata.var_names_make_unique() and save again"
        )


def check_number(keep_cells: np.ndarray, min_cells: int, source: str) -> None:
    """Refuses too few cells with counts, given the mask [cells] of those."""
    if keep_cells.sum() < min_cells:
        raise InputError(
            f"{source}: expected at least {min_cells} cells with counts, found "
            f"{keep_cells.sum()} of {len(keep_cells)}; give a larger set"
        )


def notes_on_dropped(keep_cells: np.ndarray, keep_genes: np.ndarray) -> list[str]:
    """A sentence each where masks [cells] or [genes] drop those without any count."""
    notes = []
    for keep, what in ((keep_cells, "cells"), (keep_genes, "genes")):
        dropped = len(keep) - int(keep.sum())
        if dropped:
            notes.append(f"Dropped {dropped} of {len(keep)} {what} without any count.")
    return notes


def notes_on_rounded(largest: float) -> list[str]:
    """A sentence where the largest count is beyond the whole numbers that float32 tells apart."""
    if largest < _LARGEST_EXACT:
        return []
    return [
        f"The largest count is {largest:.8g}: counts are held as float32, which rounds those above "
        f"{_LARGEST_EXACT}."
    ]
