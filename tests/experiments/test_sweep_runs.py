"""Sweeps from end to end: each setting is what it is alone, by every way to run them."""

import csv
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from command_line import launched, run
from sweeps import OVERRIDES, small_config, small_fields

from experiments.kit import launch
from experiments.sweep import job, ray_jobs
from experiments.sweep.outcomes import Outcomes
from experiments.sweep.plan import keep_plan, read_plan
from experiments.sweep.run import Request
from qbm_jax.training.checkpoint import CheckpointNotSaved

pytestmark = pytest.mark.slow


def rows_of(workdir):
    """Rows of the table by setting and metric; wall times are never the same."""
    with (workdir / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        (row["setting"], row["metric"]): float(row["value"])
        for row in rows
        if row["metric"] != "seconds" and row["value"]
    }


def sweep(made, workdir, overrides=OVERRIDES, **request):
    """`python run.py --sweep` with these settings, in this process."""
    with launched():
        launch.run(made, str(workdir), sweep=Request(overrides, **request))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """(folder of the cells, workdir) of a finished sweep in this process."""
    folder = tmp_path_factory.mktemp("sweep")
    sweep(small_config(folder), folder / "run")
    return folder, folder / "run"


def must_not_train(*arguments, **options):
    """In place of a training that is not needed."""
    raise AssertionError("trained again")


def test_a_setting_gets_what_an_ordinary_run_of_its_config_gets(swept, tmp_path):
    folder, workdir = swept
    made = small_config(folder, **OVERRIDES[2])
    run(made, tmp_path / "alone")
    scores = json.loads((tmp_path / "alone" / "scores.json").read_text())
    found = rows_of(workdir)
    alone = scores["embeddings"]["X_qbmvae"]
    assert found["2", "elbo"] == scores["elbo"]["value"]
    assert found["2", "log_z"] == scores["elbo"]["log_z"]
    for metric in ("total", "bio_conservation", "batch_correction", "kmeans_ari"):
        assert found["2", metric] == pytest.approx(alone[metric], abs=1e-6)


def test_a_finished_sweep_is_reported_anew_without_training_or_reading_cells(swept, monkeypatch):
    folder, workdir = swept
    table = (workdir / "results.csv").read_text()
    (workdir / "results.csv").unlink()
    (workdir / "report.md").unlink()
    monkeypatch.setattr(job, "train_and_evaluate", must_not_train)
    monkeypatch.setattr("experiments.sweep.run.cells_in_memory", must_not_train)
    sweep(small_config(folder), workdir)
    assert (workdir / "results.csv").read_text() == table
    assert "4 of 4 settings are finished" in (workdir / "report.md").read_text()


def test_a_setting_that_diverges_is_reported_and_leaves_the_others_as_they_are(swept, tmp_path):
    folder, workdir = swept
    overrides = [*OVERRIDES[:1], {"seed": 0, "training.learning_rate": 1e30}]
    with pytest.raises(SystemExit) as exit_:
        sweep(small_config(folder), tmp_path / "run", overrides)
    assert exit_.value.code == 1
    text = (tmp_path / "run" / "report.md").read_text()
    assert "1 of 2 settings are finished, 1 failed" in text
    assert "diverged" in text.split("## Failures")[1]
    found, expected = rows_of(tmp_path / "run"), rows_of(workdir)
    assert found["0", "elbo"] == expected["0", "elbo"]


CONFIG_FILE = """from configs import base


def get_config(arg="full"):
    config = base.variant(base.get_config(), "smoke")
    config.update_from_flattened_dict({fields!r})
    return config


def sweep(arg="full"):
    return {overrides!r}
"""


def test_slurm_tasks_and_single_jobs_give_what_the_sweep_gives(swept, tmp_path, monkeypatch):
    folder, workdir = swept
    made, there = small_config(folder), tmp_path / "run"
    written = tmp_path / "small.py"
    text = CONFIG_FILE.format(fields=small_fields(folder), overrides=OVERRIDES)
    written.write_text(text)
    monkeypatch.setattr("experiments.sweep.run.MOST_SETTINGS", 2)
    monkeypatch.setattr(sys, "argv", ["run.py", f"--config={written}", "--sweep_slurm"])
    sweep(made, there, slurm=True)
    task = os.environ | {"SLURM_ARRAY_TASK_ID": "1", "QBM_JAX_TASK": "job"}
    subprocess.run(["bash", there / "sweep.slurm"], env=task, check=True)
    done = sorted(path.name for path in (there / "results").glob("setting-*"))
    assert done == ["setting-0002.json", "setting-0003.json"]
    sweep(made, there, job=0)
    assert not (there / "report.md").exists()
    monkeypatch.setattr(job, "train_and_evaluate", must_not_train)
    sweep(made, there)
    assert rows_of(there) == pytest.approx(rows_of(workdir), abs=1e-6)


