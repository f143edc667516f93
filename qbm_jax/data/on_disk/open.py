"""Files of any number of cells to `StoredCells`: checks, genes, batches; counts stay on disk."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from qbm_jax.data import groups
from qbm_jax.data.on_disk.csr_file import CsrFile
from qbm_jax.data.on_disk.genes import align
from qbm_jax.data.on_disk.inputs import check_groups, distinct_paths, source_of, table_of_groups
from qbm_jax.data.on_disk.parts import FilePart
from qbm_jax.data.on_disk.sample import choose_from_sample, sample_size, sampled_rows
from qbm_jax.data.on_disk.stored_cells import StoredCells
from qbm_jax.data.on_disk.survey import Survey, survey, totals_and_nonzeros
from qbm_jax.data.preprocess import check_num_genes, empty_cells_note
from qbm_jax.data.read import (
    MIN_CELLS,
    check_number,
    gene_positions,
    notes_on_dropped,
    notes_on_rounded,
)

MAX_SAMPLE = 50_000
"""Cells that the genes are chosen on."""


def open_cells(
    paths: str | Path | Sequence[str | Path],
    *,
    batch_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
    batch_of: str = "column",
    layer: str | None = None,
    use_raw: bool = False,
    genes_of: str = "first",
    num_genes: int = 2000,
    min_cells_per_gene: int = 3,
    gene_list: Sequence[str] | None = None,
    max_sample: int = MAX_SAMPLE,
    min_cells: int = MIN_CELLS,
    progress: bool = True,
) -> StoredCells:
    """What `read` and `preprocess` do, for cells that stay on disk.

    The files are read once, block by block, and once more where genes with counts are left out.
    Memory holds a block, the sample, and the name and some numbers of each cell.

    Args:
      paths: one or many h5ad files or zarr folders in anndata's layout, the counts stored as CSR.
        Their genes may stand in any order; see `genes_of`.
      batch_column: column of `obs` with the experimental batch, or several, of which each
        combination is a batch; None: all cells are one batch.
      label_column: column of `obs` with the cell type; None: no labels.
      batch_of: "column": `batch_column` alone, so that equal names in two files are one batch,
        which is noted; "file": each file is a batch; "column_and_file": equal names in two
        files are two batches.
      layer: layer with the raw counts; None: `X`.
      use_raw: take the counts (and genes) of `raw` instead.
      genes_of: "first": the genes of the first file, which all others must have; "intersection":
        those that every file has; "union": those that any file has, with counts of zero where
        a file lacks one. What is left out or filled in is noted.
      num_genes: number of highly variable genes to keep, chosen as `preprocess` does.
      min_cells_per_gene: genes seen in fewer of all cells are dropped first.
      gene_list: these genes in this order instead, without any filter.
      max_sample: cells that the variable genes are chosen on, sampled within each batch and the
        same for the same cells. They are in memory with all their genes, so there are fewer
        where the mean cell has so many stored counts that they had more than 4e7 together.
      min_cells: least number of cells with counts.
      progress: show a bar for each pass.

    Raises:
      InputError: a file, matrix or column cannot be used, a file is given twice, genes are
        missing in a file, counts are negative or not finite, or too few cells or genes are
        left.
    """
    if gene_list is None:
        check_num_genes(num_genes)
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(contextlib.closing(CsrFile(path, layer, use_raw)))
            for path in distinct_paths(paths)
        ]
        var, columns, align_notes = align(files, genes_of)
        obs, batches_in, label_column, obs_notes = table_of_groups(
            files, batch_column, label_column, batch_of
        )
        check_groups(files, obs, batches_in, label_column)
        size = sample_size(files, max_sample) if gene_list is None else 0
        sampled = sampled_rows(obs, batches_in, size)
        facts = survey(files, columns, sampled, progress)
        parts = _parts(files, columns, facts.clean, layer, use_raw)
        keep_genes = facts.seen > 0
        if gene_list is not None:
            keep_genes = np.ones_like(keep_genes)  # whether or not these cells express them
        cells = _some_genes(
            files, parts, var, obs, facts, keep_genes, (batches_in, label_column), min_cells
        )
        cells = dataclasses.replace(cells, notes=(*align_notes, *obs_notes, *cells.notes))
        if gene_list is None:
            genes, notes = choose_from_sample(cells, facts, sampled, num_genes, min_cells_per_gene)
        else:
            genes, notes = gene_positions(cells.genes, gene_list), ()
        return _with_genes(cells, facts, files, genes, notes, progress)


def _parts(
    files: Sequence[CsrFile],
    columns: Sequence[np.ndarray],
    clean: Sequence[bool],
    layer: str | None,
    use_raw: bool,
) -> tuple[FilePart, ...]:
    first_rows = np.cumsum([0] + [file.shape[0] for file in files])
    return tuple(
        FilePart(file.path, layer, use_raw, columns[f], int(first_rows[f]), clean[f])
        for f, file in enumerate(files)
    )


def _some_genes(
    files: Sequence[CsrFile],
    parts: tuple[FilePart, ...],
    var: pd.DataFrame,
    obs: pd.DataFrame,
    facts: Survey,
    keep_genes: np.ndarray,
    group_columns: tuple[str | None, str | None],
    min_cells: int,
) -> StoredCells:
    """The cells with a count and the genes of the mask, as `read` keeps them."""
    source, preset_notes = source_of(files)
    keep_cells = facts.nonzeros > 0
    check_number(keep_cells, max(min_cells, 1), source)
    obs = obs.loc[keep_cells]
    batch, batch_names, batch_notes = groups.batches(obs, group_columns[0], source)
    labels, label_names, label_notes = groups.labels(obs, group_columns[1], source)
    dropped = notes_on_dropped(keep_cells, keep_genes)
    genes = np.flatnonzero(keep_genes)
    return StoredCells(
        parts=tuple(dataclasses.replace(part, columns=part.columns[genes]) for part in parts),
        genes=tuple(var.index[genes]),
        obs=obs,
        var=var.iloc[genes],
        rows=np.flatnonzero(keep_cells),
        batch=batch,
        batch_names=batch_names,
        labels=labels,
        label_names=label_names,
        batch_column=group_columns[0],
        label_column=group_columns[1],
        counts_digest=facts.counts_digest,
        totals=facts.totals[keep_cells],
        max_nonzeros=int(facts.nonzeros.max()),
        fraction=facts.fraction,
        largest=facts.largest,
        simulated=bool(preset_notes),
        source=source,
        notes=(
            *preset_notes,
            *dropped,
            *notes_on_rounded(facts.largest),
            *batch_notes,
            *label_notes,
        ),
    )


def _with_genes(
    cells: StoredCells,
    facts: Survey,
    files: Sequence[CsrFile],
    genes: np.ndarray,
    notes: Sequence[str],
    progress: bool,
) -> StoredCells:
    """The same cells with these genes, less those without a count in them."""
    parts = tuple(dataclasses.replace(part, columns=part.columns[genes]) for part in cells.parts)
    totals, nonzeros = facts.totals, facts.nonzeros
    if len(genes) < cells.num_genes:
        totals, nonzeros = totals_and_nonzeros(parts, files, progress)
    keep = nonzeros[cells.rows] > 0
    rows = cells.rows[keep]
    return dataclasses.replace(
        cells,
        parts=parts,
        genes=tuple(cells.genes[g] for g in genes),
        obs=cells.obs.iloc[keep],
        var=cells.var.iloc[genes],
        rows=rows,
        batch=cells.batch[keep],
        labels=None if cells.labels is None else cells.labels[keep],
        totals=totals[rows],
        max_nonzeros=int(nonzeros[rows].max()),
        notes=(*cells.notes, *notes, *empty_cells_note(keep, len(genes), cells.source)),
    )
