"""Reading: every storage gives the same cells; every bad input is one clear line.

Guards qbm_jax.data.h5ad.
"""

import dataclasses
import pickle

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from qbm_jax.data import check_likelihood, from_anndata, open_cells, read
from qbm_jax.data.cells import UNLABELLED, Cells, of_matrix
from qbm_jax.errors import InputError

NUM_CELLS, NUM_GENES = 80, 12


def make_adata(seed: int = 0) -> anndata.AnnData:
    """Counts [80, 12] in two batches and three types, no empty cell or gene."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(1.0, size=(NUM_CELLS, NUM_GENES)).astype(np.float32)
    counts[:, 0] += 1
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.where(np.arange(NUM_CELLS) < 30, "b_two", "b_one")),
            "cell_type": np.array(["beta", "alpha", "delta"])[np.arange(NUM_CELLS) % 3],
            "score": rng.random(NUM_CELLS),
        },
        index=[f"cell{c}" for c in range(NUM_CELLS)],
    )
    return anndata.AnnData(
        counts, obs=obs, var=pd.DataFrame(index=[f"gene{g}" for g in range(NUM_GENES)])
    )


COLUMNS = {"batch_column": "batch", "label_column": "cell_type"}


def assert_same(first: Cells, second: Cells) -> None:
    assert (first.counts != second.counts).nnz == 0
    assert first.genes == second.genes and list(first.obs.index) == list(second.obs.index)
    assert first.batch_names == second.batch_names and first.label_names == second.label_names
    np.testing.assert_array_equal(first.batch, second.batch)
    np.testing.assert_array_equal(first.labels, second.labels)


@pytest.mark.parametrize("place", ["X", "layer", "raw"])
@pytest.mark.parametrize("storage", [np.asarray, sp.csr_matrix, sp.csc_matrix, sp.csr_array])
def test_every_storage_and_place_gives_the_same_cells(tmp_path, place, storage):
    adata = make_adata()
    matrix = storage(adata.X)
    wrong = np.full(adata.shape, 7.0, dtype=np.float32)
    stored = anndata.AnnData(matrix if place == "X" else wrong, obs=adata.obs, var=adata.var)
    if place == "layer":
        stored.layers["counts"] = matrix
    if place == "raw":
        stored.raw = anndata.AnnData(matrix, obs=adata.obs, var=adata.var)
        stored = stored[:, :5].copy()  # raw keeps all genes
    stored.write_h5ad(tmp_path / "cells.h5ad")
    options = {"layer": "counts" if place == "layer" else None, "use_raw": place == "raw"}
    expected = from_anndata(adata, **COLUMNS)
    assert_same(read(tmp_path / "cells.h5ad", **options, **COLUMNS), expected)
    assert_same(from_anndata(stored, **options, **COLUMNS), expected)
    np.testing.assert_array_equal(expected.counts.toarray(), adata.X)


def test_dense_blocks_join_to_the_whole_matrix(tmp_path, monkeypatch):
    monkeypatch.setattr("qbm_jax.data.h5ad._DENSE_BLOCK", 7)
    adata = make_adata()
    adata.write_h5ad(tmp_path / "dense.h5ad")
    np.testing.assert_array_equal(read(tmp_path / "dense.h5ad").counts.toarray(), adata.X)


@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
def test_tables_from_before_anndata_0_7_are_read(tmp_path):
    adata = make_adata()
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["X"] = adata.X
        obs = [(name.encode(), "ab"[c % 2].encode()) for c, name in enumerate(adata.obs_names)]
        file["obs"] = np.array(obs, dtype=[("index", "S10"), ("tech", "S10")])
        file["var"] = np.array([(g.encode(),) for g in adata.var_names], dtype=[("index", "S10")])
    cells = read(tmp_path / "old.h5ad", batch_column="tech")
    np.testing.assert_array_equal(cells.counts.toarray(), adata.X)
    assert cells.batch_names == ("a", "b") and cells.genes == tuple(adata.var_names)


def test_codes_point_to_the_names_of_the_column():
    adata = make_adata()
    cells = from_anndata(adata, **COLUMNS)
    assert list(np.array(cells.batch_names)[cells.batch]) == list(adata.obs["batch"])
    assert list(np.array(cells.label_names)[cells.labels]) == list(adata.obs["cell_type"])
    assert cells.label_names == ("alpha", "beta", "delta") and cells.is_integer
    assert not cells.simulated and cells.notes == ()


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (np.arange(NUM_CELLS) % 3, ("0", "1", "2")),
        (np.arange(NUM_CELLS) % 2 == 0, ("False", "True")),
        (np.arange(NUM_CELLS) % 11, tuple(map(str, range(11)))),
        (pd.array(np.arange(NUM_CELLS) % 3, dtype="Int64"), ("0", "1", "2")),
        (np.array([1, "one"] * 40, dtype=object), ("1", "one")),
    ],
)
def test_numbers_and_truth_values_name_batches_as_text(values, names):
    adata = make_adata()
    adata.obs["number"] = values
    cells = from_anndata(adata, batch_column="number")
    assert cells.batch_names == names
    assert list(np.array(cells.batch_names)[cells.batch]) == [str(v) for v in values]


def test_input_is_left_unchanged():
    adata = make_adata()
    adata.X = sp.csr_matrix(adata.X)
    adata.X.data[0] = 0.0  # a stored zero, which the record does not keep
    before = adata.copy()
    cells = from_anndata(adata, **COLUMNS)
    assert adata.X.nnz == before.X.nnz == cells.counts.nnz + 1
    pd.testing.assert_frame_equal(adata.obs, before.obs)


def test_empty_cells_and_genes_are_dropped_and_counted():
    adata = make_adata()
    adata.X[[3, 40], :] = 0
    adata.X[:, [2, 5, 6]] = 0
    cells = from_anndata(adata, **COLUMNS)
    assert cells.counts.shape == (NUM_CELLS - 2, NUM_GENES - 3)
    assert cells.notes == (
        "Dropped 2 of 80 cells without any count.",
        "Dropped 3 of 12 genes without any count.",
    )
    expected = np.delete(np.delete(adata.X, [3, 40], axis=0), [2, 5, 6], axis=1)
    np.testing.assert_array_equal(cells.counts.toarray(), expected)
    assert list(cells.obs.index) == list(adata.obs_names[cells.rows])
    assert list(np.array(cells.batch_names)[cells.batch]) == list(cells.obs["batch"])


def test_wanted_genes_come_in_their_order_even_if_unexpressed():
    adata = make_adata()
    adata.X[:, 5] = 0
    cells = from_anndata(adata, genes=("gene7", "gene5", "gene0"))
    assert cells.genes == ("gene7", "gene5", "gene0") == tuple(cells.var.index)
    np.testing.assert_array_equal(cells.counts.toarray(), adata.X[:, [7, 5, 0]])
    with pytest.raises(InputError, match=r"2 are missing: other, another"):
        from_anndata(adata, genes=("gene7", "other", "another"))


def test_without_columns_there_is_one_batch_and_no_label():
    cells = from_anndata(make_adata())
    assert cells.batch_names == ("all",) and not cells.batch.any()
    assert cells.labels is None and cells.label_names == () and not cells.labelled.any()
    assert len(cells.notes) == 2


def test_cells_without_label_are_kept_and_marked():
    adata = make_adata()
    adata.obs["cell_type"] = adata.obs["cell_type"].astype("category")
    adata.obs.loc["cell4", "cell_type"] = None
    cells = from_anndata(adata, **COLUMNS)
    assert UNLABELLED in cells.label_names and list(np.flatnonzero(~cells.labelled)) == [4]
    assert any("1 cells have no label" in note for note in cells.notes)


def test_single_cell_groups_and_single_batches_are_kept_and_noted():
    adata = make_adata()
    adata.obs["lonely"] = ["one", *["rest"] * (NUM_CELLS - 1)]
    adata.obs["same"] = "only"
    cells = from_anndata(adata, batch_column="lonely", label_column="lonely")
    assert cells.num_cells == NUM_CELLS
    assert cells.notes == (
        "Batch with a single cell, kept: one.",
        "Type with a single cell, kept: one.",
    )
    cells = from_anndata(adata, batch_column="same", label_column="same")
    assert any("Only one batch (only)" in note for note in cells.notes)
    assert any("Only one cell type" in note for note in cells.notes)


def _with(change):
    adata = make_adata()
    changed = change(adata)
    return adata if changed is None else changed


def _set(row: int, value: float):
    def change(adata):
        adata.X[row, 1] = value

    return change


def _repeat_gene(adata):
    adata.var_names = ["gene0", "gene0", *adata.var_names[2:]]


def _batch_missing(adata):
    adata.obs.loc["cell9", "batch"] = None


BAD_VALUES = {
    "negative": (_set(3, -2.0), {}, r"1 entries are negative \(least: -2\)"),
    "nan": (_set(3, np.nan), {}, r"1 entries are NaN or infinite"),
    "infinite": (_set(3, np.inf), {}, r"1 entries are NaN or infinite"),
    "few cells": (lambda a: a[:49].copy(), {}, r"at least 50 cells with counts, found 49 of 49"),
    "no genes": (lambda a: a[:, :0].copy(), {}, r"expected cells and genes"),
    "all zero": (lambda a: anndata.AnnData(a.X * 0, a.obs, a.var), {}, r"found 0 of 80"),
    "repeated gene": (_repeat_gene, {}, r"1 are repeated: gene0"),
    "no column": (lambda a: None, {"batch_column": "tech"}, r"has: batch, cell_type, score"),
    "no label column": (lambda a: None, {"label_column": "ct"}, r"label column 'ct'.*cell_type"),
    "no layer": (lambda a: None, {"layer": "spliced"}, r"'spliced', which does not exist.*: X"),
    "no raw": (lambda a: None, {"use_raw": True}, r"in raw, which does not exist"),
    "batch missing": (_batch_missing, {}, r"column 'batch' has none for 1 of 80"),
    "measurement": (lambda a: None, {"batch_column": "score"}, r"80 different values for 80"),
}


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize("case", BAD_VALUES)
@pytest.mark.parametrize("from_file", [False, True])
def test_bad_values_are_one_clear_line(tmp_path, case, from_file):
    change, options, message = BAD_VALUES[case]
    adata = _with(change)
    options = {**COLUMNS, **options}
    with pytest.raises(InputError, match=message) as caught:
        if from_file:
            adata.write_h5ad(tmp_path / "bad.h5ad")
            read(tmp_path / "bad.h5ad", **options)
        else:
            from_anndata(adata, **options)
    assert "\n" not in str(caught.value)


def test_bad_files_are_one_clear_line(tmp_path):
    good = tmp_path / "good.h5ad"
    make_adata().write_h5ad(good)
    whole = good.read_bytes()
    (tmp_path / "short.h5ad").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5ad").write_text("cells,genes\n")
    (tmp_path / "empty.h5ad").write_bytes(b"")
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["matrix"] = np.zeros(3)
    for name, message in {
        "missing.h5ad": "does not exist",
        ".": "is a directory",
        "text.h5ad": "no HDF5 signature",
        "empty.h5ad": "no HDF5 signature",
        "short.h5ad": "damaged or truncated",
        "other.h5ad": r"without obs and var tables \(holds: matrix\)",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_damaged_table_inside_a_whole_file_is_an_error(tmp_path):
    path = tmp_path / "damaged.h5ad"
    make_adata().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["obs"].attrs["_index"]
    with pytest.raises(InputError, match="damaged or truncated") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_matrix_of_another_shape_than_the_tables_is_an_error(tmp_path):
    path = tmp_path / "other.h5ad"
    make_adata().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = np.ones((NUM_CELLS - 1, NUM_GENES))
    with pytest.raises(InputError, match=r"expected 80 cells and 12 genes.*matrix has 79 and 12"):
        read(path)


class _Bomb:
    """Runs code when unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def test_pickles_are_refused_and_not_loaded(tmp_path):
    (tmp_path / "cells.h5ad").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(InputError, match="no HDF5 signature"):
        read(tmp_path / "cells.h5ad")


