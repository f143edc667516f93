"""An h5ad file, or an AnnData in memory, to validated `Cells`. Nothing is ever unpickled."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from qbm_jax import likelihoods
from qbm_jax.data import groups
from qbm_jax.data.cells import Cells
from qbm_jax.data.h5ad import (
    SIMULATOR_PRESET,
    Table,
    choose_matrix,
    damage_named,
    load,
    simulator_preset,
    some,
)
from qbm_jax.data.simulate import simulated_note, simulated_source
from qbm_jax.errors import InputError

if TYPE_CHECKING:  # that package imports this file
    from qbm_jax.data.on_disk.stored_cells import StoredCells

MIN_CELLS = 50
"""Fewer cells than this cannot be split, trained on and scored."""


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
        min_cells: least number of cells with counts.

    Raises:
        InputError: the file, matrix or columns cannot be used; see `from_anndata`.
    """
    path = Path(path).expanduser()
    table = load(path, layer, use_raw)
    cells = _build(table, batch_column, label_column, genes, min_cells, path.name)
    with damage_named(path), h5py.File(path, "r") as file:
        return _marked(cells, simulator_preset(file))


def from_anndata(
    adata: anndata.AnnData,
    *,
    batch_column: str | None = None,
    label_column: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    genes: Sequence[str] | None = None,
    min_cells: int = MIN_CELLS,
    source: str = "AnnData in memory",
) -> Cells:
    """Validated `Cells` from an AnnData, which is left unchanged; arguments as for `read`.

    Cells and genes without counts are dropped, cells without a label are kept as `UNLABELLED`;
    both are noted, as are batches and types of one cell.

    Raises:
        InputError: no such matrix or column, duplicate or missing gene names, negative or
            non-finite counts, cells without a batch, or fewer than `min_cells` cells left.
    """
    table = choose_matrix(adata.to_memory() if adata.isbacked else adata, layer, use_raw)
    cells = _build(table, batch_column, label_column, genes, min_cells, source)
    return _marked(cells, adata.uns.get("qbm_jax", {}).get(SIMULATOR_PRESET))


def _marked(cells: Cells, preset: str | None) -> Cells:
    """Cells that say that they are simulated, where a preset of the simulator is given."""
    if preset is None:
        return cells
    return dataclasses.replace(
        cells,
        simulated=True,
        source=f"{simulated_source(preset)} ({cells.source})",
        notes=(simulated_note(preset), *cells.notes),
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
    if counts.shape != (len(obs), len(var)):
        raise InputError(
            f"{source}: expected {len(obs)} cells and {len(var)} genes as in obs and var, the "
            f"matrix has {counts.shape[0]} and {counts.shape[1]}; the file is damaged"
        )
    var = var.set_axis(var.index.astype(str))
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
    return Cells(
        counts=counts,
        genes=tuple(var.index[keep_genes]),
        obs=obs.copy(),
        var=var.loc[keep_genes].copy(),
        rows=np.flatnonzero(keep_cells),
        batch=batch,
        batch_names=batch_names,
        labels=labels,
        label_names=label_names,
        batch_column=batch_column,
        label_column=label_column,
        is_integer=bool(np.all(counts.data == np.rint(counts.data))),
        simulated=False,
        source=source,
        notes=(*notes, *batch_notes, *label_notes),
    )


def check_likelihood(cells: "Cells | StoredCells", likelihood: str) -> None:
    """Refuses counts that are not whole numbers for a likelihood of whole numbers.

    Raises:
        InputError: names the alternatives; or there is no such likelihood.
    """
    if cells.is_integer or likelihoods.build(likelihood).accepts_non_integer:
        return
    example, largest = cells.fractions()
    hint = " (they look log-normalised)" if largest < 20 else ""
    raise InputError(
        f"{cells.source}: likelihood {likelihood} expects whole-number counts, found values such "
        f"as {example:.4g}{hint}; name the layer with raw counts, use raw, round expected counts "
        "to whole numbers, or choose likelihood normal"
    )


def gene_positions(genes: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Where each wanted gene stands in `genes`, int64 [wanted].

    Raises:
        InputError: a gene is asked for twice, or is missing (the first ten and their number).
    """
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


def to_counts(matrix, source: str) -> sp.csr_matrix:
    """CSR float32 copy [cells, genes] with sorted indices and no stored zeros.

    Raises:
        InputError: no matrix of numbers, or counts that are negative, NaN or infinite.
    """
    if not (sp.issparse(matrix) or isinstance(matrix, np.ndarray)):
        kind = type(matrix).__name__
        raise InputError(f"{source}: expected a numpy or scipy matrix, got {kind}; convert it")
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"{source}: expected cells and genes, found a matrix {matrix.shape}")
    if matrix.dtype.kind not in "biuf":
        raise InputError(f"{source}: expected numbers, the matrix holds {matrix.dtype}; convert it")
    counts = sp.csr_matrix(matrix, dtype=np.float32, copy=True)
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
    if keep_cells.sum() < max(min_cells, 1):
        raise InputError(
            f"{source}: expected at least {max(min_cells, 1)} cells with counts, found "
            f"{keep_cells.sum()} of {len(keep_cells)}; give a larger set"
        )


def notes_on_dropped(keep_cells: np.ndarray, keep_genes: np.ndarray) -> list[str]:
    """One sentence each where cells or genes are without any count."""
    notes = []
    for keep, what in ((keep_cells, "cells"), (keep_genes, "genes")):
        dropped = len(keep) - int(keep.sum())
        if dropped:
            notes.append(f"Dropped {dropped} of {len(keep)} {what} without any count.")
    return notes
