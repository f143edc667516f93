"""Files of anndata 0.7 give names, unlabelled cells and donors, in memory and on disk."""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from qbm_jax.data import UNLABELLED, open_cells, read
from qbm_jax.data.tables import categorical

COLUMNS = {"batch_column": "batch", "label_column": "cell_type"}
READERS = {
    "memory": lambda path: read(path, **COLUMNS),
    "disk": lambda path: open_cells(path, progress=False, **COLUMNS),
}


def write_as_07(path, batch, types, with_reference=True):
    """Codes in obs, categories in obs/__categories, with or without the reference to them."""
    adata = anndata.AnnData(sp.csr_matrix(np.ones((60, 5), np.float32)))
    adata.var_names, adata.obs_names = [f"g{i}" for i in range(5)], [f"c{i}" for i in range(60)]
    adata.obs["batch"] = pd.Categorical(batch)
    adata.obs["cell_type"] = pd.Categorical(types)
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        obs.attrs["encoding-version"] = "0.1.0"
        kept = obs.create_group("__categories")
        for name in ("batch", "cell_type"):
            codes, names = obs[name]["codes"][:], obs[name]["categories"][:]
            del obs[name]
            kept.create_dataset(name, data=names, dtype=h5py.string_dtype())
            obs.create_dataset(name, data=codes)
            if with_reference:
                obs[name].attrs["categories"] = kept[name].ref
    return path


def sizes(cells):
    labels = dict(zip(cells.label_names, np.bincount(cells.labels).tolist(), strict=True))
    return dict(zip(cells.batch_names, np.bincount(cells.batch).tolist(), strict=True)), labels


@pytest.mark.parametrize("where", READERS)
@pytest.mark.parametrize("with_reference", [True, False])
def test_names_and_unlabelled_cells_are_read(tmp_path, where, with_reference):
    batch = np.where(np.arange(60) < 20, "x", "y")
    types = np.array(["A", "B", None], object)[np.arange(60) % 3]
    path = write_as_07(tmp_path / "a.h5ad", batch, types, with_reference)
    cells = READERS[where](path)
    assert sizes(cells) == ({"x": 20, "y": 40}, {"A": 20, "B": 20, UNLABELLED: 20})
    np.testing.assert_array_equal(np.flatnonzero(~cells.labelled), np.arange(60)[2::3])


def test_donors_and_types_of_two_files_are_told_apart(tmp_path):
    odd = np.arange(60) % 2 == 1
    first = write_as_07(
        tmp_path / "a.h5ad", np.where(odd, "d1", "d2"), np.where(odd, "alpha", "beta")
    )
    second = write_as_07(
        tmp_path / "b.h5ad", np.where(odd, "d3", "d4"), np.where(odd, "beta", "delta")
    )
    cells = READERS["disk"]([first, second])
    assert sizes(cells) == (
        {"d1": 30, "d2": 30, "d3": 30, "d4": 30}, {"alpha": 30, "beta": 60, "delta": 30},
    )  # fmt: skip


@pytest.mark.parametrize("where", READERS)
def test_an_old_file_and_a_new_one_have_the_same_groups(tmp_path, where):
    batch, types = ["x", "y"] * 30, ["A", "B", "C"] * 20
    old = READERS[where](write_as_07(tmp_path / "old.h5ad", batch, types))
    adata = anndata.read_h5ad(tmp_path / "old.h5ad")
    adata.write_h5ad(tmp_path / "new.h5ad")
    new = READERS[where](tmp_path / "new.h5ad")
    assert sizes(old) == sizes(new)
    np.testing.assert_array_equal(old.batch, new.batch)
    np.testing.assert_array_equal(old.labels, new.labels)


def test_categories_that_are_missing_or_there_twice_are_one_or_none():
    """As R writes them."""
    found = categorical(np.array([3, 1, 2, 0, -1], np.int8), ["b", "a", None, "b"], True)
    assert found.ordered and found.categories.tolist() == ["b", "a"]
    assert found.codes.tolist() == [0, 1, -1, 0, -1]
    for code in (-2, 4):
        with pytest.raises(ValueError, match=f"from {code} to {code}, 4 categories"):
            categorical(np.array([code]), list("abcd"), False)
