"""The embedding of all cells to a file, a block of cells at a time."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from anndata.io import write_elem

from qbm_jax.data.on_disk.stored_cells import StoredCells
from qbm_jax.data.whole import written_whole
from qbm_jax.data.write import QBM_ENERGY

_ZARR_ROWS = 8192  # cells in one chunk of a zarr array

Block = tuple[slice, np.ndarray, np.ndarray | None]
"""Which cells, their embedding float32 [n, dims], and their energy float32 [n] or None."""


def write_embedding_blocks(
    path: str | Path,
    stored: StoredCells,
    blocks: Iterable[Block],
    name: str,
    provenance: dict[str, Any],
    energy_name: str = QBM_ENERGY,
) -> None:
    """Writes obs, var, embedding and energy in anndata's layout, whole or not at all.

    The embedding is never held whole. `anndata.read_h5ad` or `read_zarr` reads the file.

    Args:
      path: the file; a zarr folder if the name ends in .zarr, else an h5ad.
      stored: the cells; their names, batch and label columns become `obs`.
      blocks: covers all cells in their order: a slice, the embedding float32 [n, dims], and
        the energy in nats float32 [n] (None for a prior without spins).
      name: where the embedding stands in `obsm`.
      provenance: `uns["qbm_jax"]`.
      energy_name: where the energy stands in `obs`, see `energy_key`.

    Raises:
      InputError: the file cannot be written.
      ValueError: the blocks do not cover the cells in their order.
    """
    path = Path(path)
    with written_whole(path) as temporary, _created(temporary, path.suffix == ".zarr") as file:
        write_elem(file, "obsm", {})
        energy = _write_blocks(file["obsm"], name, stored.num_cells, blocks)
        obs = stored.obs.copy(deep=False)
        if energy is not None:
            obs[energy_name] = energy
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        write_elem(file, "obs", obs)
        write_elem(file, "var", stored.var)
        write_elem(file, "uns", {"qbm_jax": provenance})


@contextlib.contextmanager
def _created(path: Path, as_zarr: bool) -> Iterator[h5py.File | zarr.Group]:
    if as_zarr:
        yield zarr.open_group(str(path), mode="w")
    else:
        with h5py.File(path, "w") as file:
            yield file


def _write_blocks(
    group: h5py.Group | zarr.Group, name: str, num_cells: int, blocks: Iterable[Block]
) -> np.ndarray | None:
    """Writes the embedding as the blocks come; returns the energy of all cells."""
    stored, energies, done = None, [], 0
    for cells, embedding, energy in blocks:
        if cells.start != done or len(embedding) != cells.stop - cells.start:
            raise ValueError(f"expected cells from {done} on, got {cells} of {len(embedding)}")
        if stored is None:
            stored = _array(group, name, (num_cells, embedding.shape[1]))
        stored[cells] = np.asarray(embedding, np.float32)
        energies.append(energy)
        done = cells.stop
    if done != num_cells:
        raise ValueError(f"expected embeddings of {num_cells} cells, got {done}")
    return None if energies[0] is None else np.concatenate(list(map(np.asarray, energies)))


def _array(
    group: h5py.Group | zarr.Group, name: str, shape: tuple[int, int]
) -> h5py.Dataset | zarr.Array:
    if isinstance(group, zarr.Group):
        chunks = (min(_ZARR_ROWS, shape[0]), shape[1])
        stored = group.create_array(name, shape=shape, dtype=np.float32, chunks=chunks)
    else:
        stored = group.create_dataset(name, shape=shape, dtype=np.float32)
    stored.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return stored
