"""The command line from end to end: outputs of every config, resume, signals."""

import json
import re
import shutil
import signal
import subprocess
import time

import anndata
import numpy as np
import pytest
from command_line import (
    ONLY_MAIN,
    QUICK,
    ROOT,
    command,
    config,
    launched,
    run,
    small_adata,
)
from marks import mostly_slow
from matplotlib.image import imread

from experiments import integration
from experiments.kit import launch, usage
from experiments.kit.options import model_options
from experiments.kit.stop import StopRequest
from experiments.kit.usage import config_files
from experiments.kit.workdir import plain_config
from qbm_jax.fitted.model import FittedModel
from qbm_jax.runtime.sealed import SEAL

CONFIGS = [path.stem for path in config_files()]
OF_INTEGRATION = [
    name
    for name in CONFIGS
    if (made := config(f"configs/{name}.py")).experiment == "integration" and not made.data.on_disk
]  # those on disk: test_on_disk_run
OUTPUTS = {
    "config.json", "metrics.jsonl", "checkpoints", "embedding.h5ad", "scores.json", "report.md",
    "report.html", "figures", "results.csv",
}  # fmt: skip
INTERRUPTED = ONLY_MAIN | {
    "training.num_epochs": 600,
    "training.validate_every": 300,
    "training.validation_temperatures": 10,
    "evaluation.log_z_temperatures": 10,
}


def scores_of(workdir):
    return json.loads((workdir / "scores.json").read_text())


def rows_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module", params=mostly_slow(OF_INTEGRATION))
def smoke(request, smoke_of):
    """(config, workdir) of the finished smoke run of each config of this experiment."""
    return config(f"configs/{request.param}.py:smoke"), smoke_of(request.param)


def test_a_smoke_run_writes_exactly_the_outputs_and_each_can_be_read(smoke):
    made, workdir = smoke
    assert {path.name for path in workdir.iterdir()} == OUTPUTS
    assert json.loads((workdir / "config.json").read_text())["config"] == plain_config(made)
    figures = sorted((workdir / "figures").iterdir())
    assert figures
    assert all(path.suffix == ".png" and imread(path).size for path in figures)
    report = (workdir / "report.md").read_text()
    assert all(f"figures/{path.name}" in report for path in figures)


def test_scores_hold_what_outside_checks_read(smoke):
    made, workdir = smoke
    scores = scores_of(workdir)
    for name in (*model_options(made), "pca"):
        metrics = scores["embeddings"][f"X_{name}"]
        assert all(0 < metrics[m] < 1 for m in ("total", "bio_conservation", "batch_correction"))
        assert all(value is None or isinstance(value, float) for value in metrics.values())
        assert all(f"{m}_sd" in metrics for m in metrics if not m.endswith("_sd"))
    elbo = scores["elbo"]
    assert elbo["value"] < 0 < elbo["log_z"]
    assert elbo["log_z_standard_error"] >= 0
    assert scores["seeds"] == [0]
    assert scores["seconds"]["training"] > 0
    assert scores["cells_per_second"]["qbmvae"] > 0
    assert {"jax", "python", "numpy"} <= scores["versions"].keys()


def test_the_embedding_has_spins_energies_and_provenance(smoke):
    made, workdir = smoke
    adata = anndata.read_h5ad(workdir / "embedding.h5ad")
    spins = adata.obsm["X_qbmvae"]
    assert spins.shape == (adata.n_obs, made.model.num_latents)
    assert spins.dtype == np.float32
    assert np.abs(spins).max() <= 1
    assert np.isfinite(adata.obs["qbm_energy"]).all()
    assert adata.obsm["X_umap"].shape == (adata.n_obs, 2)
    facts = adata.uns["qbm_jax"]
    assert facts["simulated"]
    assert facts["commit"] == json.loads((workdir / "config.json").read_text())["commit"]
    assert json.loads(facts["config"]) == plain_config(made)
    energy = -0.5 * np.einsum("ci,ij,cj->c", spins, facts["J"], spins) - spins @ facts["h"]
    np.testing.assert_allclose(adata.obs["qbm_energy"], energy, rtol=1e-4, atol=1e-4)


