"""The files of embedded cells: of those that a report shows, and of all where they stay on disk."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qbm_jax.data import Cells
from qbm_jax.data.on_disk import StoredCells, write_embedding_blocks
from qbm_jax.data.on_disk.bar import cells_bar
from qbm_jax.data.write import embedding_key, energy_key, write_embedding
from qbm_jax.fitted.document import Evaluated, Model
from qbm_jax.fitted.scoring import metrics_room


def write_shown(
    path: Path,
    cells: Cells,
    name: str,
    found: Evaluated,
    embeddings: Mapping[str, np.ndarray],
    *,
    seed: int,
    provenance: dict[str, Any],
) -> None:
    """Writes the cells that were embedded, with every embedding and its layout by UMAP.

    Args:
      path: the file.
      cells: that were embedded.
      name: of the model.
      found: its embedding and energies.
      embeddings: by their names in `obsm`, the model's first.
      seed: of the layouts.
      provenance: `uns["qbm_jax"]`.

    Raises:
      InputError: the file cannot be written.
    """
    umap_layout, prior = metrics_room().umap_layout, found.model.vae.prior
    layouts = {each: umap_layout(values, seed) for each, values in embeddings.items()}
    gates, loadings = found.model.gene_results()
    write_embedding(
        path, cells, embeddings=dict(embeddings), layouts=layouts,
        energy=found.energy if prior.binary else None,
        energy_name=energy_key(name, couplings=prior.couplings),
        gates=gates, loadings=loadings, provenance=provenance,
    )  # fmt: skip


def write_all(
    path: Path, cells: StoredCells, name: str, model: Model, provenance: dict[str, Any]
) -> None:
    """Embeds all cells on disk with the model of this name, and writes them as they come.

    Raises:
      InputError: cells cannot be read, or the file cannot be written.
    """
    write_embedding_blocks(
        path, cells, _blocks(cells, model), name=embedding_key(name), provenance=provenance,
        energy_name=energy_key(name, couplings=model.vae.prior.couplings),
    )  # fmt: skip


def _blocks(cells: StoredCells, model: Model) -> Iterator[tuple]:
    """The embedding and energy of all cells, a block after another, with a progress bar."""
    binary = model.vae.prior.binary
    with cells_bar("embed", cells.num_cells, True) as advance:
        for where, embedding, energy in model.encode_blocks(cells):
            yield where, embedding, energy if binary else None
            advance(where.stop - where.start)
