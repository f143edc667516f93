"""Cells in: files, on disk or in memory, preprocessing, public sets, and simulated cells."""

from qbm_jax.data.cells import UNLABELLED, Cells
from qbm_jax.data.fractions import check_likelihood
from qbm_jax.data.locate import locate
from qbm_jax.data.on_disk import (
    StoredCells,
    StoredReader,
    open_cells,
    stratified_sample,
    write_embedding_blocks,
    write_simulated,
)
from qbm_jax.data.preprocess import align_genes, preprocess
from qbm_jax.data.read import from_anndata, read
from qbm_jax.data.simulate import SimulatedTruth, simulate, simulate_chunks, simulate_with_truth

__all__ = [
    "UNLABELLED",
    "Cells",
    "SimulatedTruth",
    "StoredCells",
    "StoredReader",
    "align_genes",
    "check_likelihood",
    "from_anndata",
    "locate",
    "open_cells",
    "preprocess",
    "read",
    "simulate",
    "simulate_chunks",
    "simulate_with_truth",
    "stratified_sample",
    "write_embedding_blocks",
    "write_simulated",
]
