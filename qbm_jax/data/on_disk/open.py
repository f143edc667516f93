"""Files of any number of cells to `StoredCells`: checks, genes, batches; counts stay on disk."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from qbm_jax.data import groups
from qbm_jax.data.cells import Cells
from qbm_jax.data.columns import writable
from qbm_jax.data.names import distinct, some
from qbm_jax.data.on_disk.csr_file import CsrFile
from qbm_jax.data.on_disk.genes import align
from qbm_jax.data.on_disk.origin import with_origin
from qbm_jax.data.on_disk.parts import Part
from qbm_jax.data.on_disk.stored_cells import StoredCells
from qbm_jax.data.on_disk.survey import Survey, stratified_sample, survey, totals_and_nonzeros
from qbm_jax.data.preprocess import check_num_genes, choose_genes, empty_cells_note, keep_expressed
from qbm_jax.data.read import (
    MIN_CELLS,
    check_number,
    gene_positions,
    notes_on_dropped,
)
from qbm_jax.data.simulate import simulated_note, simulated_source
from qbm_jax.errors import InputError

MAX_SAMPLE = 50_000
"""Cells that the genes are chosen on."""

MAX_SAMPLE_COUNTS = 40_000_000
"""Stored counts of these cells: 320 MB, of which choosing genes needs some five times as much."""


def open_cells(
    paths: str | Path | Sequence[str | Path],
    *,
    batch_column: str | None = None,
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
        batch_column: column of `obs` with the experimental batch; None: all cells are one batch.
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
            for path in _paths(paths)
        ]
        var, columns, align_notes = align(files, genes_of)
        obs, batch_column, label_column, obs_notes = _obs(
            files, batch_column, label_column, batch_of
        )
        _check_groups(files, obs, batch_column, label_column)
        size = _sample_size(files, max_sample) if gene_list is None else 0
        sampled = _sampled(obs, batch_column, size)
        facts = survey(files, columns, sampled, progress)
        parts = _parts(files, columns, facts.clean, layer, use_raw)
        keep_genes = facts.seen > 0
        if gene_list is not None:
            keep_genes = np.ones_like(keep_genes)  # whether or not these cells express them
        cells = _some_genes(
            files, parts, var, obs, facts, keep_genes, (batch_column, label_column), min_cells
        )
        cells = dataclasses.replace(cells, notes=(*align_notes, *obs_notes, *cells.notes))
        if gene_list is None:
            genes, notes = _choose(cells, facts, sampled, num_genes, min_cells_per_gene)
        else:
            genes, notes = gene_positions(cells.genes, gene_list), ()
        return _with_genes(cells, facts, files, genes, notes, progress)


def _paths(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    several = [paths] if isinstance(paths, str | Path) else list(paths)
    if not several:
        raise InputError("expected at least one file of cells, got none; name one")
    named = [Path(path).expanduser() for path in several]
    resolved = [path.resolve() for path in named]
    twice = [path for i, path in enumerate(named) if resolved[i] in resolved[:i]]
    if twice:
        raise InputError(f"expected different files of cells, got {twice[0]} twice; name it once")
    return named


def _obs(
    files: Sequence[CsrFile], batch_column: str | None, label_column: str | None, batch_of: str
) -> tuple[pd.DataFrame, str | None, str | None, list[str]]:
    """The columns that are needed, of all rows of all files; only these are ever read.

    Returns:
        The table, the names in it of the columns of batch and label, and notes.
    """
    from_column = batch_column if batch_of != "file" else None
    wanted = [column for column in (from_column, label_column) if column is not None]
    tables = [file.obs(list(dict.fromkeys(wanted))) for file in files]
    obs = pd.concat(tables) if len(tables) > 1 else tables[0]
    paths, sizes = [file.path for file in files], [file.shape[0] for file in files]
    obs, batch_column, notes = with_origin(obs, from_column, paths, sizes, batch_of)
    kept = writable(obs, "obs")
    names = (kept.name_of(batch_column), kept.name_of(label_column))
    return kept.table, *names, [*kept.notes, *notes]


def _check_groups(
    files: Sequence[CsrFile], obs: pd.DataFrame, batch_column: str | None, label_column: str | None
) -> None:
    """Refuses columns that cannot be used before all counts are read; empty cells need no batch."""
    source, _ = _source(files)
    stored = np.concatenate([np.diff(file.indptr) for file in files])
    groups.batches(obs.loc[stored > 0], batch_column, source)
    groups.labels(obs.loc[stored > 0], label_column, source)


def _sample_size(files: Sequence[CsrFile], max_sample: int) -> int:
    """Cells to choose genes on: fewer where the mean cell has many stored counts."""
    stored = sum(int(file.indptr[-1]) for file in files)
    rows = sum(file.shape[0] for file in files)
    return max(min(max_sample, MAX_SAMPLE_COUNTS * rows // max(stored, 1)), 1)


def _sampled(obs: pd.DataFrame, batch_column: str | None, size: int) -> np.ndarray:
    strata = np.zeros(len(obs), int)
    if batch_column is not None:
        strata = np.unique(distinct(obs[batch_column])[0], return_inverse=True)[1]
    return stratified_sample(strata, size)


def _parts(
    files: Sequence[CsrFile],
    columns: Sequence[np.ndarray],
    clean: Sequence[bool],
    layer: str | None,
    use_raw: bool,
) -> tuple[Part, ...]:
    first_rows = np.cumsum([0] + [file.shape[0] for file in files])
    return tuple(
        Part(file.path, layer, use_raw, columns[f], int(first_rows[f]), clean[f])
        for f, file in enumerate(files)
    )


def _some_genes(
    files: Sequence[CsrFile],
    parts: tuple[Part, ...],
    var: pd.DataFrame,
    obs: pd.DataFrame,
    facts: Survey,
    keep_genes: np.ndarray,
    group_columns: tuple[str | None, str | None],
    min_cells: int,
) -> StoredCells:
    """The cells with a count and the genes of the mask, as `read` keeps them."""
    source, preset_notes = _source(files)
    keep_cells = facts.nonzeros > 0
    check_number(keep_cells, min_cells, source)
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
        notes=(*preset_notes, *dropped, *batch_notes, *label_notes),
    )


def _source(files: Sequence[CsrFile]) -> tuple[str, list[str]]:
    """Where the cells come from, and a note for each simulator preset among the files."""
    names = some([file.path.name for file in files])
    presets = sorted({preset for file in files if (preset := file.simulator_preset())})
    if presets:
        names = f"{'; '.join(simulated_source(preset) for preset in presets)} ({names})"
    return names, [simulated_note(preset) for preset in presets]


def _choose(
    cells: StoredCells,
    facts: Survey,
    sampled: np.ndarray,
    num_genes: int,
    min_cells_per_gene: int,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Positions of the genes to model among those of `cells`, and notes on the choice."""
    index = np.searchsorted(cells.rows, sampled)
    index = np.minimum(index, cells.num_cells - 1)
    kept = cells.rows[index] == sampled
    expressed = facts.seen > 0
    counts, facts.sample = facts.sample, facts.sample[:0]
    if not kept.all():
        counts = counts[kept]
    if not expressed.all():
        counts = counts[:, expressed]
    few = _in_memory(cells, counts, index[kept])
    del counts  # a copy for each step would be more than the bound on the sample allows for
    few = keep_expressed(few, facts.seen[expressed], min_cells_per_gene)
    chosen = choose_genes(few, num_genes)
    notes = chosen.notes
    if kept.sum() < cells.num_cells and chosen.num_genes < few.num_genes:
        notes += (
            f"Variable genes were chosen on a sample of {kept.sum()} of {cells.num_cells} cells, "
            f"drawn within each batch; it has at most about {MAX_SAMPLE_COUNTS} stored counts.",
        )
    return pd.Index(cells.genes).get_indexer(list(chosen.genes)), notes


def _in_memory(cells: StoredCells, counts: sp.csr_matrix, index: np.ndarray) -> Cells:
    """Cells without notes whose counts are at hand already."""
    return Cells(
        counts=counts,
        genes=cells.genes,
        obs=cells.obs.iloc[index],
        var=cells.var,
        rows=cells.rows[index],
        batch=cells.batch[index],
        batch_names=cells.batch_names,
        labels=None,
        label_names=(),
        batch_column=cells.batch_column,
        label_column=None,
        is_integer=cells.is_integer,
        simulated=cells.simulated,
        source=cells.source,
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