def test_a_local_ray_runs_what_is_missing_and_gives_what_the_sweep_gives(swept, tmp_path):
    pytest.importorskip("ray", reason='needs ray: pip install ".[ray]"')
    folder, workdir = swept
    there = tmp_path / "run"
    shutil.copytree(workdir, there)
    plan = read_plan(there)
    jobs = [plan.jobs[0]._replace(settings=half) for half in ([0, 1], [2, 3])]
    (there / "results" / "plan.json").unlink()
    keep_plan(there, plan._replace(jobs=jobs))
    for number in (0, 1, 3):
        (there / "results" / f"setting-{number:04d}.json").unlink()
    kept = there / "results" / "setting-0002.json"
    stamp = kept.stat().st_mtime_ns
    sweep(small_config(folder), there, ray="local")
    assert rows_of(there) == pytest.approx(rows_of(workdir), abs=1e-6)
    assert kept.stat().st_mtime_ns == stamp, "a finished setting was trained again"


def test_without_ray_its_option_is_one_clear_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ray_jobs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as exit_:
        sweep(small_config(), tmp_path / "run", ray="local")
    assert exit_.value.code == 2
    assert 'needs ray: pip install ".[ray]"' in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_halving_stops_what_falls_behind_and_finishes_the_rest(tmp_path, monkeypatch):
    pytest.importorskip("ray.tune", reason='needs ray: pip install ".[ray]"')
    one_by_one = {"num_cpus": os.cpu_count(), "num_gpus": 0}
    monkeypatch.setattr("experiments.sweep.halving.resources", lambda number: one_by_one)
    rates = [{"training.learning_rate": rate} for rate in (1e-2, 1e-9)]
    made = small_config(tmp_path, **{"training.num_epochs": 5})
    sweep(made, tmp_path / "run", rates, ray="local", halving=True)
    text = (tmp_path / "run" / "report.md").read_text()
    assert "1 of 2 settings are finished, 1 stopped early, 0 failed, 0 are to come" in text
    assert "* Setting 1 (training.learning_rate = 1e-09): after epoch 1, validation ELBO" in text
    assert {setting for setting, _ in rows_of(tmp_path / "run")} == {"0"}
    monkeypatch.setattr("experiments.sweep.run.cells_in_memory", must_not_train)
    sweep(made, tmp_path / "run", rates, ray="local", halving=True)


def test_a_full_disk_is_no_failure_of_a_trial_either(tmp_path):
    pytest.importorskip("ray.tune", reason='needs ray: pip install ".[ray]"')
    from experiments.sweep.halving import record_failure

    full = SimpleNamespace(cause=CheckpointNotSaved("free some space"))
    for error, kind in ((full, CheckpointNotSaved), (OSError(28, "full"), OSError)):
        with pytest.raises(kind):
            record_failure(
                Outcomes(tmp_path),
                SimpleNamespace(config={"chosen": {"setting": 1}}, error=error, metrics={}),
            )
    assert not Outcomes(tmp_path).failures(range(2))


def test_halving_compares_settings_of_one_seed_alone_and_records_what_it_stopped(tmp_path):
    pytest.importorskip("ray.tune", reason='needs ray: pip install ".[ray]"')
    from experiments.sweep.halving import HalvingBySeed, record_stops

    scheduler = HalvingBySeed([0, 1], first=15)

    def decision(seed, number, elbo, epoch=15):
        chosen = {"seed": seed, "setting": number}
        trial = SimpleNamespace(trial_id=str(number), config={"chosen": chosen})
        scheduler.on_trial_add(None, trial)
        return scheduler.on_trial_result(None, trial, {"epoch": epoch, "elbo": elbo})

    assert decision(0, 0, -100.0) == "CONTINUE"
    assert decision(0, 1, -120.0) == "STOP"
    assert decision(1, 2, -300.0) == "CONTINUE", "another seed has other validation cells"
    assert decision(1, 3, -290.0) == "CONTINUE"
    assert decision(0, 4, -110.0) == "STOP"
    assert decision(0, 5, -90.0, epoch=150) == "CONTINUE", "what is trained is still to be scored"
    record_stops(Outcomes(tmp_path), scheduler)
    assert Outcomes(tmp_path).stopped(range(6)) == {
        1: {"epoch": 15, "elbo": -120.0}, 4: {"epoch": 15, "elbo": -110.0}
    }  # fmt: skip
