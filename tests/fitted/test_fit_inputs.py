"""What fit cannot write into is known before training; what is trained is never lost."""

from types import SimpleNamespace

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from command_line import TINY_FIT, launched, small_adata, untrained_model

import qbm_jax
from qbm_jax.data import from_anndata, preprocess
from qbm_jax.errors import InputError
from qbm_jax.fitted import alarms
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


def test_what_the_model_knows_of_genes_and_cells_goes_to_those_genes_and_cells(monkeypatch):
    """Those without a count are in no model: gene 3 of 40 and cell 5 of 80 get nothing."""
    trained = SimpleNamespace(
        measured=None,
        J=None,
        vae=SimpleNamespace(prior=SimpleNamespace(couplings=False)),
        encode_cells=lambda cells: (np.arange(79.0)[:, None], np.arange(79.0)),
        gene_results=lambda: (np.arange(39.0), np.arange(39.0)[:, None]),
    )
    monkeypatch.setattr(fitting, "fit_cells", lambda *_, **__: (trained, None))
    adata = small_adata(80)
    counts = adata.X.toarray()
    counts[5], counts[:, 3] = 0, 0
    adata.X = sp.csr_matrix(counts)
    with pytest.warns(UserWarning, match="1 of 80 cells"):
        fit(adata)
    genes, cells = np.insert(np.arange(39.0), 3, np.nan), np.insert(np.arange(79.0), 5, np.nan)
    for found, wanted in (
        (adata.var["autozi_gate"], genes), (adata.varm["loadings"][:, 0], genes),
        (adata.obsm["X_bernoulli_vae"][:, 0], cells), (adata.obs["bernoulli_vae_energy"], cells),
    ):  # fmt: skip
        np.testing.assert_array_equal(np.asarray(found), wanted)


def test_a_trained_model_is_returned_when_an_alarm_cannot_be_asked(monkeypatch):
    def missing(*_):
        raise ModuleNotFoundError("No module named 'scib_metrics'\nsecond line")

    cells = preprocess(from_anndata(small_adata(80), label_column="kind"), num_genes=40)
    model = untrained_model()
    monkeypatch.setattr(fitting, "fit_cells", lambda *_, **__: (model, None))
    for name in ("knn_purity", "MAX_SHARE"):
        monkeypatch.delattr(f"qbm_jax.metrics.rare_types.{name}")
    monkeypatch.setattr(alarms, "dead_latents", missing)
    missing.__name__ = "dead_latents"
    monkeypatch.setattr(alarms, "collapse_fault", lambda _: None)
    with launched(), pytest.warns(UserWarning, match="could not be asked") as caught:
        options = OPTIONS | {"num_genes": 40}
        assert qbm_jax.fit(cells, **options) is model
    told = [str(each.message) for each in caught if "asked" in str(each.message)]
    assert "The alarm dead_latents could not be asked (ModuleNotFoundError: No module" in told[0]
    assert "The alarm intermingled_types could not be asked (ImportError: cannot" in told[1]
    assert len(told) == 2 and "\n" not in told[0]


def test_warnings_of_a_fit_point_at_its_call(monkeypatch):
    def obsm(_):
        raise OSError("read only")

    adata = small_adata(81)
    adata.X = adata.X.multiply((np.arange(81) < 80)[:, None]).tocsr()
    monkeypatch.setattr(fitting, "fit_cells", lambda *_, **__: (untrained_model(), None))
    monkeypatch.setattr(fitting.alarms, "of_model", lambda *_: ["an alarm"])
    monkeypatch.setattr(anndata.AnnData, "obsm", property(obsm))
    with pytest.warns(UserWarning) as told:
        qbm_jax.fit(adata, prior="bernoulli", num_genes=None, progress=False)
    words = [str(each.message) for each in told if each.filename == __file__]
    for each in ("1 of 81 cells", "could not write the embedding", "an alarm"):
        assert sum(each in word for word in words) == 1


def test_a_trained_model_is_returned_when_its_results_cannot_be_written(monkeypatch):
    def obsm(_):
        raise OSError("read only\nsecond line")

    adata, whole = small_adata(80), small_adata(80)
    monkeypatch.setattr(fitting, "fit_cells", lambda *_, **__: (untrained_model(), None))
    monkeypatch.setattr(anndata.AnnData, "obsm", property(obsm))
    with pytest.warns(UserWarning, match=r"could not write the embedding .* \(read only\); the mo"):
        model = fit(adata)
    assert np.isfinite(model.embed(whole)).all()
