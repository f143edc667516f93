"""What fit cannot write into is known before training; what is trained is never lost."""

import anndata
import numpy as np
import pytest
from command_line import TINY_FIT, launched, small_adata, untrained_model

import qbm_jax
from qbm_jax.errors import InputError
from qbm_jax.fitted import fit as fitting

OPTIONS = TINY_FIT | {"prior": "bernoulli", "num_genes": None, "progress": False}


def fit(adata):
    with launched():
        return qbm_jax.fit(adata, **OPTIONS)


@pytest.fixture
def backed(tmp_path):
    small_adata(80).write_h5ad(tmp_path / "a.h5ad")
    adata = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    yield adata
    adata.file.close()


def test_a_view_of_a_backed_file_is_refused_before_training(backed, monkeypatch):
    monkeypatch.setattr(fitting, "fit_cells", None)  # would be a TypeError
    with pytest.raises(InputError, match="got a view of a backed file; give its cells") as caught:
        fit(backed[:70])
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Setting element")
def test_a_backed_file_and_a_view_in_memory_get_their_results(backed, monkeypatch):
    monkeypatch.setattr(fitting, "fit_cells", lambda *_, **__: (untrained_model(), None))
    fit(backed)
    assert backed.obsm["X_bernoulli_vae"].shape == (80, 8)
    view = small_adata(80)[:70]
    fit(view)
    assert view.obsm["X_bernoulli_vae"].shape == (70, 8)
    assert view.obs["bernoulli_vae_energy"].notna().all()


def test_a_trained_model_is_returned_when_its_results_cannot_be_written(monkeypatch):
    def obsm(_):
        raise OSError("read only\nsecond line")

    adata, whole = small_adata(80), small_adata(80)
    monkeypatch.setattr(fitting, "fit_cells", lambda *_, **__: (untrained_model(), None))
    monkeypatch.setattr(anndata.AnnData, "obsm", property(obsm))
    with pytest.warns(UserWarning, match=r"could not write the embedding .* \(read only\); the mo"):
        model = fit(adata)
    assert np.isfinite(model.embed(whole)).all()
