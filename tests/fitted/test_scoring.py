"""The scores that a model gives are those of the metrics room, of the same cells."""

import builtins
import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from refusals import refusal

from qbm_jax import compare
from qbm_jax.data import from_anndata
from qbm_jax.fitted.scoring import given_embedding, score_cells
from qbm_jax.metrics import pca_embedding, score_embeddings
from qbm_jax.metrics.integration import METRICS, IntegrationScores

COLUMNS = {"label_column": "kind", "batch_column": "batch"}


@pytest.fixture
def asked(monkeypatch):
    """What is scored; nothing is."""
    calls = []

    def score_embeddings(embeddings, batch, labels, **options):
        calls.append((embeddings, batch, labels, options))
        values = {name: {"total": 0.5} for name in embeddings}
        return IntegrationScores(values, ["one"], {})

    monkeypatch.setattr("qbm_jax.metrics.score_embeddings", score_embeddings)
    return calls


@pytest.mark.slow
def test_the_scores_are_those_of_the_metrics_room(toy):
    found = toy.model.score(toy.adata, **COLUMNS, seed=4)
    pca = pca_embedding(toy.adata.X, seed=4)
    expected = score_embeddings(
        {"qbmvae": toy.model.embed(toy.adata), "pca": pca},
        toy.adata.obs.batch.to_numpy().astype(str), toy.adata.obs.kind.to_numpy().astype(str),
        uncorrected=pca,
    )  # fmt: skip
    assert found.values == expected.values
    assert found.notes == tuple(expected.notes)
    assert list(found.to_frame().index) == ["qbmvae", "pca"]
    assert list(found.to_frame().columns) == list(METRICS)


def test_what_is_scored_is_the_models_embedding_beside_the_baselines(toy, asked):
    adata = toy.adata.copy()
    adata.obsm["X_mine"] = np.arange(320.0).reshape(160, 2)
    found = toy.model.score(adata, **COLUMNS, baselines=("X_mine", "pca"), max_cells=99, seed=4)
    ((embeddings, batch, labels, options),) = asked
    assert list(embeddings) == ["qbmvae", "X_mine", "pca"]
    np.testing.assert_array_equal(embeddings["qbmvae"], toy.model.embed(adata))
    np.testing.assert_array_equal(embeddings["X_mine"], adata.obsm["X_mine"])
    pca = pca_embedding(adata.X, seed=4)
    np.testing.assert_array_equal(embeddings["pca"], pca)
    np.testing.assert_array_equal(options.pop("uncorrected"), pca)
    assert options == {"max_cells": 99, "seed": 4}
    assert batch.tolist() == adata.obs.batch.tolist()
    assert labels.tolist() == adata.obs.kind.tolist()
    assert found.notes == ("one",) and found.to_frame().loc["pca", "total"] == 0.5


def test_cells_that_are_left_out_are_told(toy, asked):
    adata = toy.adata.copy()
    adata.obs["kind"] = adata.obs.kind.astype(object)
    adata.obs.iloc[:5, adata.obs.columns.get_loc("kind")] = None
    adata.X = adata.X.multiply((np.arange(160) != 7)[:, None]).tocsr()
    found = toy.model.score(adata, **COLUMNS)
    assert found.notes == (
        "Dropped 1 of 160 cells without any count.", "Left out 5 cells without a cell type.", "one",
    )  # fmt: skip
    assert len(asked[0][1]) == 154


def test_harmony_beside_it_has_the_seed_asked_for(toy, asked, monkeypatch):
    monkeypatch.setattr(
        "qbm_jax.metrics.harmony_embedding", lambda pca, batches, seed: np.full_like(pca, seed)
    )
    toy.model.score(toy.adata, **COLUMNS, baselines=("harmony",), seed=4)
    assert (asked[0][0]["harmony"] == 4).all()


def test_cells_without_a_type_are_left_out_and_without_types_none_is(toy, asked):
    cells = from_anndata(toy.adata, **COLUMNS)
    names = ("alpha", "unlabelled")
    embeddings, pca = {"a": np.arange(160.0)[:, None]}, np.zeros((160, 2))
    with_gaps = dataclasses.replace(cells, label_names=names)
    score_cells(embeddings, with_gaps, uncorrected=pca, max_cells=50, seed=0)
    without = dataclasses.replace(cells, label_names=(), labels=None)
    score_cells(embeddings, without, uncorrected=pca, max_cells=50, seed=0)
    (first, batch, labels, options), (second, _, none, _) = asked
    known = np.flatnonzero(cells.labels == 0)
    assert 0 < len(known) < 160
    np.testing.assert_array_equal(first["a"][:, 0], known)
    np.testing.assert_array_equal(batch, np.asarray(cells.batch_names)[cells.batch][known])
    assert set(labels) == {"alpha"} and len(options["uncorrected"]) == len(known)
    assert len(second["a"]) == 160 and none is None


def test_what_cannot_be_scored_is_refused_in_one_line(toy):
    line = refusal(toy.model.score, toy.adata, **COLUMNS, baselines=("scvi",))
    assert "'scvi'" in line and "pca, harmony, X_qbmvae" in line
    assert "unknown baseline 'scvi'" in refusal(
        toy.model.score, toy.adata, **COLUMNS, baselines="scvi"
    )
    assert "'celltype'" in refusal(toy.model.score, toy.adata, label_column="celltype")
    assert "max_cells" in refusal(toy.model.score, toy.adata, **COLUMNS, max_cells=0)
    assert "seed" in refusal(toy.model.score, toy.adata, **COLUMNS, seed=-1)


def test_a_missing_package_is_named_with_its_extra(toy, monkeypatch):
    imported = builtins.__import__

    def without(name, globals=None, locals=None, fromlist=(), level=0):
        if name == "qbm_jax" and fromlist and "metrics" in fromlist:
            raise ModuleNotFoundError("No module named 'scib_metrics'", name="scib_metrics")
        return imported(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without)
    line = refusal(toy.model.score, toy.adata, **COLUMNS)
    assert "scib_metrics" in line and 'pip install ".[scores]"' in line


def test_an_embedding_in_obsm_is_a_table_of_numbers_sparse_or_not(toy):
    cells = from_anndata(toy.adata)
    dense = np.arange(2.0 * toy.adata.n_obs).reshape(-1, 2)
    for given in (dense, sp.csr_matrix(dense), pd.DataFrame(dense)):
        np.testing.assert_array_equal(given_embedding({"mine": given}, "mine", cells), dense)
    for wrong in (dense.astype(str), dense[:, 0], np.where(dense > 9, np.nan, dense)):
        line = refusal(given_embedding, {"mine": wrong}, "mine", cells)
        assert "expected" in line and "obsm['mine']" in line


def test_an_embedding_that_cannot_be_scored_is_refused_before_anything_is_trained(toy, monkeypatch):
    adata = toy.adata.copy()
    adata.obsm["mine"] = np.full((adata.n_obs, 2), "a")
    monkeypatch.setattr("qbm_jax.fitted.compare._train", lambda *_: pytest.fail("trained"))
    assert "obsm['mine']" in refusal(compare, adata, ["qbmvae", "mine"], **COLUMNS)