@pytest.mark.parametrize("likelihood", ["poisson", "nb", "zinb", "autozi"])
def test_fractional_counts_are_refused_by_count_likelihoods_only(likelihood):
    adata = make_adata()
    check_likelihood(from_anndata(adata), likelihood)
    adata.X[0, 0] = 0.731
    cells = from_anndata(adata)
    assert not cells.is_integer
    check_likelihood(cells, "normal")
    with pytest.raises(InputError, match=rf"{likelihood}.*0\.731.*layer.*raw.*round.*normal"):
        check_likelihood(cells, likelihood)


def test_select_keeps_names_and_rows_together():
    cells = from_anndata(make_adata(), **COLUMNS)
    part = cells.select(cells=np.array([70, 3, 9]), genes=cells.counts.getnnz(axis=0) > 40)
    np.testing.assert_array_equal(part.rows, [70, 3, 9])
    np.testing.assert_array_equal(part.batch, cells.batch[[70, 3, 9]])
    assert part.batch_names == cells.batch_names and list(part.var.index) == list(part.genes)
    columns = [cells.genes.index(gene) for gene in part.genes]
    np.testing.assert_array_equal(
        part.counts.toarray(), cells.counts.toarray()[[70, 3, 9]][:, columns]
    )


def test_cells_tell_a_fraction_and_the_largest_count():
    adata = make_adata()
    adata.X[3, 4], adata.X[5, 6], adata.X[70, 2] = 0.5, 1.5, 91
    cells = from_anndata(adata)
    assert not cells.is_integer
    assert cells.fractions() == (0.5, 91) and cells.largest == 91


