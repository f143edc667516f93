"""A finished run whose files were lost or damaged is whole again after the same command."""

import json
import logging
import shutil

import anndata
import numpy as np
import pytest
from command_line import QUICK, config, small_adata
from command_line import run_with_few_figures as run
from faults import flip

from experiments import integration
from experiments.kit.run_files import is_finished
from qbm_jax import report
from qbm_jax.errors import InputError
from qbm_jax.fitted.metrics_log import MetricsLog
from qbm_jax.runtime.sealed import SEAL

FIELDS = QUICK | {
    "data.batch_column": "batch",
    "data.label_column": "kind",
    "model.num_latents": 8,
    "evaluation.diagnostic_draws": 20,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The config of a run on cells of a file."""
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    small_adata().write_h5ad(path)
    return config(**FIELDS, **{"data.path": str(path)})


ASKED = []  # trainings that the finished run was asked for faults of


@pytest.fixture(scope="module")
def finished(made, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    faults_of = integration.training_faults
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            integration, "training_faults", lambda *of: ASKED.extend(of[1]) or faults_of(*of)
        )
        run(made, workdir)
    return workdir


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(path):
    document = json.loads(path.read_text())
    document["embeddings"]["X_qbmvae"]["total"] = 0.999
    path.write_text(json.dumps(document))


def flip_middle(path):
    flip(path, path.stat().st_size // 2, 0)


def test_a_run_looks_for_faults_of_all_its_trainings(made, finished):
    scores = json.loads((finished / "scores.json").read_text())
    assert {f"X_{name}" for name in ASKED} == scores["embeddings"].keys() - {"X_pca"} != set()


DAMAGE = {
    "scores cut": ("scores.json", cut),
    "scores edited": ("scores.json", edit),
    "scores a list": ("scores.json", lambda path: path.write_text("[]")),
    "scores empty": ("scores.json", lambda path: path.write_text("{}")),
    "scores a number": ("scores.json", lambda path: path.write_text("3")),
    "scores lost": ("scores.json", lambda path: path.unlink()),
    "embedding changed in its middle": ("embedding.h5ad", flip_middle),
    "log edited": ("metrics.jsonl", lambda path: path.write_text(path.read_text()[:-3] + "7}\n")),
    "log lost": ("metrics.jsonl", lambda path: path.unlink()),
    "embedding cut": ("embedding.h5ad", cut),
    "embedding lost": ("embedding.h5ad", lambda path: path.unlink()),
    "embedding no HDF5": ("embedding.h5ad", lambda path: path.write_text("x")),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_what_is_lost_or_damaged_is_seen_and_said(how, finished, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("qbm_jax"), "propagate", True)
    shutil.copytree(finished, tmp_path / "run")
    assert is_finished(tmp_path / "run")
    name, damage = DAMAGE[how]
    damage(tmp_path / "run" / name)
    assert not is_finished(tmp_path / "run")
    assert name in caplog.text or how == "scores lost"


def test_the_same_command_makes_again_what_is_missing_and_trains_nothing(
    finished, made, tmp_path, capsys
):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    edit(workdir / "scores.json")
    (workdir / "embedding.h5ad").unlink()
    (workdir / "metrics.jsonl").write_bytes(b'3\n"\xff"\n')
    shutil.rmtree(workdir / "figures")
    run(made, workdir)
    log = capsys.readouterr().err
    assert "scores.json is damaged or was edited" in log
    assert "resumed from step" in log
    assert (workdir / "metrics.jsonl").read_text() == ""  # no step was taken
    whole, mended = (json.loads((w / "scores.json").read_text()) for w in (finished, workdir))
    for name in ("embeddings", "elbo", "bounds", "per_seed", "sampler", "files"):
        assert mended[name] == whole[name], name
    embeddings = [
        anndata.read_h5ad(w / "embedding.h5ad").obsm["X_qbmvae"] for w in (finished, workdir)
    ]
    np.testing.assert_array_equal(*embeddings)
    assert any((workdir / "figures").iterdir())
    run(made, workdir)
    assert "is complete" in capsys.readouterr().err


def test_a_log_that_was_edited_is_said_in_the_report(finished, made, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    DAMAGE["log edited"][1](workdir / "metrics.jsonl")
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged or was edited"):
        report.write(workdir)
    run(made, workdir)
    (note,) = (
        n for n in json.loads((workdir / "scores.json").read_text())["notes"] if "jsonl" in n
    )
    assert "curves" in note and "metrics.jsonl" in (workdir / "report.md").read_text()
    assert is_finished(workdir)


def test_a_config_that_was_edited_is_refused(finished, made, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    claim = json.loads((workdir / "config.json").read_text())
    claim["versions"]["jax"] = "0.0"
    (workdir / "config.json").write_text(json.dumps(claim))
    with pytest.raises(SystemExit) as exit_:
        run(made, workdir)
    assert exit_.value.code == 2
    assert "config.json is damaged or was edited" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"config\.json is damaged or was edited"):
        report.write(workdir)


def test_a_workdir_that_is_renamed_while_a_model_is_trained_ends_the_run(
    made, tmp_path, capsys, monkeypatch
):
    workdir = tmp_path / "run"
    record = MetricsLog.record

    def rename_then_record(self, *arguments):
        if workdir.exists():
            workdir.rename(tmp_path / "elsewhere")
        record(self, *arguments)

    monkeypatch.setattr(MetricsLog, "record", rename_then_record)
    with pytest.raises(SystemExit) as exit_:
        run(made, workdir)
    assert exit_.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: folder") and "removed or renamed" in line
    assert not workdir.exists()


def test_a_run_on_changed_cells_is_refused_with_the_part(finished, made, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    (workdir / "scores.json").unlink()
    claim = json.loads((workdir / "config.json").read_text())
    del claim[SEAL]
    claim["data"]["batches_of_cells"] = "#0"
    (workdir / "config.json").write_text(json.dumps(claim))
    with pytest.raises(SystemExit) as exit_:
        run(made, workdir)
    assert exit_.value.code == 2
    assert "data.batches_of_cells: not the same" in capsys.readouterr().err