def test_the_models_of_a_run_load_with_their_histories_and_embed_as_it_did(smoke):
    made, workdir = smoke
    cells = integration.load_cells(made)
    adata = anndata.read_h5ad(workdir / "embedding.h5ad")
    for name in (None, *model_options(made)):
        model = FittedModel.load(workdir, name=name)
        embedding, energy = model.encode_cells(cells)
        written = adata.obsm[f"X_{name or 'qbmvae'}"]
        np.testing.assert_allclose(embedding, written, rtol=1e-6, atol=1e-6)
        own = [row for row in rows_of(workdir) if row["model"] == (name or "qbmvae")]
        assert [row["step"] for row in model.measured.rows()] == [row["step"] for row in own]
        assert max(model.measured.validation["elbo"]) == max(
            row["elbo"] for row in own if row["split"] == "validation"
        )
        if name is None:
            np.testing.assert_allclose(energy, adata.obs["qbm_energy"], rtol=1e-5, atol=1e-5)


def test_simulated_cells_are_announced_in_title_captions_and_file(smoke):
    _, workdir = smoke
    lines = (workdir / "report.md").read_text().splitlines()
    assert "SIMULATED" in lines[0]
    captions = [line for line in lines if line.startswith("![")]
    assert captions
    assert all("SIMULATED" in caption for caption in captions)


def test_metrics_rows_are_unique_and_in_order(smoke):
    made, workdir = smoke
    rows = [(r["model"], r["seed"], r["step"], r["split"]) for r in rows_of(workdir)]
    assert len(set(rows)) == len(rows)
    assert {row[0] for row in rows} == set(model_options(made))


def test_a_finished_run_only_makes_its_report_anew(smoke, capsys):
    made, workdir = smoke
    before = {path: path.stat().st_mtime_ns for path in workdir.iterdir() if path.is_file()}
    (workdir / "report.md").unlink()
    table = (workdir / "results.csv").read_bytes()
    run(made, workdir)
    assert "complete" in capsys.readouterr().err
    assert (workdir / "report.md").exists()
    assert (workdir / "results.csv").read_bytes() == table  # made from the scores, as the report is
    unchanged = [path for path in before if path.stem not in ("report", "results")]
    assert all(path.stat().st_mtime_ns == before[path] for path in unchanged)


GROUPS = {
    "no labels": ({"data.batch_column": "batch"}, "No label column"),
    "one batch": ({"data.label_column": "kind"}, "one batch"),
    "neither": ({}, "No label column"),
}


@pytest.mark.slow
@pytest.mark.parametrize("groups", mostly_slow(GROUPS, "neither"))
def test_cells_without_labels_or_with_one_batch_run_and_the_report_says_so(
    groups, tmp_path, capsys
):
    fields, words = GROUPS[groups]
    small_adata().write_h5ad(tmp_path / "cells.h5ad")
    fields = QUICK | {"data.path": str(tmp_path / "cells.h5ad")} | fields
    with pytest.raises(SystemExit):
        run(config(**fields, **{"data.layer": "counts"}), tmp_path / "run")
    run(config(**fields), tmp_path / "run")  # the corrected command may use the same workdir
    assert {path.name for path in (tmp_path / "run").iterdir()} == OUTPUTS
    report = (tmp_path / "run" / "report.md").read_text()
    assert words in report
    assert not re.search(r"\bnan\b", report)
    assert "SIMULATED" not in report
    embedding = anndata.read_h5ad(tmp_path / "run" / "embedding.h5ad")
    assert {"batch", "kind", "qbm_energy"} <= set(embedding.obs)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The finished run that an interrupted one has to equal."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    run(config(**INTERRUPTED), workdir)
    return workdir