def test_rows_of_a_matrix_have_classes_in_place_of_batches():
    matrix = np.array([[0.0, 2.0], [1.0, 0.0], [0.0, 0.0]])
    rows = of_matrix(matrix, np.array([1, 0, 0], np.int32), ("zero", "one"), "nowhere")
    np.testing.assert_array_equal(rows.counts.toarray(), matrix)
    assert rows.batch.tolist() == [1, 0, 0] and rows.batch_names == ("zero", "one")
    assert rows.is_integer and rows.labels is None and rows.source == "nowhere"
    assert not of_matrix(matrix / 2, rows.batch, ("zero", "one"), "").is_integer


BROKEN = {
    "type": ({"counts": sp.csr_matrix((2, 2), dtype=np.int64)}, "counts is float32"),
    "genes": ({"genes": ("a", "a")}, "gene names are unique"),
    "rows": ({"rows": np.arange(3)}, "one obs row per row of counts"),
    "codes": ({"batch": np.array([0, 2], np.int32)}, "batch codes point into their names"),
    "names": ({"label_names": ("a",)}, "label_names is empty without labels"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_record_of_cells_at_odds_with_itself_is_refused(case):
    change, rule = BROKEN[case]
    cells = of_matrix(np.eye(2), np.zeros(2, np.int32), ("x",), "")
    with pytest.raises(ValueError, match=f"Cells: broken rule: {rule}"):
        dataclasses.replace(cells, **change)


def test_real_pancreas_file_has_the_published_shape(shared_data):
    cells = read(shared_data("pancreas_baron_segerstolpe.h5ad"), **COLUMNS)
    assert cells.counts.shape == (3514, 1194) and cells.is_integer
    sizes = dict(zip(cells.batch_names, np.bincount(cells.batch), strict=True))
    assert sizes["baron_human2"] == 1582 and len(sizes) == 5
    sizes = dict(zip(cells.label_names, np.bincount(cells.labels), strict=True))
    assert sizes["endothelial"] == 39 and len(sizes) == 6
    assert cells.source == "pancreas_baron_segerstolpe.h5ad"


@pytest.mark.parametrize("on_disk", [False, True])
def test_counts_that_float32_rounds_are_told(tmp_path, on_disk):
    adata = make_adata()
    adata.X = sp.csr_matrix(adata.X.astype(np.int64))
    adata.X[3, 0] = 2**24 - 1
    assert not any("float32" in note for note in from_anndata(adata).notes)
    adata.X[3, 0] = 2**24 + 1
    adata.write_h5ad(tmp_path / "cells.h5ad")
    cells = (
        open_cells(tmp_path / "cells.h5ad", num_genes=NUM_GENES, progress=False)
        if on_disk
        else from_anndata(adata)
    )
    assert sum("16777216: counts are held as float32" in note for note in cells.notes) == 1
