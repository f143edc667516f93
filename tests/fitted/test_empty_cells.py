"""Cells without any count get NaN and a warning, however a model meets them; one rule for all."""

import dataclasses

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from command_line import launched, small_adata, untrained_model

from qbm_jax.data import from_anndata, open_cells
from qbm_jax.data.read import read
from qbm_jax.errors import InputError
from qbm_jax.fitted.empty_cells import full_rows
from qbm_jax.fitted.trainings import of_cells
from qbm_jax.training import Training, TrainOptions


@pytest.fixture(scope="module")
def model():
    return untrained_model()


def with_empty(rows, num_cells=60):
    adata = small_adata(num_cells)
    counts = adata.X.toarray()
    counts[rows] = 0
    adata.X = sp.csr_matrix(counts)
    return adata


@pytest.mark.parametrize("rows", [[3], [0, 59], list(range(60))], ids=["one", "ends", "all"])
def test_empty_cells_of_a_query_are_nan_and_the_others_as_ever(model, rows):
    full = np.setdiff1d(np.arange(60), rows)
    with launched(), pytest.warns(UserWarning, match=f"{len(rows)} of 60 cells have no count"):
        found = model.embed(with_empty(rows))
    with launched(), pytest.warns(UserWarning, match="results are NaN"):
        energy = model.energy(with_empty(rows))
    assert found.shape == (60, 8) and energy.shape == (60,)
    assert found.dtype == energy.dtype == np.float32
    assert np.isnan(found[rows]).all() and np.isnan(energy[rows]).all()
    np.testing.assert_array_equal(found[full], model.embed(small_adata(60))[full])
    assert np.isfinite(energy[full]).all()


def test_cells_without_counts_in_the_genes_of_the_model_are_empty(model):
    adata = small_adata(60)
    others = anndata.AnnData(sp.csr_matrix(np.ones((60, 1), np.float32)))
    others.var_names, others.obs_names = ["another"], adata.obs_names
    query = anndata.concat([adata, others], axis=1)
    counts = query.X.toarray()
    counts[5, :40] = 0
    query.X = sp.csr_matrix(counts)
    with launched(), pytest.warns(UserWarning, match="1 of 60 cells"):
        found = model.embed(query)
    assert np.flatnonzero(np.isnan(found).all(1)).tolist() == [5]


def test_cells_are_empty_by_the_layer_that_is_read(model):
    adata = small_adata(60)
    adata.layers["counts"] = with_empty([5]).X
    with launched(), pytest.warns(UserWarning, match="1 of 60 cells"):
        found = model.embed(adata, layer="counts")
    assert np.flatnonzero(np.isnan(found).all(1)).tolist() == [5]
    adata.X, adata.layers["counts"] = adata.layers["counts"], adata.X
    with launched():
        assert np.isfinite(model.embed(adata, layer="counts")).all()


def test_of_empty_cells_alone_there_is_no_label_and_no_expression(model):
    nothing = with_empty([0, 1, 2])[:3].copy()
    with pytest.warns(UserWarning, match="3 of 3 cells have no count"):
        found = model.transfer_labels(nothing, small_adata(60), "kind")
    assert len(found) == 3 and found.isna().all(axis=None)
    with pytest.warns(UserWarning, match="3 of 3 cells have no count"):
        interval = model.denoise(nothing, num_samples=4, return_="interval")
        drawn = model.denoise(nothing, num_samples=4, return_="samples")
    assert drawn.shape == (4, 3, 40) and np.isnan(drawn).all()
    assert all(each.shape == (3, 40) and each.isna().all(axis=None) for each in interval)


def test_empty_cells_are_in_no_prior_of_library_sizes():
    cells = from_anndata(small_adata(60), batch_column="batch")
    counts = cells.counts.toarray()
    counts[[3, 4]] = 0
    emptied = dataclasses.replace(cells, counts=sp.csr_matrix(counts))
    latent = Training.of({"library": "latent"}, "gibbs", None, TrainOptions())
    kept = of_cells(latent, cells.select(np.setdiff1d(np.arange(60), [3, 4])))
    assert of_cells(latent, emptied) == kept


def test_empty_rows_of_cells_in_memory_are_nan(model):
    cells = from_anndata(small_adata(60))
    counts = cells.counts.toarray()
    counts[7] = 0
    object.__setattr__(cells, "counts", sp.csr_matrix(counts))
    with launched(), pytest.warns(UserWarning, match="1 of 60 cells have no count"):
        embedding, energy = model.encode_cells(cells)
    assert np.flatnonzero(np.isnan(embedding).all(1)).tolist() == [7]
    assert np.flatnonzero(np.isnan(energy)).tolist() == [7]


def test_empty_cells_on_disk_are_left_out_with_a_note_and_rows_say_which(model, tmp_path):
    with_empty([0, 5]).write_h5ad(tmp_path / "a.h5ad")
    cells = open_cells(tmp_path / "a.h5ad", gene_list=model.settings.genes, progress=False)
    assert any("2 of 60 cells" in note for note in cells.notes)
    with launched():
        blocks = list(model.encode_blocks(cells))
        expected = model.embed(small_adata(60))
    embedding = np.concatenate([block[1] for block in blocks])
    rows = np.setdiff1d(np.arange(60), [0, 5])
    np.testing.assert_array_equal(cells.rows, rows)
    np.testing.assert_allclose(embedding, expected[rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_file_of_empty_cells_cannot_be_trained_on(tmp_path, where):
    with_empty(list(range(60))).write_h5ad(tmp_path / "a.h5ad")
    opened = {"memory": read, "disk": lambda p: open_cells(p, progress=False)}[where]
    with pytest.raises(InputError, match="at least 50 cells with counts, found 0 of 60"):
        opened(tmp_path / "a.h5ad")


def test_values_of_some_rows_go_to_these_rows():
    full = full_rows(np.array([5.0, 6.0]), np.array([2, 0]), 3)
    np.testing.assert_array_equal(full, [6.0, np.nan, 5.0])
