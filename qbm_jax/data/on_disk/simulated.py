"""Simulated cells to an h5ad file, a chunk at a time: any number of them in bounded memory."""

from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import jax
import numpy as np
import pandas as pd
from anndata.io import write_elem

from qbm_jax.data.h5ad import SIMULATOR_PRESET
from qbm_jax.data.on_disk.bar import cells_bar
from qbm_jax.data.simulate import SimulatedChunk, cell_table, gene_names, simulate_chunks
from qbm_jax.data.simulate_presets import find_preset
from qbm_jax.data.whole import written_whole
from qbm_jax.runtime.user_cache import expand_home

CHUNK_ENTRIES = 131_072
"""Stored counts in one chunk of the file, 512 kB of each array.

The size makes no difference to reading between 10^4 and 10^5; compression makes it about five times
slower in scattered blocks of 64 cells.
"""


def write_simulated(
    path: str | Path,
    key: jax.Array,
    preset: str = "atlas",
    *,
    num_cells: int = 0,
    num_genes: int = 0,
    chunk_size: int = 8192,
    progress: bool = True,
) -> Path:
    """Writes the cells of `simulate` to an h5ad file, whole or not at all.

    `X` is CSR without compression, `obs` has batch, cell_type, pseudotime and depth, and
    `uns["qbm_jax"]` says that the cells are simulated, which `open_cells` passes on.

    Args:
      path: the file; one that is there is replaced.
      key: consumed; the same key gives the same cells.
      preset: a name that `simulate_presets.find_preset` knows.
      num_cells: number of cells; 0: the preset's.
      num_genes: number of genes; 0: the preset's.
      chunk_size: cells held in memory at a time.
      progress: show a bar.

    Returns:
      The path, with the user's home spelt out.

    Raises:
      InputError: no such preset, a number out of range, or the file cannot be written.
    """
    path = expand_home(path)
    chunks = simulate_chunks(
        key, preset, num_cells=num_cells, num_genes=num_genes, chunk_size=chunk_size
    )
    study = find_preset(preset)
    num_cells = num_cells or study.num_cells
    num_genes = num_genes or study.num_genes
    with written_whole(path) as temporary, h5py.File(temporary, "w") as file:
        with cells_bar(f"simulate {path.name}", num_cells, progress) as advance:
            batch, labels, pseudotime, depth = _write_counts(
                file, chunks, (num_cells, num_genes), advance
            )
        obs = cell_table(batch, labels, pseudotime, depth, study)
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        write_elem(file, "obs", obs)
        write_elem(file, "var", pd.DataFrame(index=list(gene_names(num_genes))))
        write_elem(file, "uns", {"qbm_jax": {"simulated": True, SIMULATOR_PRESET: preset}})
    return path


def _write_counts(
    file: h5py.File,
    chunks: Iterable[SimulatedChunk],
    shape: tuple[int, int],
    advance: Callable[[int], object],
) -> list[np.ndarray]:
    """Appends the counts to `X`; returns batch, labels, pseudotime and depth of all cells."""
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = np.asarray(shape, np.int64)
    growing = {"shape": (0,), "maxshape": (None,), "chunks": (CHUNK_ENTRIES,)}
    values = group.create_dataset("data", dtype=np.float32, **growing)
    genes = group.create_dataset("indices", dtype=np.int32, **growing)
    lengths, tables = [np.zeros(1, np.int64)], []
    for chunk in chunks:
        start, stop = len(values), len(values) + chunk.counts.nnz
        for stored, new in ((values, chunk.counts.data), (genes, chunk.counts.indices)):
            stored.resize((stop,))
            stored[start:stop] = new
        lengths.append(np.diff(chunk.counts.indptr).astype(np.int64))
        tables.append((chunk.batch, chunk.labels, chunk.pseudotime, chunk.depth))
        advance(chunk.counts.shape[0])
    group["indptr"] = np.cumsum(np.concatenate(lengths))
    return [np.concatenate(field) for field in zip(*tables, strict=True)]
