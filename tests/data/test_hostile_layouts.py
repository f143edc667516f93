"""Damage and links beyond CSR in X: CSC, dense, raw, layers and zarr; odd tables and uns.

Guards qbm_jax.data.stored.
"""

import shutil

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

from qbm_jax.data import from_anndata, open_cells, read
from qbm_jax.errors import InputError

COUNTS = np.random.default_rng(0).poisson(2, (60, 10)).astype(np.float32) + 1


def on_disk(path, **options):
    return open_cells(path, progress=False, **options)


READERS = {"memory": read, "disk": on_disk}


def cells(matrix=None) -> anndata.AnnData:
    adata = anndata.AnnData(sp.csr_matrix(COUNTS) if matrix is None else matrix)
    adata.var_names = [f"g{i}" for i in range(10)]
    adata.obs_names = [f"c{i}" for i in range(60)]
    adata.obs["batch"] = pd.Categorical(np.where(np.arange(60) % 2, "x", "y"))
    adata.layers["counts"] = sp.csr_matrix(COUNTS)
    adata.raw = anndata.AnnData(sp.csr_matrix(COUNTS), var=adata.var)
    return adata


def set_item(group, name, index, value):
    group[name][index] = value


SPOILS = {
    "pointer": (lambda m: set_item(m, "indptr", 5, 10**9), "pointers"),
    "negative": (lambda m: set_item(m, "indices", 7, -3), "outside the"),
    "far": (lambda m: set_item(m, "indices", 7, 2**31 - 1), "outside the"),
    "shape": (lambda m: m.attrs.__setitem__("shape", [2**42, 10]), "incomplete"),
}
PLACES = {
    "layer": ("layers/counts", {"layer": "counts"}),
    "raw": ("raw/X", {"use_raw": True}),
    "X": ("X", {}),
}


def refused(reader, path, words, **options):
    with pytest.raises(InputError, match=words) as caught:
        reader(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize(("where", "place"), [(w, p) for w in READERS for p in ("layer", "raw")])
def test_damaged_layers_and_raw_are_one_line(tmp_path, spoil, where, place):
    cells().write_h5ad(tmp_path / "a.h5ad")
    name, options = PLACES[place]
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        SPOILS[spoil][0](file[name])
    refused(READERS[where], tmp_path / "a.h5ad", SPOILS[spoil][1], **options)
    READERS[where](tmp_path / "a.h5ad")  # X is sound, and nothing else is read


@pytest.mark.parametrize("spoil", ["pointer", "negative", "far"])
def test_a_damaged_csc_matrix_is_one_line(tmp_path, spoil):
    cells(sp.csc_matrix(COUNTS)).write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        SPOILS[spoil][0](file["X"])
    refused(read, tmp_path / "a.h5ad", SPOILS[spoil][1])
    refused(on_disk, tmp_path / "a.h5ad", "expected counts stored as CSR, X is CSC; convert")


def test_damaged_dense_matrices_are_one_line(tmp_path):
    path = tmp_path / "a.h5ad"
    cells(COUNTS).write_h5ad(path)
    refused(on_disk, path, "expected counts stored as CSR, X is dense")
    with h5py.File(path, "r+") as file:
        del file["X"]
        file.create_dataset("X", data=COUNTS[:50])
    refused(read, path, "expected 60 cells and 10 genes as in obs and var, the matrix has 50")
    with h5py.File(path, "r+") as file:
        del file["X"]
        file.create_dataset("X", (60, 10), np.float32, chunks=(1, 10))
    refused(read, path, "not stored")


@pytest.mark.parametrize("spoil", SPOILS)
def test_damaged_zarr_is_one_line(tmp_path, spoil):
    cells().write_zarr(tmp_path / "a.zarr")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r+", use_consolidated=False)["X"]
    SPOILS[spoil][0](group)
    zarr.consolidate_metadata(str(tmp_path / "a.zarr"))
    refused(on_disk, tmp_path / "a.zarr", SPOILS[spoil][1])


@pytest.mark.parametrize("name", ["X/data", "obs/batch", "var"])
def test_links_out_of_a_zarr_folder_are_refused_and_links_within_are_read(tmp_path, name):
    path = tmp_path / "a.zarr"
    cells().write_zarr(path)
    shutil.move(path / name, path / "kept")
    (path / name).symlink_to(path / "kept")
    assert on_disk(path, batch_column="batch").totals.sum() == COUNTS.sum()
    (path / name).unlink()
    shutil.move(path / "kept", tmp_path / "outside")
    (path / name).symlink_to(tmp_path / "outside")
    refused(on_disk, path, "leads to another file", batch_column="batch")


@pytest.mark.parametrize("where", READERS)
def test_links_within_a_file_are_read(tmp_path, where):
    path = tmp_path / "a.h5ad"
    cells().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file.move("X/data", "uns/elsewhere")
        file["X/data"] = h5py.SoftLink("/uns/elsewhere")
    assert READERS[where](path).totals.sum() == COUNTS.sum()
    with h5py.File(path, "r+") as file:
        del file["uns/elsewhere"]
    refused(READERS[where], path, "damaged")


@pytest.mark.parametrize("where", READERS)
def test_a_missing_compression_filter_is_named(tmp_path, where, monkeypatch):
    path = tmp_path / "a.h5ad"
    cells().write_h5ad(path, compression="gzip")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: code != h5py.h5z.FILTER_DEFLATE)
    refused(READERS[where], path, r"compressed in a way that is not available here .HDF5 filter 1")


