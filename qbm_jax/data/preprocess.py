"""Chooses the genes: expressed, highly variable within batches, or given by name."""

import warnings
from collections.abc import Sequence

import anndata
import numpy as np

from qbm_jax.data.cells import Cells
from qbm_jax.data.names import some
from qbm_jax.data.read import gene_positions
from qbm_jax.errors import InputError
from qbm_jax.runtime.optional import needed
from qbm_jax.runtime.options import check, whole

MIN_BATCH = 50
"""Smaller batches give no stable trend of variance on mean and do not vote on genes."""

_MIN_POINTS = 20
"""Genes that vary, for a trend through them; scikit-misc's loess crashes Python on 3 or fewer."""


def preprocess(
    cells: Cells,
    *,
    num_genes: int = 2000,
    min_cells_per_gene: int = 3,
    gene_list: Sequence[str] | None = None,
) -> Cells:
    """Keeps the genes to model, in their original order; counts stay raw.

    Genes are ranked within each batch by the variance that the mean does not explain
    (`seurat_v3`, Stuart et al. 2019, on counts) and combined over batches by scanpy.
    Cells without a count in the genes kept are dropped, with a note.

    Args:
      cells: raw counts [cells, genes].
      num_genes: number of highly variable genes; where fewer are left, all are kept.
      min_cells_per_gene: genes seen in fewer cells are dropped first.
      gene_list: these genes in this order instead, without any filter.

    Raises:
      InputError: a gene of `gene_list` is missing, or too few cells or genes are left.
    """
    if gene_list is not None:
        return _drop_empty_cells(align_genes(cells, gene_list))
    check_num_genes(num_genes)
    cells = keep_expressed(cells, cells.counts.getnnz(axis=0), min_cells_per_gene)
    return _drop_empty_cells(choose_genes(cells, num_genes))


def keep_expressed(cells: Cells, seen: np.ndarray, min_cells_per_gene: int) -> Cells:
    """The genes seen in enough cells, where `seen` [genes] counts the cells with each gene.

    Raises:
      InputError: no gene is, or no number of cells.
    """
    min_cells_per_gene = check("min_cells_per_gene", min_cells_per_gene, whole(0))
    expressed = seen >= min_cells_per_gene
    if not expressed.any():
        raise InputError(
            f"{cells.source}: expected genes seen in at least {min_cells_per_gene} cells, found "
            "none; lower min_cells_per_gene or give a larger set"
        )
    if expressed.all():
        return cells
    dropped = f"Dropped {(~expressed).sum()} of {len(expressed)} genes"
    return cells.select(genes=expressed).with_notes(
        f"{dropped} seen in fewer than {min_cells_per_gene} cells."
    )


def choose_genes(cells: Cells, num_genes: int) -> Cells:
    """The most variable genes, all cells; where there are not more genes, all of them."""
    if cells.num_genes < num_genes:
        note = f"Kept all {cells.num_genes} genes, fewer than the {num_genes} asked for."
        return cells.with_notes(note)
    if cells.num_genes == num_genes:
        return cells
    chosen, notes = _highly_variable(cells, num_genes)
    return cells.select(genes=chosen).with_notes(*notes)


def align_genes(cells: Cells, wanted: Sequence[str]) -> Cells:
    """The same cells with exactly the wanted genes, by name and in the order given.

    Raises:
      InputError: genes are missing; lists the first ten and their number.
    """
    return cells.select(genes=gene_positions(cells.genes, wanted))


def _highly_variable(cells: Cells, num_genes: int) -> tuple[np.ndarray, list[str]]:
    """Mask [genes] of the most variable genes, and what had to be left out.

    The trend is a loess fit, which fails on few cells or few distinct means. Then a wider span is
    tried, then all cells as one batch, then the ratio of variance to mean without any fit.
    """
    sizes = np.bincount(cells.batch, minlength=len(cells.batch_names))
    voting = np.array([_can_fit(cells, b) for b in range(len(sizes))])
    notes = []
    left_out = [cells.batch_names[b] for b in np.flatnonzero(~voting & (sizes > 0))]
    if voting.any():
        if left_out:
            notes.append(f"Batches too small for a trend had no vote on genes: {some(left_out)}.")
        votes = voting[cells.batch]
        voters = cells if votes.all() else cells.select(cells=votes)
        for span in (0.3, 1.0):
            chosen = _seurat_v3(voters, num_genes, per_batch=True, span=span)
            if chosen is not None:
                return chosen, notes
    notes.append("Variable genes were ranked over all cells at once: no fit within batches.")
    if _num_varying(cells) >= _MIN_POINTS:
        chosen = _seurat_v3(cells, num_genes, per_batch=False, span=1.0)
        if chosen is not None:
            return chosen, notes
    notes.append("Variable genes were ranked by variance over mean: no trend could be fitted.")
    return _overdispersed(cells, num_genes), notes


def _can_fit(cells: Cells, batch: int) -> bool:
    """Enough cells of the batch, and enough genes that vary among them."""
    members = cells.batch == batch
    return members.sum() >= MIN_BATCH and _num_varying(cells.select(cells=members)) >= _MIN_POINTS


def _num_varying(cells: Cells) -> int:
    """Number of genes that are not constant over the cells."""
    return (cells.counts.max(axis=0) - cells.counts.min(axis=0)).nnz


def _seurat_v3(cells: Cells, num_genes: int, per_batch: bool, span: float) -> np.ndarray | None:
    """Mask [genes] from scanpy, or None where its loess fit is singular."""
    scanpy = needed("scanpy")  # seconds, which only those wait for who choose genes
    adata = anndata.AnnData(cells.counts)
    adata.obs["batch"] = np.asarray(cells.batch_names)[cells.batch]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on non-integer counts and categories, checked before
            table = scanpy.pp.highly_variable_genes(
                adata,
                n_top_genes=num_genes,
                flavor="seurat_v3",
                batch_key="batch" if per_batch else None,
                span=span,
                check_values=False,
                inplace=False,
            )
    except ValueError:  # skmisc: "reciprocal condition number", "Extrapolation not allowed", ...
        return None
    return table["highly_variable"].to_numpy()


def _overdispersed(cells: Cells, num_genes: int) -> np.ndarray:
    """Mask [genes] of the largest variance over mean."""
    mean = np.asarray(cells.counts.mean(axis=0)).ravel()
    square = np.asarray(cells.counts.multiply(cells.counts).mean(axis=0)).ravel()
    ranked = np.argsort(-(square - mean**2) / mean, kind="stable")
    chosen = np.zeros(cells.num_genes, dtype=bool)
    chosen[ranked[:num_genes]] = True
    return chosen


def _drop_empty_cells(cells: Cells) -> Cells:
    """The cells with a count; one without has no library size, so no likelihood."""
    keep = cells.counts.getnnz(axis=1) > 0
    note = empty_cells_note(keep, cells.num_genes, cells.source)
    return cells.select(cells=keep).with_notes(*note) if note else cells


def empty_cells_note(keep: np.ndarray, num_genes: int, source: str) -> list[str]:
    """What is said where the mask `keep` [cells] leaves cells out; nothing where it does not.

    Raises:
      InputError: it leaves none.
    """
    if not keep.any():
        raise InputError(f"{source}: no cell has a count in the {num_genes} genes kept")
    dropped = len(keep) - int(keep.sum())
    if not dropped:
        return []
    return [f"Dropped {dropped} of {len(keep)} cells without a count in the genes kept."]


def check_num_genes(num_genes: int) -> None:
    """Refuses to choose no genes, or a number of them that is not whole."""
    check("num_genes", num_genes, whole(1))
