"""A posterior that tells no cells apart is said; results are kept under the model's name."""

import logging
import warnings
from types import SimpleNamespace

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from command_line import QUICK, TINY_FIT, config, launched, run

import qbm_jax
from experiments.kit.faults import training_faults
from qbm_jax.errors import InputError
from qbm_jax.fitted.collapse import LEAST_SPREAD, collapse_fault

RNG = np.random.default_rng(0)


def adata():
    rates = np.random.default_rng(1).gamma(1, 3, (4, 30))[np.arange(120) % 4]
    counts = np.random.default_rng(0).poisson(rates).astype(np.float32)
    return anndata.AnnData(sp.csr_matrix(counts))


def fitted(cells, **training):
    options = TINY_FIT | {"training_options": TINY_FIT["training_options"] | training}
    with launched(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        qbm_jax.fit(cells, prior="bernoulli", num_genes=None, progress=False, **options)
    return [str(each.message) for each in caught if "Collapsed" in str(each.message)]


def spread(num_latents, active, by=1.0):
    """Embedding [200, latents] whose first latents are -by or +by, half of the cells each."""
    values = np.full((200, num_latents), 0.7, np.float32)
    values[:, :active] = by * np.where(np.arange(200) % 2, 1, -1)[:, None]
    return values


@pytest.mark.parametrize(("num_latents", "active"), [(8, 0), (128, 0), (128, 1), (300, 3)])
def test_no_latent_or_one_in_a_hundred_is_a_collapse(num_latents, active):
    fault = collapse_fault(spread(num_latents, active))
    assert fault.startswith(f"Collapsed posterior: {active} of {num_latents} latents differ")
    assert "try a smaller learning_rate" in fault and "\n" not in fault


@pytest.mark.parametrize(("num_latents", "active"), [(8, 1), (99, 1), (128, 2), (300, 4)])
def test_few_latents_that_differ_are_no_collapse(num_latents, active):
    assert collapse_fault(spread(num_latents, active)) is None


def test_the_threshold_is_on_the_standard_deviation_over_cells_with_an_embedding():
    assert collapse_fault(spread(8, 8, by=0.99 * LEAST_SPREAD))
    sound = spread(8, 8, by=1.01 * LEAST_SPREAD)
    assert collapse_fault(sound) is None
    sound[3] = np.nan  # a cell without counts
    assert collapse_fault(sound) is None
    assert collapse_fault(np.full((5, 3), np.nan)) is None


def test_a_learning_rate_of_ten_is_warned_of_and_a_sound_training_is_not(caplog):
    cells = adata()
    cells.obsm["X_qbmvae"], cells.obs["qbm_energy"] = np.ones((120, 2)), 5.0
    assert not fitted(cells)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert {"X_qbmvae", "X_bernoulli_vae"} == set(cells.obsm)
    assert {"qbm_energy", "bernoulli_vae_energy"} == set(cells.obs)
    assert (cells.obsm["X_qbmvae"] == 1).all() and (cells.obs["qbm_energy"] == 5).all()
    (message,) = fitted(cells, learning_rate=10.0)
    assert "of 8 latents differ between cells" in message
    assert cells.obsm["X_bernoulli_vae"].std(axis=0).max() < LEAST_SPREAD
    said = [
        record.getMessage() for record in caplog.records if "overwritten" in record.getMessage()
    ]
    assert [line.split(" was")[0] for line in said] == [
        "obsm['X_bernoulli_vae']", "obs['bernoulli_vae_energy']",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["two words", "", 3, "a/b"])
def test_a_name_that_no_key_can_have_is_refused(name):
    with pytest.raises(InputError, match="name must be letters, digits and _, or None"):
        qbm_jax.fit(None, name=name)


def test_every_collapsed_model_and_seed_of_a_run_is_a_training_fault(caplog):
    made = config(**{"model.prior": "bernoulli"})
    sound, collapsed = (SimpleNamespace(embedding=spread(8, active)) for active in (3, 0))
    faults = training_faults(made, {"model": [sound, collapsed], "gaussian_vae": [collapsed]})
    assert [fault.split(": ")[0] for fault in faults] == [
        "Training fault of model at seed 1", "Training fault of gaussian_vae at seed 0",
    ]  # fmt: skip
    assert all(fault in caplog.text for fault in faults)


@pytest.mark.slow
def test_the_report_of_a_collapsed_run_says_so(tmp_path):
    fields = QUICK | {"training.learning_rate": 10.0, "training.num_epochs": 20}
    run(config(**fields | {"model.prior": "bernoulli"}), tmp_path / "run")
    text = (tmp_path / "run" / "report.md").read_text()
    assert "Training fault of model at seed 0: Collapsed posterior" in text
