"""A run whose cells stay on disk gives what the run in memory gives."""

import fcntl
import json
import logging
import threading

import anndata
import numpy as np
import pytest
from command_line import QUICK, config, run, small_adata
from ml_collections import ConfigDict

from experiments.kit import cells as on_disk
from qbm_jax.errors import InputError
from qbm_jax.fitted.model import FittedModel

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
    model = FittedModel.load(tmp_path / "disk")  # a notebook reads it
    np.testing.assert_allclose(model.embed(small_adata()), stored_cells.obsm["X_qbmvae"], atol=1e-6)


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


def test_paths_are_parted_at_commas_unless_a_file_has_that_name(tmp_path):
    assert on_disk.listed_paths(" a.h5ad , b.h5ad") == ["a.h5ad", "b.h5ad"]
    for text in ("a.h5ad,", ",", " ", "a.h5ad,,b.h5ad"):
        with pytest.raises(InputError, match="one comma between two"):
            on_disk.listed_paths(text)
    odd = tmp_path / "a,b.h5ad"
    odd.touch()
    assert on_disk.listed_paths(str(odd)) == [str(odd)]
    many = ["a" * 100 + ".h5ad"] * 60
    assert on_disk.listed_paths(",".join(many)) == many


def simulated(cache_dir):
    data = {
        "name": "simulated:toy", "num_cells": 60, "allow_simulated": True,
        "cache_dir": str(cache_dir),
    }  # fmt: skip
    return on_disk.simulated_file(ConfigDict({"data": data, "seed": 0}))


def test_simulated_cells_are_made_once_and_nothing_is_left_beside_them(tmp_path):
    path = simulated(tmp_path / "new")
    before = path.stat()
    assert simulated(tmp_path / "new") == path and path.stat() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_cache_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write to the cache folder .*; give another"):
        simulated(tmp_path / "file" / "cache")


def test_a_second_run_waits_for_the_first_that_simulates_and_takes_its_file(
    tmp_path, monkeypatch, caplog
):
    path = simulated(tmp_path)
    content = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(on_disk, "write_simulated", None)  # the second must not
    lock = (tmp_path / f".{path.name}.lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    with caplog.at_level(logging.INFO, "qbm_jax"):
        second = threading.Thread(target=simulated, args=(tmp_path,), daemon=True)
        second.start()
        second.join(1)
        assert second.is_alive() and "waiting for another run" in caplog.text
        path.write_bytes(content)
        lock.close()
        second.join(60)
    assert not second.is_alive() and "simulated before" in caplog.text


@pytest.mark.parametrize("primary", [True, False])
def test_all_processes_wait_for_the_first_whether_or_not_the_file_is_there(
    tmp_path, monkeypatch, primary
):
    waits = []
    monkeypatch.setattr(on_disk, "is_primary", lambda: primary)
    monkeypatch.setattr(on_disk, "wait_for_primary", waits.append)
    if not primary:
        with pytest.raises(InputError, match=r"all processes need the same data.cache_dir"):
            simulated(tmp_path)
        monkeypatch.setattr(on_disk.os.path, "exists", lambda path: True)
    simulated(tmp_path)
    simulated(tmp_path)
    assert len(waits) == (2 if primary else 3)
