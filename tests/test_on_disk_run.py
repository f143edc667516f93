"""A run whose cells stay on disk gives what the run in memory gives."""

import json

import anndata
import numpy as np
import pytest
from command_line import QUICK, config, run, small_adata

DATA = {
    "data.batch_column": "batch", "data.label_column": "kind", "data.num_genes": 30,
    "training.block_size": 8, "training.minibatch_size": 16, "training.max_steps_per_dispatch": 3,
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """The same cells in one file and, the genes of the second in another order, in two."""
    adata = small_adata()
    adata.write_h5ad(tmp_path / "all.h5ad")
    adata[:70].write_h5ad(tmp_path / "first.h5ad")
    adata[70:, adata.var_names[::-1]].write_h5ad(tmp_path / "second.h5ad")
    return tmp_path


def outputs(workdir):
    scores = json.loads((workdir / "scores.json").read_text())
    return scores, anndata.read_h5ad(workdir / "embedding.h5ad")


@pytest.mark.slow
def test_cells_on_disk_give_the_embedding_and_scores_of_cells_in_memory(files, tmp_path):
    paths = {"memory": str(files / "all.h5ad"), "disk": f"{files}/first.h5ad,{files}/second.h5ad"}
    found = {}
    for name, path in paths.items():
        fields = QUICK | DATA | {"data.path": path, "data.on_disk": name == "disk"}
        run(config("configs/toy.py:smoke", **fields), tmp_path / name)
        found[name] = outputs(tmp_path / name)
    (scores, cells), (stored_scores, stored_cells) = found["memory"], found["disk"]
    np.testing.assert_array_equal(stored_cells.obsm["X_qbmvae"], cells.obsm["X_qbmvae"])
    np.testing.assert_array_equal(stored_cells.obs["qbm_energy"], cells.obs["qbm_energy"])
    assert list(stored_cells.obs_names) == list(cells.obs_names)
    assert stored_scores["elbo"] == scores["elbo"]
    assert stored_scores["embeddings"] == scores["embeddings"]


@pytest.mark.slow
def test_a_larger_set_is_scored_on_a_sample_that_the_report_names(files, tmp_path):
    fields = QUICK | DATA | {"data.path": str(files / "all.h5ad"), "data.on_disk": True}
    run(config("configs/toy.py:smoke", **fields, **{"evaluation.max_scored_cells": 90}), tmp_path)
    _, cells = outputs(tmp_path)
    sample = anndata.read_h5ad(tmp_path / "sample.h5ad")
    assert cells.n_obs == 160 and sample.n_obs == 90
    whole = cells[sample.obs_names]
    np.testing.assert_allclose(sample.obsm["X_qbmvae"], whole.obsm["X_qbmvae"], atol=1e-6)
    assert "a sample of 90 of 160 cells" in (tmp_path / "report.md").read_text()


def test_cells_on_disk_need_a_file_or_a_simulator_preset(tmp_path, capsys):
    for fields, message in (
        ({"data.name": "pancreas"}, "expected config.data.path, or config.data.name among"),
        ({"data.name": "simulated:toy", "data.allow_simulated": False}, "measured cells"),
        ({"data.path": f"{tmp_path}/none.h5ad"}, "none.h5ad"),
    ):
        with pytest.raises(SystemExit) as end:
            run(config("configs/million.py:smoke", **fields), tmp_path / "run")
        assert end.value.code == 2 and message in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