def wait_for_rows(process, workdir, rows=3):
    """Returns once training has written some rows."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        file = workdir / "metrics.jsonl"
        if file.exists() and len(file.read_text().splitlines()) >= rows:
            return
        time.sleep(0.02)
    raise AssertionError("no training to interrupt")


@pytest.mark.slow
def test_a_run_that_is_terminated_and_resumed_equals_an_undisturbed_one(undisturbed, tmp_path):
    workdir = tmp_path / "run"
    overrides = [f"--config.{name}={value}" for name, value in INTERRUPTED.items()]
    line = command("--config=configs/toy.py:smoke", f"--workdir={workdir}", *overrides)
    with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        wait_for_rows(process, workdir)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in errors
    assert "the same command goes on" in errors.splitlines()[-1]
    assert {path.name for path in workdir.iterdir()} == {
        "config.json", "metrics.jsonl", "checkpoints"
    }  # fmt: skip
    stopped_at = max(row["step"] for row in rows_of(workdir))
    last = max(row["step"] for row in rows_of(undisturbed))
    assert 0 < stopped_at < last

    run(config(**INTERRUPTED), workdir)
    keys = [(r["model"], r["seed"], r["step"], r["split"]) for r in rows_of(workdir)]
    assert len(set(keys)) == len(keys)
    assert [key[2] for key in keys] == sorted(key[2] for key in keys)
    whole, resumed = scores_of(undisturbed), scores_of(workdir)
    for name in ("embeddings", "elbo", "bounds", "per_seed", "sampler"):
        assert resumed[name] == whole[name], name
    embeddings = [
        anndata.read_h5ad(folder / "embedding.h5ad").obsm["X_qbmvae"]
        for folder in (workdir, undisturbed)
    ]
    np.testing.assert_array_equal(*embeddings)


def unfinished(finished, workdir):
    """A copy of a run as it is after its training, before its scores."""
    shutil.copytree(finished, workdir)
    for name in ("scores.json", "report.md", "embedding.h5ad"):
        (workdir / name).unlink()
    return workdir


@pytest.mark.slow
def test_a_damaged_checkpoint_is_skipped_for_the_previous_one_and_the_log_says_so(
    undisturbed, tmp_path, capsys
):
    workdir = unfinished(undisturbed, tmp_path / "run")
    steps = sorted((workdir / "checkpoints" / "qbmvae-seed0").iterdir(), key=lambda p: int(p.name))
    assert len(steps) >= 2
    for path in steps[-1].rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    run(config(**INTERRUPTED), workdir)
    log = capsys.readouterr().err
    assert f"step {steps[-1].name} is damaged and skipped" in log
    assert f"resumed from step {steps[-2].name}" in log
    assert scores_of(workdir)["embeddings"] == scores_of(undisturbed)["embeddings"]


@pytest.mark.slow
def test_a_run_goes_on_only_with_the_cells_it_was_started_on(undisturbed, tmp_path, capsys):
    workdir = unfinished(undisturbed, tmp_path / "run")
    claim = json.loads((workdir / "config.json").read_text())
    del claim[SEAL]
    claim["data"]["counts"] += "0"
    (workdir / "config.json").write_text(json.dumps(claim))
    with pytest.raises(SystemExit) as exit_:
        run(config(**INTERRUPTED), workdir)
    assert exit_.value.code == 2
    assert "data.counts: not the same" in capsys.readouterr().err
    assert not (workdir / "scores.json").exists()


def test_outside_training_a_signal_stops_at_once_with_its_exit_code(tmp_path, capsys, monkeypatch):
    def reading(config, workdir, stop):
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("went on")

    monkeypatch.setitem(launch.EXPERIMENTS, "integration", reading)
    with launched(), pytest.raises(SystemExit) as exit_:
        launch.run(config(), str(tmp_path / "run"))
    assert exit_.value.code == 128 + signal.SIGTERM
    assert "stopped" in capsys.readouterr().err


def test_within_training_a_second_interrupt_does_not_wait():
    with launched():
        stop = StopRequest()
        with pytest.raises(KeyboardInterrupt), stop.deferred():
            signal.raise_signal(signal.SIGINT)
            assert stop()
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("went on")


def test_a_signal_that_nobody_asked_about_still_stops_after_training():
    with launched():
        stop = StopRequest()
        with pytest.raises(KeyboardInterrupt), stop.deferred():
            signal.raise_signal(signal.SIGTERM)


def test_without_arguments_the_configs_are_listed_with_their_first_line(capsys):
    with pytest.raises(SystemExit) as exit_:
        usage.answer(["run.py"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    for name in CONFIGS:
        assert re.search(rf"configs/{name}\.py +\w", text)
    assert "base.py" not in text


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_short_and_names_the_options(flag, capsys):
    with pytest.raises(SystemExit) as exit_:
        usage.answer(["run.py", flag])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) < 25
    for word in ("--config", "--workdir", "--config.data.path", ":smoke", "--config.seed"):
        assert word in text


def test_the_default_workdir_is_named_after_config_and_variant():
    assert launch.default_workdir(["run.py", "--config=configs/toy.py"]) == "runs/toy"
    assert launch.default_workdir(["run.py", "--config=configs/toy.py:full"]) == "runs/toy"
    assert launch.default_workdir(["run.py", "--config=configs/toy.py:smoke"]) == "runs/toy-smoke"
