"""Library use: fit, embed, energy, generate, save and load on a small AnnData.

Guards qbm_jax.fitted.saving and qbm_jax.fitted.scvi_names.
"""

import importlib.metadata
import json

import anndata
import jax
import numpy as np
import pytest
import scipy.sparse as sp
from command_line import TINY_FIT, launched, small_adata, untrained_model
from refusals import refusal

import qbm_jax
from qbm_jax.data import align_genes, from_anndata
from qbm_jax.fitted import fit as fitting
from qbm_jax.fitted.model import SETTINGS_FILE, device_counts
from qbm_jax.fitted.trainings import fit_trainings, train_options
from qbm_jax.machine import boltzmann
from qbm_jax.training import Training


def fit(adata, **options):
    with launched():
        return qbm_jax.fit(adata, progress=False, **(TINY_FIT | options))


@pytest.fixture(scope="module")
def fitted():
    """(model, the AnnData it was fitted on); the last cell has no counts."""
    adata = small_adata()
    adata.X = sp.vstack([adata.X[:-1], sp.csr_matrix((1, adata.n_vars), dtype=np.float32)]).tocsr()
    return fit(adata, batch_column="batch"), adata


def counted(adata):
    """Without the empty cell."""
    return adata[:-1].copy()


def test_fit_writes_spins_and_energy_and_leaves_the_counts(fitted):
    model, adata = fitted
    spins, energy = adata.obsm["X_qbmvae"], adata.obs["qbm_energy"].to_numpy()
    assert spins.shape == (160, 8)
    assert spins.dtype == energy.dtype == np.float32
    assert np.isnan(spins[-1]).all()
    assert np.isnan(energy[-1])
    assert np.abs(spins[:-1]).max() <= 1
    assert spins[:-1].std(axis=0).max() > 0.01
    expected = boltzmann.energy(model.params["prior"], spins[:-1])
    np.testing.assert_allclose(energy[:-1], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(adata.X[:-1].toarray(), small_adata().X[:-1].toarray())


def test_the_cells_fitted_on_embed_as_fit_wrote(fitted):
    model, adata = fitted
    cells = counted(adata)
    np.testing.assert_allclose(model.embed(cells), adata.obsm["X_qbmvae"][:-1], atol=1e-6)
    np.testing.assert_allclose(model.energy(cells), adata.obs["qbm_energy"][:-1], atol=1e-4)


def test_genes_are_found_by_name_in_any_order_among_others(fitted):
    model, adata = fitted
    cells = counted(adata)
    order = np.random.default_rng(1).permutation(cells.n_vars)
    extra = sp.csr_matrix(np.full((cells.n_obs, 2), 50, np.float32))
    other = anndata.AnnData(sp.hstack([extra, cells.X[:, order]]).tocsr())
    other.var_names = ["other1", "other2", *cells.var_names[order]]
    np.testing.assert_array_equal(model.embed(other), model.embed(cells))


def test_cells_with_other_genes_are_not_encoded():
    model, cells = untrained_model(), from_anndata(small_adata())
    for wrong in (cells.select(genes=np.arange(39)), cells.select(genes=np.arange(40)[::-1])):
        line = refusal(model.encode_cells, wrong)
        assert "the model's 40 genes in their order" in line and "data.align_genes" in line
    fewer = device_counts(cells.select(genes=np.arange(39)))
    assert "got those of 39" in refusal(model.encode_cells, fewer)
    assert np.isfinite(model.encode_cells(align_genes(cells, model.settings.genes))[0]).all()


def test_a_few_cells_embed_as_in_the_whole_set(fitted):
    model, adata = fitted
    few = counted(adata)[:3].copy()
    np.testing.assert_allclose(model.embed(few), model.embed(counted(adata))[:3], atol=1e-6)


def test_missing_genes_are_listed(fitted):
    model, adata = fitted
    line = refusal(model.embed, counted(adata)[:, 2:].copy())
    assert "gene0, gene1" in line
    assert "2 are missing" in line


def test_cells_without_counts_get_nan_with_a_warning_as_in_fit(fitted):
    model, adata = fitted
    with pytest.warns(UserWarning, match="1 of 160 cells have no count in the model's genes"):
        energy = model.energy(adata)
    with pytest.warns(UserWarning, match="are NaN"):
        embedding = model.embed(adata)
    assert np.isnan(embedding[-1]).all() and np.isnan(energy[-1])
    np.testing.assert_allclose(embedding[:-1], model.embed(counted(adata)), atol=1e-6)
    np.testing.assert_allclose(energy[:-1], model.energy(counted(adata)), atol=1e-4)


def test_counts_that_are_not_whole_are_refused(fitted):
    model, adata = fitted
    cells = counted(adata)
    cells.X = cells.X * 0.5
    assert "whole-number" in refusal(model.embed, cells)


def test_a_layer_can_hold_the_counts(fitted):
    model, adata = fitted
    cells = counted(adata)
    cells.layers["raw"] = cells.X.copy()
    cells.X = cells.X * 0.5
    np.testing.assert_array_equal(model.embed(cells, layer="raw"), model.embed(counted(adata)))
    assert "'rwa'" in refusal(model.embed, cells, layer="rwa")


def test_the_layer_of_the_training_is_read_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(fitting, "fit_cells", lambda *_, **__: (untrained_model(), None))
    cells, plain = small_adata(80), small_adata(80)
    cells.layers["raw"], cells.X = cells.X.copy(), cells.X * 0.5
    model = fit(cells, prior="bernoulli", num_genes=None, layer="raw")
    caplog.clear()
    wanted = untrained_model().embed(plain)
    model.save(tmp_path / "model")
    for each in (model, qbm_jax.FittedModel.load(tmp_path / "model")):
        assert each.settings.layer == "raw"
        np.testing.assert_array_equal(each.embed(cells), wanted)
        np.testing.assert_array_equal(each.denoise(cells, num_samples=1),
                                      untrained_model().denoise(plain, num_samples=1))  # fmt: skip
    assert not caplog.text
    np.testing.assert_array_equal(model.embed(plain), wanted)
    assert "no layer 'raw', which the model was trained on" in caplog.text


@pytest.mark.slow
def test_generated_cells_are_whole_counts_fixed_by_the_key(fitted):
    model, _ = fitted
    cells = model.generate(jax.random.key(0), 20, batch="b2")
    assert cells.shape == (20, 40)
    assert cells.dtype == np.float32
    assert (cells >= 0).all()
    assert (cells == np.rint(cells)).all()
    np.testing.assert_array_equal(cells, model.generate(jax.random.key(0), 20, batch="b2"))
    assert (cells != model.generate(jax.random.key(1), 20, batch="b2")).any()
    assert (cells != model.generate(jax.random.key(0), 20, batch="b1")).any()


@pytest.mark.slow
def test_generated_cells_have_the_library_size_asked_for(fitted):
    model, adata = fitted
    median = float(np.median(np.asarray(adata.X[:-1].sum(axis=1))))
    # 20 cells of some 120 counts, negative binomial: the mean total has a spread of a few percent
    total = model.generate(jax.random.key(0), 20).sum(axis=1).mean()
    assert total == pytest.approx(median, rel=0.3)
    larger = model.generate(jax.random.key(0), 20, library_size=10 * median)
    assert larger.sum(axis=1).mean() == pytest.approx(10 * median, rel=0.3)


def test_an_unknown_batch_and_no_cells_are_refused(fitted):
    model, _ = fitted
    line = refusal(model.generate, jax.random.key(0), 5, batch="b3")
    assert "'b3'" in line
    assert "b1, b2" in line
    assert "num_cells" in refusal(model.generate, jax.random.key(0), 0)


@pytest.mark.slow
def test_a_saved_model_embeds_and_generates_as_before(fitted, tmp_path):
    model, adata = fitted
    model.save(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    loaded = qbm_jax.FittedModel.load(tmp_path / "model")
    assert loaded.settings.genes == model.settings.genes
    assert loaded.settings.median_library == model.settings.median_library
    np.testing.assert_array_equal(loaded.embed(counted(adata)), model.embed(counted(adata)))
    np.testing.assert_array_equal(
        loaded.generate(jax.random.key(0), 20), model.generate(jax.random.key(0), 20)
    )


def test_a_second_model_replaces_the_one_saved_before(fitted, tmp_path):
    model, adata = fitted
    other = qbm_jax.FittedModel(model.settings, jax.tree.map(lambda x: x + 0.1, model.params))
    model.save(tmp_path / "model")
    assert "overwrite=True" in refusal(other.save, tmp_path / "model")
    other.save(tmp_path / "model", overwrite=True)
    loaded = qbm_jax.FittedModel.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.embed(counted(adata)), other.embed(counted(adata)))


def test_a_folder_that_cannot_be_written_is_refused(fitted, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert "notes.txt" in refusal(fitted[0].save, tmp_path / "notes.txt" / "model")


def test_a_folder_without_a_sound_model_is_refused(fitted, tmp_path):
    load = qbm_jax.FittedModel.load
    assert SETTINGS_FILE in refusal(load, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    fitted[0].save(tmp_path / "model")
    file = tmp_path / "model" / SETTINGS_FILE
    text = file.read_text()
    fields = json.loads(text)
    other_model = json.dumps(fields | {"model": {"banana": 3}})
    for spoilt in ("", "[]", "{}", text[: len(text) // 2], other_model):
        file.write_text(spoilt)
        assert "damaged" in refusal(load, tmp_path / "model")
    file.write_text(text)
    for path in (tmp_path / "model" / "params").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert "missing or damaged" in refusal(load, tmp_path / "model")


OPTIONS = {
    "model": ({"banana": 3}, ["banana", "prior", "likelihood", "relaxation"]),
    "training": ({"training_options": {"epochs": 3}}, ["epochs", "num_epochs", "learning_rate"]),
    "sampler": ({"sampler": "metropolis"}, ["metropolis", "gibbs", "auxiliary_cim"]),
    "sampler option": ({"sampler_options": {"sweeps": 3}}, ["sweeps", "num_steps"]),
    "prior": ({"prior": "bolzmann"}, ["bolzmann", "bernoulli"]),
    "latents": ({"num_latents": 1}, ["num_latents", "at least 2"]),
    "genes": ({"num_genes": 0}, ["num_genes", "at least 1"]),
    "batch column": ({"batch_column": "btach"}, ["btach", "batch, kind"]),
    "layer": ({"layer": "counts"}, ["counts", "X"]),
}


@pytest.mark.parametrize("fault", OPTIONS)
def test_options_that_cannot_be_used_are_refused_with_those_that_can(fault):
    options, words = OPTIONS[fault]
    adata = small_adata()
    line = refusal(qbm_jax.fit, adata, progress=False, **options)
    assert all(word in line for word in words), line
    assert not adata.obsm
    assert "qbm_energy" not in adata.obs


@pytest.mark.slow
def test_what_was_dropped_is_said_in_the_log(fitted, caplog):
    del fitted  # so that the programs are compiled
    adata = small_adata()
    adata.X = sp.vstack([adata.X[:-1], sp.csr_matrix((1, adata.n_vars), dtype=np.float32)]).tocsr()
    with caplog.at_level("INFO", logger="qbm_jax"):
        fit(adata, batch_column="batch", prior="gaussian")
    assert "Dropped 1 of 160 cells" in caplog.text
    assert adata.obsm["X_gaussian_vae"].shape == (160, 8)


@pytest.mark.slow
def test_a_bar_is_shown_where_nobody_reads_the_log(capsys):
    qbm_jax.fit(small_adata(), **TINY_FIT, prior="gaussian")
    assert "epoch 4/4" in capsys.readouterr().err


def _fit_seeds(cells, count=2, **model_options):
    fields = {k: v for k, v in TINY_FIT.items() if k != "training_options"}
    options = TINY_FIT["training_options"] | {"num_epochs": 1}
    with launched():
        model = {"prior": "gaussian", **fields, **model_options}
        one = Training.of(model, "gibbs", None, train_options(options))
        return fit_trainings(
            jax.random.split(jax.random.key(0), count), [one] * count, cells,
            held_out=[np.arange(20)] * count, data=device_counts(cells),
        )  # fmt: skip


@pytest.mark.slow
def test_seeds_fitted_together_are_models_of_the_same_settings_that_embed_held_out_cells():
    cells = from_anndata(small_adata(), batch_column="batch")
    (first, trained), (second, _) = _fit_seeds(cells)
    assert first.settings == second.settings
    embeddings = [model.encode_cells(cells)[0] for model in (first, second)]
    assert embeddings[0].shape == (160, 8)
    assert np.all(np.ptp(embeddings[0][:20], axis=0) > 0)
    assert not np.array_equal(*embeddings)
    assert not np.intersect1d(trained.train_cells, np.arange(20)).size
    np.testing.assert_array_equal(first.encode_cells(device_counts(cells))[0], embeddings[0])
    assert "linear decoder" in refusal(first.loadings)
    assert "autozi" in refusal(first.gates)


@pytest.mark.slow
def test_fit_writes_gates_and_loadings_of_the_genes_that_it_models():
    adata = small_adata()
    counts = adata.X.toarray()
    counts[:, 3] = 0
    adata.X = sp.csr_matrix(counts)
    model = fit(adata, likelihood="autozi", decoder="linear", prior="gaussian")
    gates, loadings = adata.var["autozi_gate"].to_numpy(), adata.varm["loadings"]
    assert np.isnan(gates[3]) and np.isnan(loadings[3]).all()
    modelled = adata.var_names.get_indexer(model.settings.genes)
    np.testing.assert_array_equal(gates[modelled], model.gates())
    np.testing.assert_array_equal(loadings[modelled], model.loadings())


@pytest.mark.slow
def test_a_latent_library_has_the_log_totals_of_each_batch_as_its_prior(tmp_path):
    cells = from_anndata(small_adata(), batch_column="batch")
    options = {"library": "latent", "likelihood": "autozi", "decoder": "linear"}
    ((model, _),) = _fit_seeds(cells, 1, **options)
    for code, (mean, sd) in enumerate(model.settings.model["library_prior"]):
        logs = np.log(np.asarray(cells.counts.sum(axis=1)).ravel()[cells.batch == code])
        assert mean == pytest.approx(logs.mean(), rel=1e-5)
        assert sd == pytest.approx(logs.std(), rel=1e-4)
    assert model.gates().shape == (40,)
    assert np.all((model.gates() > 0) & (model.gates() < 1))
    assert model.loadings().shape == (40, 8)
    model.save(tmp_path / "model")
    loaded = qbm_jax.FittedModel.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.encode_cells(cells)[0], model.encode_cells(cells)[0])
    np.testing.assert_array_equal(loaded.gates(), model.gates())


def test_a_loaded_model_is_checked_against_the_cells_it_is_for(fitted, tmp_path, monkeypatch):
    model, adata = fitted
    model.save(tmp_path / "model")
    saved = json.loads((tmp_path / "model" / SETTINGS_FILE).read_text())
    assert saved["versions"]["jax"] == jax.__version__ and len(saved["genes_digest"]) > 16
    loaded = qbm_jax.FittedModel.load(tmp_path / "model", adata)
    assert loaded.settings == model.settings
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.0.1")
    model.save(tmp_path / "earlier")
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.0.2")
    with pytest.warns(UserWarning, match=r"saved by qbm_jax 0.0.1, this is 0.0.2: numbers may"):
        qbm_jax.FittedModel.load(tmp_path / "earlier")
    few = adata[:, 2:].copy()
    line = refusal(qbm_jax.FittedModel.load, tmp_path / "model", few)
    assert "2 are missing: gene0, gene1" in line
    few.var_names = ["twice", "twice", *few.var_names[2:]]
    line = refusal(qbm_jax.FittedModel.load, tmp_path / "model", few)
    assert "1 are repeated: twice" in line
    line = refusal(qbm_jax.FittedModel.load, tmp_path / "model", "cells.h5ad")
    assert "got str; read a file" in line


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("batch_key", "batch_column"),
        ("n_latent", "num_latents"),
        ("max_epochs", "training_options={'num_epochs': ...}"),
        ("gene_likelihood", "likelihood"),
    ],
)
def test_names_of_scvi_tools_are_answered_with_those_here(name, here):
    line = refusal(qbm_jax.fit, small_adata(), **{name: 3})
    assert line == f"{name} is a name of scvi-tools; here it is {here}"


def test_an_unknown_argument_is_answered_with_all_that_there_are():
    line = refusal(qbm_jax.fit, small_adata(), latents=3)
    for name in ("batch_column", "layer", "training_options", "held_out", "prior", "likelihood"):
        assert name in line
