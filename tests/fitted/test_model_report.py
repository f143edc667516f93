"""The report of a model: the files of a run, from the same functions, and loaded again.

Guards qbm_jax.fitted.embedding_files.
"""

import dataclasses
import json

import anndata
import jax
import numpy as np
import pytest
from command_line import launched
from refusals import refusal

from qbm_jax import report
from qbm_jax.fitted import bounds, model_report
from qbm_jax.fitted.model import FittedModel
from qbm_jax.metrics.integration import IntegrationScores
from qbm_jax.report import figures
from qbm_jax.runtime import keys
from qbm_jax.study.rows import read_table
from qbm_jax.training import TrainOptions

COLUMNS = {"label_column": "kind", "batch_column": "batch"}
QUICK = {"num_draws": 2, "seed": 3}


def stand_in(patch):
    """Scores and layouts take long and have tests of their own."""

    def score_embeddings(embeddings, batch, labels, **_):
        scores = {"total": 0.5, "bio_conservation": 0.6, "batch_correction": float("nan")}
        return IntegrationScores({name: scores for name in embeddings}, ["a note"], {})

    patch.setattr("qbm_jax.metrics.score_embeddings", score_embeddings)
    patch.setattr("qbm_jax.metrics.umap_layout", lambda values, seed: values[:, :2])
    patch.setattr(model_report, "DIAGNOSTIC_DRAWS", 20)


@pytest.fixture(scope="module", autouse=True)
def few_figures():
    """Half of the figures: to draw all takes longer than the rest."""
    few = {name: figures.FIGURES[name] for name in ("scores", "training", "umap")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "FIGURES", few)
        yield


@pytest.fixture(scope="module")
def written(toy, tmp_path_factory):
    """The folder of a report."""
    folder = tmp_path_factory.mktemp("reports") / "new" / "report"
    with pytest.MonkeyPatch.context() as patch, launched():
        stand_in(patch)
        sets = {"every": toy.model.settings.genes, "far": ["unknown"]}
        path = toy.model.report(
            folder, toy.adata, label_column="kind", **QUICK, gene_sets=sets
        )  # the column of the batches is that of the training
    assert path == folder / "report.md"
    return folder


def test_gene_sets_are_tested_in_more_genes_than_the_report_lists(toy, written):
    scores = json.loads((written / "scores.json").read_text())
    found, listed = scores["enrichment"], scores["programmes"]
    genes = len(toy.model.settings.genes)
    assert set(found["gene_set"]) == {"every"} and set(found["size"]) == {genes}
    assert max(listed["rank"]) == min(12, genes)
    per_spin = sum(n for n, spin in zip(found["overlap"], found["spin"], strict=True) if spin == 0)
    assert per_spin == min(50, genes)
    assert "none in common" in refusal(
        toy.model.report, written, toy.adata, **COLUMNS, gene_sets={"far": ["unknown"]}
    )


def test_the_files_are_those_of_a_run_and_the_report_says_whose_cells(toy, written):
    assert {path.name for path in written.iterdir()} == {
        "config.json", "metrics.jsonl", "checkpoints", "embedding.h5ad", "scores.json",
        "report.md", "report.html", "figures", "results.csv",
    }  # fmt: skip
    text = (written / "report.md").read_text()
    assert "Nats per cell on the cells of this report" in text
    assert "a note" in text and "160 cells" in text
    assert "batches (batch): b1 80, b2 80" in text
    assert {path.stem for path in (written / "figures").iterdir()} >= {"scores", "training", "umap"}
    report.write(written)  # from its files alone
    assert (written / "report.md").read_text() == text


def test_its_numbers_are_those_of_the_models_methods(toy, written):
    scores = json.loads((written / "scores.json").read_text())
    found = toy.model.bound(toy.adata, batch_column="batch", **QUICK)
    ours = scores["bounds"]["qbmvae"]
    assert (ours["elbo"], ours["kl"]) == (found.value, found.terms["kl"])
    assert scores["elbo"]["log_z"] == toy.model.log_z(seed=3).value
    assert scores["embeddings"]["X_pca"]["total"] == 0.5
    assert scores["embeddings"]["X_qbmvae"]["batch_correction"] is None
    table = {
        (row["method"], row["task"], row["metric"]): row["value"]
        for row in read_table(written / "results.csv", ("setting",))
    }
    assert table["qbmvae", "bound", "elbo"] == found.value
    assert table["pca", "integration", "total"] == 0.5
    assert table["qbmvae", "integration", "batch_correction"] is None
    assert scores["data"]["batches"] == {"b1": 80, "b2": 80}
    assert scores["sampler"]["name"] == "gibbs" and len(scores["sampler"]["energy_trace"]) == 20
    assert scores["settings"]["model.num_latents"] == 8
    weight = toy.model.settings.training["kl_weight"]
    assert scores["settings"]["training.kl_weight"] == weight > 1
    assert f"What was trained weighed the KL by {weight:g}" in (written / "report.md").read_text()
    adata = anndata.read_h5ad(written / "embedding.h5ad")
    np.testing.assert_array_equal(adata.obsm["X_qbmvae"], toy.model.embed(toy.adata))
    np.testing.assert_array_equal(adata.obs["qbm_energy"], toy.model.energy(toy.adata))
    np.testing.assert_array_equal(adata.uns["qbm_jax"]["J"], toy.model.params["prior"].J)


