"""Cells in: files, preprocessing, public sets by name, and simulated cells with known truth."""

from qbm_jax.data.cells import UNLABELLED, Cells
from qbm_jax.data.locate import locate
from qbm_jax.data.preprocess import align_genes, preprocess
from qbm_jax.data.read import check_likelihood, from_anndata, read
from qbm_jax.data.simulate import SimulatedTruth, simulate, simulate_chunks, simulate_with_truth

__all__ = [
    "UNLABELLED",
    "Cells",
    "SimulatedTruth",
    "align_genes",
    "check_likelihood",
    "from_anndata",
    "locate",
    "preprocess",
    "read",
    "simulate",
    "simulate_chunks",
    "simulate_with_truth",
]
