"""Damaged, linked and oddly written files are one line, in memory and on disk.

Guards qbm_jax.data.compressed, qbm_jax.data.on_disk.genes and qbm_jax.data.on_disk.origin.
"""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from refusals import refusal

from qbm_jax.data import from_anndata, open_cells, read
from qbm_jax.errors import InputError

COUNTS = np.random.default_rng(0).poisson(2, (60, 10)).astype(np.float32) + 1
READERS = {"memory": read, "disk": lambda path, **o: open_cells(path, progress=False, **o)}


def cells() -> anndata.AnnData:
    adata = anndata.AnnData(sp.csr_matrix(COUNTS))
    adata.var_names = [f"g{i}" for i in range(10)]
    adata.obs_names = [f"c{i}" for i in range(60)]
    adata.obs["batch"] = pd.Categorical(np.where(np.arange(60) % 2, "x", "y"))
    return adata


@pytest.fixture
def path(tmp_path):
    cells().write_h5ad(tmp_path / "a.h5ad")
    return tmp_path / "a.h5ad"


def change(path, name, index, value):
    with h5py.File(path, "r+") as file:
        file[name][index] = value


def declare(path, shape):
    with h5py.File(path, "r+") as file:
        file["X"].attrs["shape"] = np.array(shape, np.int64)


def unstored_pointers(path):
    with h5py.File(path, "r+") as file:
        del file["X/indptr"]
        file["X"].create_dataset("indptr", (2**42 + 1,), np.int64, chunks=(2**20,))
        file["X"].attrs["shape"] = np.array([2**42, 10])


def linked(path, name):
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["data"] = np.ones(600, np.float32)
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = h5py.ExternalLink("other.h5", "data")


def raw_text(path):
    path.with_name("text").write_bytes(b"secret" * 400)
    with h5py.File(path, "r+") as file:
        del file["X/data"]
        external = [(str(path.with_name("text")), 0, 2400)]
        file["X"].create_dataset("data", (600,), np.float32, external=external)


def virtual(path):
    layout = h5py.VirtualLayout((600,), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "data", (600,))
    with h5py.File(path, "r+") as file:
        del file["X/data"]
        file["X"].create_virtual_dataset("data", layout)


FAULTS = {
    "pointer": (lambda p: change(p, "X/indptr", 5, 10**9), "is damaged: the pointers"),
    "last": (lambda p: change(p, "X/indptr", -1, 599), "matrix is incomplete"),
    "first": (lambda p: change(p, "X/indptr", 0, 1), "matrix is incomplete"),
    "negative": (lambda p: change(p, "X/indices", 7, -3), "outside the 10 genes"),
    "far": (lambda p: change(p, "X/indices", 7, 2**31 - 1), "outside the 10 genes"),
    "rows": (lambda p: declare(p, [2**42, 10]), "matrix is incomplete"),
    "columns": (lambda p: declare(p, [60, 2**42]), "damaged"),
    "unstored": (unstored_pointers, "which is not stored"),
    "link": (lambda p: linked(p, "X/data"), "leads to another file"),
    "table link": (lambda p: linked(p, "obs/batch"), "leads to another file"),
    "raw storage": (raw_text, "leads to another file"),
    "virtual": (virtual, "leads to another file"),
}


@pytest.mark.parametrize("where", READERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_or_linked_file_is_one_line_and_never_a_crash(path, fault, where):
    spoil, words = FAULTS[fault]
    spoil(path)
    with pytest.raises(InputError, match=words) as caught:
        READERS[where](path)
    assert "\n" not in str(caught.value)


def test_a_damaged_matrix_in_memory_is_refused():
    adata = cells()
    adata.X.indptr[5] = 10**9
    with pytest.raises(InputError, match="pointers"):
        from_anndata(adata)


@pytest.mark.parametrize("where", READERS)
@pytest.mark.parametrize("dtype", ["float16", ">f4", "int64", "uint16"])
def test_counts_of_any_type_are_read(path, dtype, where):
    with h5py.File(path, "r+") as file:
        values = file["X/data"][:].astype(dtype)
        del file["X/data"]
        file["X"].create_dataset("data", data=values)
    read_back = READERS[where](path)
    total = read_back.totals.sum()
    assert total == COUNTS.sum()


def test_columns_that_files_cannot_hold_are_kept_under_other_names():
    adata = cells()
    adata.obs["_index"] = "a"
    adata.obs["when"] = pd.cut(np.arange(60), 2)
    kept = from_anndata(adata, batch_column="_index")
    assert kept.batch_column == "_index_1" and "_index_1" in kept.obs
    assert any("'_index' of obs has a name" in note for note in kept.notes)
    assert any("kept as text: when" in note for note in kept.notes)


def two_files(tmp_path):
    first, second = cells()[:, :8].copy(), cells()[:, 2:].copy()
    first.write_h5ad(tmp_path / "a.h5ad")
    second.write_h5ad(tmp_path / "b.h5ad")
    return [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]


def test_genes_of_several_files_are_those_asked_for(tmp_path):
    paths = two_files(tmp_path)
    with pytest.raises(InputError, match=r"b.h5ad lacks 2 of them: g0, g1"):
        READERS["disk"](paths)
    both = READERS["disk"](paths, genes_of="intersection")
    assert both.genes == tuple(f"g{i}" for i in range(2, 8))
    assert "Left out 2 genes of a.h5ad that not every file has." in both.notes
    any_file = READERS["disk"](paths, genes_of="union")
    expected = np.vstack([COUNTS, COUNTS])
    expected[:60, 8:] = 0
    expected[60:, :2] = 0
    np.testing.assert_array_equal(any_file.select(np.arange(120)).counts.toarray(), expected)
    mask = np.arange(120) < 3
    np.testing.assert_array_equal(any_file.select(mask).counts.toarray(), expected[:3])
    for wrong, told in (([-1], "from 0 to 119, got -1 to -1"), (mask[:5], "mask [120]")):
        assert told in refusal(any_file.select, wrong)


def test_equal_batch_names_in_two_files_are_said_or_kept_apart(tmp_path):
    options = {"batch_column": "batch", "genes_of": "intersection"}
    paths = two_files(tmp_path)
    one = READERS["disk"](paths, **options)
    assert one.batch_names == ("x", "y")
    assert any("same name in several of the 2 files" in note for note in one.notes)
    apart = READERS["disk"](paths, batch_of="column_and_file", **options)
    assert apart.batch_names == ("x (a.h5ad)", "x (b.h5ad)", "y (a.h5ad)", "y (b.h5ad)")
    files = READERS["disk"](paths, batch_of="file", **options)
    assert files.batch_names == ("a.h5ad", "b.h5ad") and list(np.bincount(files.batch)) == [60, 60]


def test_files_of_one_name_are_batches_named_by_their_folders_too(tmp_path):
    paths = [tmp_path / folder / "x.h5ad" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        cells().write_h5ad(path)
    assert READERS["disk"](paths, batch_of="file").batch_names == ("a/x.h5ad", "b/x.h5ad")