def test_the_model_and_its_history_are_loaded_from_the_folder(toy, written):
    loaded = FittedModel.load(written)
    np.testing.assert_array_equal(loaded.embed(toy.adata), toy.model.embed(toy.adata))
    rows = [json.loads(line) for line in (written / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == len(toy.told) - 1  # but for the start
    assert {(row["model"], row["seed"]) for row in rows} == {("qbmvae", 0)}
    np.testing.assert_equal(loaded.measured.as_tree(), toy.model.measured.as_tree())


def test_a_second_report_replaces_the_first_and_nothing_else_is_replaced(toy, written, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    line = refusal(toy.model.report, tmp_path, toy.adata, **COLUMNS)
    assert "found notes.txt" in line and "choose another folder" in line
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "config.json").write_text('{"config": {}, "data": {}}')  # of a run
    assert "found config.json" in refusal(toy.model.report, tmp_path, toy.adata, **COLUMNS)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    (tmp_path / "config.json").unlink()
    (tmp_path / "file").write_text("")
    assert "cannot write" in refusal(
        toy.model.report, tmp_path / "file" / "r", toy.adata, **COLUMNS
    )
    with pytest.MonkeyPatch.context() as patch, launched():
        stand_in(patch)
        patch.setattr(bounds.training, "bound", lambda *_, **__: {"elbo": -7.0, "log_z": 1.0,
                      "log_z_standard_error": 0.0, "kl": 2.0, "reconstruction": 5.0})  # fmt: skip
        patch.setattr(model_report.document, "sampler_diagnostics", lambda *_, **__: {})
        patch.setattr(report, "write", lambda folder: folder)
        other = written / "checkpoints" / "models" / "gaussian_vae-seed0"
        toy.model.save(other)  # as a report on another model leaves it
        mine = other.with_name("mine.txt")
        mine.write_text("")
        toy.model.report(written, toy.adata, **COLUMNS)
    assert json.loads((written / "scores.json").read_text())["elbo"]["value"] == -7.0
    assert not other.exists() and mine.exists()
    assert FittedModel.load(written).settings.genes == toy.model.settings.genes


def test_every_use_of_random_numbers_has_its_own_of_the_seed_and_the_speed_is_the_last(
    toy, tmp_path, monkeypatch
):
    seeds, diagnosed, folder = [], [], tmp_path / "report"

    def diagnostics(key, result, **options):
        diagnosed.append((jax.random.key_data(key).tolist(), options))
        return {}

    stand_in(monkeypatch)
    for name in ("umap_layout", "pca_embedding"):
        monkeypatch.setattr(
            f"qbm_jax.metrics.{name}",
            lambda values, seed: seeds.append(seed) or np.zeros((values.shape[0], 2)),
        )
    monkeypatch.setattr(bounds.training, "bound", lambda *_, **__: {"elbo": -7.0, "log_z": 1.0,
                        "log_z_standard_error": 0.0})  # fmt: skip
    monkeypatch.setattr(model_report.document, "sampler_diagnostics", diagnostics)
    monkeypatch.setattr(report, "write", lambda folder: folder)
    with launched():
        toy.model.report(folder, toy.adata, **COLUMNS, seed=5)
    assert seeds == [5, 5, 5]  # components, and a layout of each embedding
    own = jax.random.key_data(keys.named(keys.root(5), "sampler diagnostics")).tolist()
    chains = toy.model.settings.training["num_chains"]
    assert diagnosed == [(own, {"num_draws": 20, "num_chains": chains})]
    assert chains != TrainOptions().num_chains
    scores, last = json.loads((folder / "scores.json").read_text()), toy.model.measured.train
    for name in ("seconds", "cells_per_second"):
        assert scores[name]["qbmvae"] == last[name][-1]
        assert last[name][-1] != last[name][0]


def test_what_cannot_be_reported_leaves_no_folder(toy, tmp_path):
    folder = tmp_path / "report"
    assert "'celltype'" in refusal(toy.model.report, folder, toy.adata, label_column="celltype")
    nameless = toy.adata.copy()
    del nameless.obs["batch"]
    assert "batch_column" in refusal(toy.model.report, folder, nameless)
    assert "num_draws" in refusal(toy.model.report, folder, toy.adata, **COLUMNS, num_draws=0)
    options = toy.model.settings.model | {"relaxation": "gumbel"}
    settings = dataclasses.replace(toy.model.settings, model=options)
    relaxed = FittedModel(settings, toy.model.params)
    assert "got gumbel: its relaxed latents have no bound" in refusal(
        relaxed.report, folder, toy.adata, **COLUMNS
    )
    assert not folder.exists()