@pytest.mark.parametrize("where", READERS)
@pytest.mark.parametrize("kind", ["array", "group", "text", "null"])
def test_an_odd_uns_does_no_harm(tmp_path, where, kind):
    path = tmp_path / "a.h5ad"
    cells().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["uns"]
        if kind == "array":
            file["uns"] = np.arange(3)
        elif kind == "group":
            file.create_group("uns/qbm_jax/simulator_preset")
        elif kind == "text":
            file["uns/qbm_jax"] = "no group"
    found = READERS[where](path)
    assert not found.simulated and found.num_cells == 60


@pytest.mark.parametrize("where", READERS)
def test_repeated_cell_names_are_kept_apart_with_a_note(tmp_path, where):
    adata = cells()
    adata.obs_names = ["same"] * 60
    adata.write_h5ad(tmp_path / "a.h5ad")
    found = READERS[where](tmp_path / "a.h5ad")
    assert found.num_cells == 60
    assert any("59 rows of obs repeat the name of another" in note for note in found.notes)


@pytest.mark.parametrize("where", READERS)
def test_ordered_categories_and_those_without_a_name_are_read(tmp_path, where):
    adata = cells()
    adata.obs["type"] = pd.Categorical(
        np.array(["b", "a", None], object)[np.arange(60) % 3], ["c", "b", "a"], ordered=True
    )
    adata.write_h5ad(tmp_path / "a.h5ad")
    found = READERS[where](tmp_path / "a.h5ad", label_column="type")
    assert found.label_names == ("b", "a", "unlabelled")
    assert np.bincount(found.labels).tolist() == [20, 20, 20]
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:  # as R writes factors with NA
        names = file["obs/type/categories"][:].astype(object)
        names[1] = "nan"
        file["obs/type/categories"][:] = names
    found = READERS[where](tmp_path / "a.h5ad", label_column="type")
    assert found.label_names == ("a", "unlabelled")
    assert np.bincount(found.labels).tolist() == [20, 40]


def test_columns_that_are_there_twice_are_kept_under_two_names():
    adata = cells()
    adata.obs = pd.DataFrame(
        np.array([["x", "1"], ["y", "2"]] * 30), adata.obs_names, columns=["batch", "batch"]
    )
    found = from_anndata(adata)
    assert list(found.obs) == ["batch", "batch_1"]
    assert any("kept as 'batch_1'" in note for note in found.notes)
    with pytest.raises(InputError, match="it is there 2 times"):
        from_anndata(adata, batch_column="batch")
