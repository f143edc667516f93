"""What is written a block at a time: simulated cells and embeddings, whole or not at all.

Guards qbm_jax.data.whole.
"""

import itertools

import anndata
import jax
import numpy as np
import pytest

from qbm_jax.data import open_cells, read, simulate
from qbm_jax.data.on_disk.simulated import write_simulated
from qbm_jax.data.on_disk.write import write_embedding_blocks
from qbm_jax.errors import InputError

COLUMNS = {"batch_column": "batch", "label_column": "cell_type"}
KEY = jax.random.key(3)


def simulated(path, **options):
    sizes = {"num_cells": 700, "num_genes": 50}
    return write_simulated(path, KEY, "toy", **sizes, progress=False, **options)


@pytest.mark.parametrize("chunk_size", [100, 8192])
def test_simulated_cells_read_back_are_those_simulated(tmp_path, chunk_size):
    path = simulated(tmp_path / "a.h5ad", chunk_size=chunk_size)
    expected = simulate(KEY, "toy", num_cells=700, num_genes=50)
    adata = anndata.read_h5ad(path)
    assert (expected.counts != adata.X).nnz == 0
    assert adata.obs.equals(expected.obs) and adata.var.equals(expected.var)


def test_simulated_cells_say_so_however_they_are_read(tmp_path):
    path = simulated(tmp_path / "a.h5ad")
    for cells in (read(path, **COLUMNS), open_cells(path, **COLUMNS, progress=False)):
        assert cells.simulated and cells.source.startswith("SIMULATED cells (preset toy)")
        assert cells.notes[0] == "SIMULATED cells, not a measurement: simulator preset toy."


def test_the_atlas_is_sparse_and_has_rare_types():
    cells = simulate(KEY, "atlas", num_cells=3000)
    assert cells.num_genes == 2000 and len(cells.batch_names) >= 5 and len(cells.label_names) >= 10
    assert 0.88 < 1 - cells.counts.nnz / np.prod(cells.counts.shape) < 0.92


def test_nothing_is_left_of_a_file_that_could_not_be_finished(tmp_path, monkeypatch):
    path = simulated(tmp_path / "a.h5ad")
    before = path.read_bytes()
    monkeypatch.setattr("qbm_jax.data.on_disk.simulated.cell_table", full_disk)
    with pytest.raises(InputError, match=r"could not write .*a.h5ad: .*No space left"):
        simulated(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def full_disk(*_):
    raise OSError(28, "No space left on device")


def blocks_of(embedding, energy, size=64):
    for start in range(0, len(embedding), size):
        cells = slice(start, min(start + size, len(embedding)))
        yield cells, embedding[cells], None if energy is None else energy[cells]


@pytest.mark.parametrize("name", ["out.h5ad", "out.zarr"])
@pytest.mark.filterwarnings("ignore")  # zarr's and anndata's on formats to come
def test_embeddings_written_in_blocks_are_read_back_whole(tmp_path, name):
    stored = open_cells(simulated(tmp_path / "a.h5ad"), **COLUMNS, num_genes=20, progress=False)
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(stored.num_cells, 6)).astype(np.float32)
    energy = rng.normal(size=stored.num_cells).astype(np.float32)
    path = tmp_path / name
    for _ in range(2):  # the second takes the place of the first
        write_embedding_blocks(
            path, stored, blocks_of(embedding, energy), "X_qbmvae", {"seed": 3, "simulated": True}
        )
    adata = anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)
    np.testing.assert_array_equal(adata.obsm["X_qbmvae"], embedding)
    np.testing.assert_array_equal(adata.obs["qbm_energy"], energy)
    assert adata.obs[["batch", "cell_type"]].equals(stored.obs)
    assert list(adata.var_names) == list(stored.genes) and adata.uns["qbm_jax"]["seed"] == 3
    write_embedding_blocks(path, stored, blocks_of(embedding, None), "X_vae", {})
    adata = anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)
    assert list(adata.obsm) == ["X_vae"] and "qbm_energy" not in adata.obs


def test_embeddings_of_some_cells_only_are_no_file(tmp_path):
    stored = open_cells(simulated(tmp_path / "a.h5ad"), **COLUMNS, num_genes=20, progress=False)
    blocks = list(blocks_of(np.zeros((stored.num_cells, 2)), None))
    for some in (blocks[:-1], blocks[1:], itertools.chain(blocks[:2], blocks[3:])):
        with pytest.raises(ValueError, match="expected"):
            write_embedding_blocks(tmp_path / "out.h5ad", stored, some, "X_qbmvae", {})
        assert not (tmp_path / "out.h5ad").exists() and len(list(tmp_path.iterdir())) == 1
