"""Denoised expression: of the decoder, in the batch asked for, with honest intervals."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from refusals import refusal

from qbm_jax.fitted import denoise as denoising
from qbm_jax.fitted.model import FittedModel

FEW = slice(0, 12)


@pytest.fixture(scope="module")
def few(toy):
    return toy.adata[FEW].copy()


@pytest.fixture(scope="module")
def samples(toy, few):
    return toy.model.denoise(few, num_samples=6, return_="samples", seed=1)


def test_the_mean_is_that_of_the_draws_of_each_cell_in_its_own_batch(toy, few, samples):
    found = toy.model.denoise(few, num_samples=6, seed=1)
    assert found.index.equals(few.obs_names)
    assert tuple(found.columns) == toy.model.settings.genes
    np.testing.assert_allclose(found, samples.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1e4, rtol=1e-4)
    own = [toy.model.denoise(few, name, num_samples=6, seed=1) for name in ("b1", "b2")]
    chosen = np.where((few.obs.batch == "b1").to_numpy()[:, None], *own)
    np.testing.assert_allclose(found, chosen, rtol=1e-5)
    both = toy.model.denoise(few, "each", num_samples=6, seed=1)
    np.testing.assert_allclose(both, sum(own) / 2, rtol=1e-5)
    assert np.abs(own[0] / own[1] - 1).to_numpy().max() > 1e-3, "the decoder reads the batch"


def test_a_batch_called_each_is_no_word_for_all_batches(toy, few):
    settings = dataclasses.replace(toy.model.settings, batch_names=("each", "b2"))
    model = FittedModel(settings, toy.model.params)
    assert "rename it" in refusal(denoising.denoise, model, few, "each")
    denoising.denoise(model, few, "b2", num_samples=1)


def test_genes_and_library_sizes_are_those_asked_for(toy, few, samples):
    whole = toy.model.denoise(few, num_samples=6, seed=1)
    some = toy.model.denoise(few, num_samples=6, seed=1, genes=["gene7", "gene2"])
    np.testing.assert_allclose(some, whole[["gene7", "gene2"]], rtol=1e-5)
    one = toy.model.denoise(few, num_samples=6, seed=1, library_size=1.0)
    np.testing.assert_allclose(one * 1e4, whole, rtol=1e-5)
    counts = toy.model.reconstruct(few, num_samples=6, seed=1)
    np.testing.assert_allclose(counts.sum(axis=1), few.X.sum(axis=1).A1, rtol=1e-4)


def test_an_interval_holds_its_share_of_the_draws(toy, few, samples):
    lower, upper = toy.model.denoise(
        few, num_samples=6, seed=1, return_="interval", level=0.6, genes=["gene7"]
    )
    drawn = samples[:, :, 7]
    np.testing.assert_allclose(lower.gene7, np.quantile(drawn, 0.2, axis=0), rtol=1e-5)
    np.testing.assert_allclose(upper.gene7, np.quantile(drawn, 0.8, axis=0), rtol=1e-5)


def test_blocks_of_cells_are_as_wide_as_memory_allows_and_nothing_else_changes(toy, monkeypatch):
    whole = toy.model.denoise(toy.adata, num_samples=2)
    assert whole.shape == (160, 40) and np.isfinite(whole.to_numpy()).all()
    monkeypatch.setattr(denoising, "_NUMBERS", 2 * 40 * 100)
    blocks = toy.model.denoise(toy.adata, num_samples=2)
    assert blocks.shape == (160, 40)
    for kind in toy.adata.obs.kind.cat.categories:
        means = [each[(toy.adata.obs.kind == kind).to_numpy()].mean() for each in (blocks, whole)]
        assert np.corrcoef(*means)[0, 1] > 0.98


def test_denoised_counts_are_closer_to_the_rates_than_the_counts_are(world):
    counts = world.adata.X.toarray()
    found = world.model.reconstruct(world.adata, num_samples=4).to_numpy()
    error = np.square(found - world.rates).mean()
    assert error < 0.5 * np.square(counts - world.rates).mean()


def test_types_agree_between_batches_once_both_are_decoded_in_one(world):
    own = world.model.denoise(world.adata, num_samples=4)
    corrected = world.model.denoise(world.adata, "b1", num_samples=4)

    def apart(expression):
        """How far the means of type a are apart in the two batches, in log2 of a typical gene."""
        in_b1, in_b2 = (
            expression[((world.adata.obs.kind == "a") & (world.adata.obs.batch == batch)).values]
            for batch in ("b1", "b2")
        )
        return np.abs(np.log2(in_b1.mean() / in_b2.mean())).median()

    assert apart(own) > 0.25 and apart(corrected) < 0.3 * apart(own)


def test_cells_without_a_count_are_nan_with_a_warning(toy, few, samples):
    empty = few.copy()
    empty.X = sp.csr_matrix(empty.X.toarray() * (np.arange(12) != 4)[:, None])
    with pytest.warns(UserWarning, match="1 of 12 cells have no count"):
        found = toy.model.denoise(empty, num_samples=6, return_="samples", seed=1)
    assert np.isnan(found[:, 4]).all() and np.isfinite(np.delete(found, 4, axis=1)).all()


def test_likelihoods_without_counts_give_log_normalised_values(toy, few):
    options = toy.model.settings.model | {"likelihood": "normal"}
    settings = dataclasses.replace(toy.model.settings, model=options)
    model = FittedModel(settings, toy.model.params)
    found = model.denoise(few, num_samples=2)
    assert found.to_numpy().min() < 0  # the logits themselves
    assert "without a library size" in refusal(model.denoise, few, library_size=2.0)


def test_what_cannot_be_denoised_is_refused_in_one_line(toy, few):
    denoise = toy.model.denoise
    assert "unknown batch 'b7'" in refusal(denoise, few, "b7")
    assert "the model knows b1, b2" in refusal(denoise, few, few.obs.batch)  # not one batch
    assert "1 are missing: gene" in refusal(denoise, few, genes="gene")  # no gene a letter
    assert "unknown return_ 'all'; choose from mean" in refusal(denoise, few, return_="all")
    assert "num_samples" in refusal(denoise, few, num_samples=0)
    assert '"observed"' in refusal(denoise, few, library_size="mine")
    assert "1 are missing: nogene" in refusal(denoise, few, genes=["nogene"])
    assert "level" in refusal(denoise, few, level=1.0)
