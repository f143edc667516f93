"""scGraph scores: those of the package, without its files and print-outs."""

import os
import tempfile
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
from scgraph import scGraph
from scipy import sparse

from qbm_jax.errors import InputError
from qbm_jax.metrics import pca_embedding
from qbm_jax.metrics.scgraph import score_scgraph

NUM_CELLS = 330


@pytest.fixture(scope="module")
def cells():
    """Counts of six types in two batches of 150 and one of 30."""
    rng = np.random.default_rng(0)
    types = rng.choice(list("abcdef"), size=NUM_CELLS)
    batch = np.repeat(["x", "y", "small"], [150, 150, 30])
    profiles = rng.gamma(0.7, 3.0, size=(6, 60))
    shift = {name: rng.lognormal(sigma=0.4, size=60) for name in ("x", "y", "small")}
    rates = profiles[np.searchsorted(list("abcdef"), types)] * np.stack([shift[b] for b in batch])
    return sparse.csr_matrix(rng.poisson(3 * rates).astype(np.float32)), batch, types


@pytest.fixture(scope="module")
def embeddings(cells):
    components = pca_embedding(cells[0], 10)
    islands = np.random.default_rng(1).normal(size=(6, 10))
    return {
        "pca": components,
        "islands": 50 * islands[np.searchsorted(list("abcdef"), cells[2])]
        + np.random.default_rng(2).normal(size=components.shape),
    }


@pytest.fixture(scope="module")
def scored(cells, embeddings):
    return score_scgraph(embeddings, *cells)


def of_the_package(cells, embeddings, path):
    """The package's own table of all cells."""
    counts, batch, types = cells
    data = anndata.AnnData(
        counts.copy(),
        obs=pd.DataFrame({"b": batch, "t": types}, index=np.arange(NUM_CELLS).astype(str)),
        obsm=embeddings,
    )
    scanpy.pp.normalize_total(data, target_sum=1e4)
    scanpy.pp.log1p(data)
    data.write_h5ad(path / "cells.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scGraph(str(path / "cells.h5ad"), "b", "t", only_umap=False).main()


def with_small_types(cells):
    """Two types of nine cells and of one in the first batch, which has 100 cells with them."""
    counts, batch, types = cells
    types = types.astype("U8")
    types[:9], types[9] = "nine", "one"
    return (
        counts,
        np.where(np.arange(NUM_CELLS) < 100, batch, np.where(batch == "x", "y", batch)),
        types,
    )


@pytest.mark.parametrize("change", [lambda cells: cells, with_small_types])
def test_scores_equal_those_of_the_package(cells, embeddings, change, tmp_path):
    cells = change(cells)
    table, scored = of_the_package(cells, embeddings, tmp_path), score_scgraph(embeddings, *cells)
    for name in embeddings:
        ours = scored.values[name]
        assert ours["scgraph_rank"] == pytest.approx(table.loc[name, "Rank-PCA"], abs=1e-5)
        assert ours["scgraph_correlation"] == pytest.approx(table.loc[name, "Corr-PCA"], abs=1e-5)
        assert ours["scgraph_weighted"] == pytest.approx(table.loc[name, "Corr-Weighted"], abs=1e-5)


def test_pca_keeps_the_geometry_that_random_islands_lose(scored):
    assert scored.values["pca"]["scgraph_weighted"] > 0.8
    assert (
        scored.values["islands"]["scgraph_weighted"]
        < scored.values["pca"]["scgraph_weighted"] - 0.3
    )
    assert scored.notes == ["batches of fewer than 100 cells give no reference: small"]


def test_neither_files_nor_prints_are_left_behind(cells, embeddings, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    filters = list(warnings.filters)
    score_scgraph({"pca": embeddings["pca"]}, *cells)
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")
    assert warnings.filters == filters


def test_types_in_no_large_batch_are_left_out_with_a_note(cells, embeddings, scored):
    counts, batch, types = cells
    types = types.astype(object)
    types[batch == "small"] = "only here"
    result = score_scgraph({"pca": embeddings["pca"]}, counts, batch, types)
    assert "scGraph leaves out types that are too small: only here" in result.notes
    assert np.isfinite(result.values["pca"]["scgraph_weighted"])


def test_a_batch_is_large_enough_with_its_cells_of_small_types(cells, embeddings):
    changed = with_small_types(cells)
    result = score_scgraph({"pca": embeddings["pca"]}, *changed)
    assert result.notes == [
        "scGraph leaves out types that are too small: nine, one",
        "batches of fewer than 100 cells give no reference: small",
    ]


def test_a_batch_of_small_types_alone_gives_no_reference(cells, embeddings):
    counts, batch, types = cells
    types = np.where(batch == "x", (np.arange(NUM_CELLS) // 5).astype(str), types)
    result = score_scgraph({"pca": embeddings["pca"]}, counts, batch, types)
    told = "batches of fewer than 100 cells or two types of 10 give no reference: small, x"
    assert told in result.notes and np.isfinite(result.values["pca"]["scgraph_weighted"])


def test_a_type_alone_in_its_large_batch_has_no_distances(cells, embeddings):
    counts, batch, types = cells
    types = np.where(batch == "x", "alone", types)
    result = score_scgraph({"pca": embeddings["pca"]}, counts, batch, types)
    assert result.notes == [
        "scGraph leaves out types that are too small or alone in their batches: alone",
        "batches of fewer than 100 cells or two types of 10 give no reference: small, x",
    ]
    assert np.isfinite(result.values["pca"]["scgraph_weighted"])


def test_an_embedding_with_all_types_at_one_point_has_no_score(cells, embeddings, scored):
    flat = np.ones((NUM_CELLS, 3))
    flat[0] = 2  # trimmed away
    result = score_scgraph({"flat": flat} | embeddings, *cells)
    assert np.isnan(list(result.values["flat"].values())).all()
    assert result.values["pca"] == scored.values["pca"]
    assert "embeddings with all types at one point have no scGraph: flat" in result.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b, t: (b[:9], t), r"expected one batch per cell, got \(9,\) for 330"),
        (lambda b, t: (b, t[:9]), r"expected one cell type per cell, got \(9,\) for 330"),
        (lambda b, t: (b, None), "expected cell-type labels for scGraph, got none"),
        (lambda b, t: (np.arange(NUM_CELLS) // 50, t), "got 0 in 0 such batches"),
        (lambda b, t: (b, np.where(t == "a", "a", "b")), "got 2 in 2 such batches"),
    ],
)
def test_data_without_a_reference_is_refused(cells, embeddings, change, message):
    counts, batch, types = cells
    with pytest.raises(InputError, match=message):
        score_scgraph({"pca": embeddings["pca"]}, counts, *change(batch, types))


def test_too_few_genes_for_the_components_are_refused(cells, embeddings):
    counts, batch, types = cells
    with pytest.raises(InputError, match="expected more than 10 genes for scGraph, got 10"):
        score_scgraph({"pca": embeddings["pca"]}, counts[:, :10], batch, types)
