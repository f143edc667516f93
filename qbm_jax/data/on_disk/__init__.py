"""Cells that do not fit in memory: they stay in their files and are read when they are needed."""

from qbm_jax.data.on_disk.open import open_cells
from qbm_jax.data.on_disk.simulated import write_simulated
from qbm_jax.data.on_disk.stored_cells import StoredCells, StoredReader
from qbm_jax.data.on_disk.survey import stratified_sample
from qbm_jax.data.on_disk.write import write_embedding_blocks

__all__ = [
    "StoredCells",
    "StoredReader",
    "open_cells",
    "stratified_sample",
    "write_embedding_blocks",
    "write_simulated",
]
