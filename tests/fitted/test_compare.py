"""Methods compared on the same cells: what is trained, scored and told of each."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from command_line import TINY_FIT, launched, small_adata
from refusals import refusal

import qbm_jax
from qbm_jax import training
from qbm_jax.data import from_anndata
from qbm_jax.errors import InputError
from qbm_jax.fitted import evaluate as evaluating
from qbm_jax.fitted.compare import Comparison, compare
from qbm_jax.fitted.model import device_counts
from qbm_jax.metrics import pca_embedding
from qbm_jax.metrics.integration import METRICS, IntegrationScores
from qbm_jax.runtime import keys

COLUMNS = {"label_column": "kind", "batch_column": "batch"}
OPTIONS = TINY_FIT | COLUMNS | {"num_genes": None, "progress": False, "num_seeds": 2, "seed": 3}


def mean_of_first(embeddings):
    """Stands in for scores: one that tells the embeddings apart."""
    values = {name: {"total": float(np.mean(e[:, 0]))} for name, e in embeddings.items()}
    return IntegrationScores(values, ["a note"], {})


@pytest.fixture(scope="module")
def compared():
    """(comparison, what was scored, its options) of two seeds; the scores are stand-ins."""
    adata, asked, bounds = small_adata(), [], []
    adata.obsm["X_mine"] = np.arange(320.0).reshape(160, 2)
    bound = training.bound

    def score_embeddings(embeddings, batch, labels, **options):
        asked.append((embeddings, batch, labels, options))
        return mean_of_first(embeddings)

    def noted_bound(*given, **options):
        bounds.append(options)
        return bound(*given, **options)

    with pytest.MonkeyPatch.context() as patch, launched():
        patch.setattr("qbm_jax.metrics.score_embeddings", score_embeddings)
        patch.setattr(training, "bound", noted_bound)
        found = compare(adata, ("bernoulli_vae", "X_mine", "pca"), **OPTIONS)
    asked[0][-1]["bounds"] = bounds
    return found, asked[0], adata


def test_every_method_is_scored_at_every_seed_on_the_same_cells(compared):
    found, (embeddings, batch, labels, options), adata = compared
    names = ["bernoulli_vae/0", "bernoulli_vae/1", "X_mine/0", "pca/0"]
    assert list(embeddings) == names
    assert batch.tolist() == adata.obs.batch.tolist() and labels.tolist() == adata.obs.kind.tolist()
    pca = pca_embedding(adata.X, seed=3)
    for given in (embeddings["pca/0"], options["uncorrected"]):
        np.testing.assert_array_equal(given, pca)
    np.testing.assert_array_equal(embeddings["X_mine/0"], adata.obsm["X_mine"])
    for seed, model in enumerate(found.models["bernoulli_vae"]):
        own = embeddings[f"bernoulli_vae/{seed}"]
        np.testing.assert_array_equal(own, model.embed(adata))
        assert found.values["bernoulli_vae"]["total"][seed] == float(np.mean(own[:, 0]))
    assert found.values["pca"] == {"total": [float(np.mean(pca[:, 0]))] * 2}
    assert "a note" in found.notes and options["seed"] == 3
    assert list(adata.obsm) == ["X_mine"]


def test_the_trainings_are_those_of_fit_and_of_an_experiments_seeds(compared):
    found, _, adata = compared
    other = small_adata()
    with launched():
        options = {name: OPTIONS[name] for name in (*TINY_FIT, "batch_column", "num_genes")}
        options |= {"prior": "bernoulli", "decoder": "mlp", "couplings_scale": 0.0}
        fitted = qbm_jax.fit(other, seed=3, progress=False, **options)
    first, second = found.models["bernoulli_vae"]
    assert first.settings == fitted.settings
    np.testing.assert_allclose(first.embed(adata), fitted.embed(adata), atol=1e-5)
    assert np.abs(first.embed(adata) - second.embed(adata)).max() > 0.01
    bounds = [model.measured.validation["elbo"] for model in (first, second, fitted)]
    np.testing.assert_allclose(bounds[0], bounds[2], rtol=1e-4)
    assert not np.array_equal(bounds[0], bounds[1])


def test_the_bounds_are_of_each_seeds_validation_cells_with_its_key(compared):
    found, _, adata = compared
    counts = device_counts(from_anndata(adata, batch_column="batch"))
    options = training.TrainOptions(**TINY_FIT["training_options"])
    for seed, model in enumerate(found.models["bernoulli_vae"]):
        split = training.plan_epochs(160, options, _key_of_split(seed))
        expected = training.bound(
            keys.named(keys.root(3), "bound", seed), model.vae,
            training.build_evaluation(model.vae), counts, model.params, split.validation_cells,
            num_draws=8,
        )  # fmt: skip
        assert found.values["bernoulli_vae"]["elbo"][seed] == pytest.approx(expected["elbo"])


def test_the_bounds_are_of_eight_draws_and_a_slow_annealing_and_genes_are_shared_as_in_training(
    compared,
):
    _, (_, _, _, options), _ = compared
    asked = {"num_draws": 8, "num_temperatures": 1000, "num_train_cells": 144}  # of 160, a tenth
    assert options["bounds"] == [asked] * 2


def test_harmony_has_a_seed_of_its_own_for_each_repetition(monkeypatch):
    def harmony(pca, batches, seed):
        assert batches.tolist() == ["b2", "b1"] * 30
        return np.full_like(pca, seed % 1000)

    monkeypatch.setattr("qbm_jax.metrics.harmony_embedding", harmony)
    monkeypatch.setattr("qbm_jax.metrics.score_embeddings", lambda e, *_, **__: mean_of_first(e))
    found = compare(small_adata(60), ("harmony",), **OPTIONS)
    seeds = [keys.seed_of(3, "harmony", number) % 1000 for number in range(2)]
    assert found.values == {"harmony": {"total": seeds}} and seeds[0] != seeds[1]


def test_another_embedding_goes_without_the_cells_that_have_no_count(monkeypatch):
    adata, scored = small_adata(60), []
    adata.X = sp.csr_matrix(adata.X.toarray() * (np.arange(60) != 5)[:, None])
    adata.obsm["X_mine"] = np.arange(120.0).reshape(60, 2)

    def score_embeddings(embeddings, *_, **__):
        scored.append(embeddings["X_mine/0"])
        return mean_of_first(embeddings)

    monkeypatch.setattr("qbm_jax.metrics.score_embeddings", score_embeddings)
    compare(adata, "X_mine", **OPTIONS)
    np.testing.assert_array_equal(scored[0], np.delete(adata.obsm["X_mine"], 5, axis=0))


def _key_of_split(number):
    return jax.random.split(keys.of_training(3, number), 5)[0]


def test_a_notebook_shows_the_scores_that_decide_and_no_model():
    values = {"a": {"total": [1.0, 2.0], "ilisi": [0.5, 0.5], "elbo": [-5.0, -6.0]}}
    shown = repr(Comparison(values, {"a": [object()]}, ("b is left out",)))
    assert shown.splitlines()[1:] == [
        "  a, total: 1.5 +- 0.71", "  a, elbo: -5.5 +- 0.71", "  b is left out"
    ]  # fmt: skip


def test_rows_have_means_spreads_and_paired_differences_to_the_first():
    values = {"a": {"total": [1.0, 2.0, 4.0], "elbo": [-5.0, -6.0, -7.0]},
              "b": {"total": [2.0, 4.0, 7.0]}}  # fmt: skip
    frame = Comparison(values, {}, ()).to_frame().set_index(["method", "metric"])
    assert frame.loc[("a", "total"), "mean"] == pytest.approx(7 / 3)
    assert frame.loc[("a", "elbo"), "sd"] == pytest.approx(1.0)
    assert frame.loc[("a", "total"), "difference"] == 0
    own = frame.loc[("b", "total")]
    assert own["difference"] == pytest.approx(2.0)  # of 1, 2 and 3, whose s.d. is 1
    half = 4.302652730 / np.sqrt(3)  # Student's t with 2 degrees at 97.5 %
    assert (own["low"], own["high"]) == pytest.approx((2 - half, 2 + half))
    assert own["num_seeds"] == 3


def test_a_method_keeps_what_defines_it_and_takes_the_rest(monkeypatch):
    """Its own training options and sampler too; priors of numbers have latents of their own."""
    trained = []
    chosen = ("qbmvae", "gaussian_vae", "scvi", "kaiwu_qvae", "mog_vae", "vamp_vae", "made_vae")

    def fit_trainings(roots, records, cells, **options):
        trained.append((roots, records[0]))
        raise InputError("enough")

    monkeypatch.setattr(evaluating, "fit_trainings", fit_trainings)
    for name in chosen:
        assert refusal(compare, small_adata(), name, **OPTIONS) == "enough"
    model, gaussian, scvi, public, *_ = (record for _, record in trained)
    assert [record.model.num_latents for _, record in trained] == [8, 10, 10, 8, 10, 10, 8]
    priors = [record.model.prior for _, record in trained]
    assert priors[:4] == ["boltzmann", "gaussian", "gaussian", "rbm"]
    assert priors[4:] == ["gaussian_mixture", "vamp", "made"]
    assert scvi.model.likelihood == "zinb"
    assert gaussian.model.encoder_widths == (16,)
    assert model.options == training.TrainOptions(**TINY_FIT["training_options"])
    assert public.options == dataclasses.replace(
        model.options, objective="kaiwu_qvae", kl_weight=1e-5, num_chains=10
    )
    assert (model.sampler.name, public.sampler.name) == ("gibbs", "annealing")
    roots = [np.asarray(keys.number(root)) for root in trained[0][0]]
    assert roots == [keys.number(keys.of_training(3, number)) for number in range(2)]


def test_what_cannot_be_compared_is_refused_before_training(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluating, "fit_trainings", None)  # would be a TypeError
    adata = small_adata(60)
    assert "'vi'; choose from vae, scvi" in refusal(compare, adata, ("vi",), **OPTIONS)
    assert "each once" in refusal(compare, adata, ("pca", "pca"), **OPTIONS)
    assert "each once" in refusal(compare, adata, (), **OPTIONS)
    assert "num_seeds" in refusal(compare, adata, **OPTIONS | {"num_seeds": 0})
    assert "banana" in refusal(compare, adata, **OPTIONS, banana=3)
    last = ("qbmvae", "gaussian_vae")  # which has no relaxation that could grow
    grows = OPTIONS | {"training_options": {"sharpness_start": 1.0}, "relaxation": "gumbel"}
    assert "sharpness_start" in refusal(compare, adata, last, **grows)
    assert "sampler name" in refusal(compare, adata, **OPTIONS | {"sampler": ["gibbs"]})
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert "cells on disk" in refusal(compare, tmp_path / "a.h5ad", **OPTIONS)
    adata.X = adata.X * 0.5
    assert "whole-number" in refusal(compare, adata, **OPTIONS)


@pytest.mark.slow
def test_a_comparison_of_priors_has_all_scores_and_bounds():
    with launched():
        found = qbm_jax.compare(small_adata(), **OPTIONS)
    frame = found.to_frame().set_index(["method", "metric"])
    methods = ("qbmvae", "bernoulli_vae", "gaussian_vae", "pca")
    assert set(frame.index) == {
        (method, metric)
        for method in methods
        for metric in (*METRICS, *(["elbo"] if method != "pca" else []))
    }
    assert np.isfinite(frame.loc[("qbmvae", "elbo"), "mean"])
    assert 0 < frame.loc[("pca", "total"), "mean"] < 1
    assert frame.loc[("pca", "total"), "sd"] == 0
