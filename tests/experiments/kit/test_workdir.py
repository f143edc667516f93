"""The workdir as a run's identity, and the log of its trainings."""

import errno
import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys

import pytest
from command_line import ROOT, config, run
from command_line import refused as refused_line
from full_disk import FullDisk
from refusals import refusal

from experiments.kit import launch
from experiments.kit.launch import OneLine
from experiments.kit.workdir import check_workdir, claim_workdir
from qbm_jax.errors import InputError
from qbm_jax.fitted.metrics_log import MetricsLog
from qbm_jax.runtime.json_file import finite, write_json
from qbm_jax.study.claim import read_claim
from qbm_jax.study.lock import LOCK, lock_folder, release_locks
from qbm_jax.study.pieces import Pieces
from qbm_jax.study.rows import write_table
from qbm_jax.study.sealed_file import read_sealed
from qbm_jax.training import Progress

DATA = {"source": "cells.h5ad", "num_cells": 100, "num_genes": 20, "crc32": 7}


@pytest.fixture(autouse=True)
def no_locks_left():
    """What a test locked is free again."""
    yield
    release_locks()


def test_a_workdir_in_the_home_is_there(tmp_path, monkeypatch, capsys):
    """A shell leaves the ~ of --workdir=~/run as it is, which would be a folder called so."""
    places = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setitem(
        launch.EXPERIMENTS, "integration", lambda config, workdir, stop: places.append(workdir)
    )
    run(config(), "~/run")
    run(config(), "not~/run")
    assert [str(place) for place in places] == [str(tmp_path / "home" / "run"), "not~/run"]
    assert "no such home" in refused_line(capsys, config(), "~nobody-of-this-name/run")


def test_a_claim_holds_config_data_versions_and_commit(tmp_path):
    claim_workdir(tmp_path / "a" / "run", config(), DATA)
    facts = json.loads((tmp_path / "a" / "run" / "config.json").read_text())
    assert facts.keys() == {"config", "data", "versions", "commit", "command", "seal"}
    assert facts["config"]["model"]["encoder_widths"] == [32]
    assert facts["data"] == DATA


def test_the_same_config_may_come_back_and_nothing_is_rewritten(tmp_path):
    claim_workdir(tmp_path, config(), DATA)
    before = (tmp_path / "config.json").stat().st_mtime_ns
    check_workdir(tmp_path, config())
    claim_workdir(tmp_path, config(), DATA)
    assert (tmp_path / "config.json").stat().st_mtime_ns == before


def test_a_different_config_is_refused_with_the_fields_that_differ(tmp_path):
    claim_workdir(tmp_path, config(), DATA)
    other = config(**{"seed": 3, "model.encoder_widths": (8, 8)})
    line = refusal(check_workdir, tmp_path, other)
    assert "config.seed: 0 there, 3 now" in line
    assert "config.model.encoder_widths: [32] there, [8, 8] now" in line
    assert "num_latents" not in line
    assert "--workdir" in line


def test_other_cells_are_refused_with_what_differs(tmp_path):
    claim_workdir(tmp_path, config(), DATA)
    line = refusal(claim_workdir, tmp_path, config(), DATA | {"source": "SIMULATED"})
    assert "data.source: 'cells.h5ad' there, 'SIMULATED' now" in line
    assert "num_cells" not in line


@pytest.mark.parametrize("text", ["", "{", "[]", '{"config": 3, "data": {}}', '{"config": {}}'])
def test_a_damaged_claim_is_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    line = refusal(check_workdir, tmp_path, config())
    assert "config.json is damaged" in line


def test_a_check_leaves_no_trace(tmp_path):
    check_workdir(tmp_path / "a" / "b", config())
    assert not any(tmp_path.iterdir())


def test_a_workdir_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        line = refusal(check_workdir, path, config())
        assert "cannot write" in line
        assert str(tmp_path / "file") in line


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # for root everything is writable
    line = refusal(check_workdir, tmp_path / "run", config())
    assert "permission" in line
    assert str(tmp_path) in line


@pytest.mark.parametrize("name", ["scores.json", "metrics.jsonl", "checkpoints"])
def test_results_without_their_config_are_refused(name, tmp_path):
    (tmp_path / name).write_text("")
    line = refusal(check_workdir, tmp_path, config())
    assert name in line
    assert "config.json" in line


def test_other_files_in_the_folder_do_not_matter(tmp_path):
    (tmp_path / "run.log").write_text("")
    check_workdir(tmp_path, config())


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "scores.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": 2, "b": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    tree = {"a": [math.nan, 1.0, {"b": math.inf}], "c": "nan"}
    assert finite(tree) == {"a": [None, 1.0, {"b": None}], "c": "nan"}
    assert finite({"rows": [("total", 0, math.nan)]}) == {"rows": [["total", 0, None]]}
    write_json(tmp_path / "x.json", tree)
    assert json.loads((tmp_path / "x.json").read_text())["a"][0] is None


def record(log, model, step, split="train", seed=0, value=1.0):
    log.record(model, seed, Progress(step, step / 4, 10, 100.0, split, {"reconstruction": value}))


def steps(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["model"], row["seed"], row["step"]) for row in rows]


def test_a_resumed_training_forgets_only_its_own_later_rows(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (4, 8, 12):
        record(log, "a", step)
        record(log, "b", step)
        record(log, "a", step, seed=1)
    record(MetricsLog(path), "a", 8, split="start")
    kept = steps(path)
    assert [row[2] for row in kept if row[:2] == ("a", 0)] == [4, 8]
    assert [row[2] for row in kept if row[:2] == ("b", 0)] == [4, 8, 12]
    assert [row[2] for row in kept if row[:2] == ("a", 1)] == [4, 8, 12]


def test_the_line_that_a_killed_process_was_writing_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    record(MetricsLog(path), "a", 4)
    with path.open("a") as file:
        file.write('{"model": "a", "se')
    log = MetricsLog(path)
    record(log, "a", 4, split="start")
    record(log, "a", 8)
    assert steps(path) == [("a", 0, 4), ("a", 0, 8)]


def test_a_metric_that_is_not_finite_is_null_in_the_log(tmp_path):
    record(MetricsLog(tmp_path / "metrics.jsonl"), "a", 4, value=math.nan)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["reconstruction"] is None


HOLDER = """
import sys
from pathlib import Path
from qbm_jax.study.lock import lock_folder

lock_folder(Path(sys.argv[1]), shared=sys.argv[2] == "shared")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that locks `tmp_path` and returns it once it has the lock."""
    started = []

    def start(how):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path), how],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "locked\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_with_the_first_ones_number_and_machine(tmp_path, holder):
    first = holder("alone")
    for refused in (
        refusal(check_workdir, tmp_path, config()),
        refusal(claim_workdir, tmp_path, config(), DATA),
        refusal(lock_folder, tmp_path, True),
    ):
        assert f"process {first.pid} on {socket.gethostname()}" in refused
        assert "use another folder" in refused
    assert not (tmp_path / "config.json").exists()


def test_a_killed_process_leaves_no_lock_behind(tmp_path, holder):
    first = holder("alone")
    first.send_signal(signal.SIGKILL)
    first.wait()
    check_workdir(tmp_path, config())
    claim_workdir(tmp_path, config(), DATA)
    assert str(os.getpid()) in (tmp_path / LOCK).read_text()


def test_jobs_that_share_a_workdir_keep_out_a_process_that_does_not(tmp_path, holder):
    first = holder("shared")
    check_workdir(tmp_path, config())
    assert f"process {first.pid}" in refusal(claim_workdir, tmp_path, config(), DATA)
    claim_workdir(tmp_path, config(), DATA, shared=True)
    release_locks()
    assert (tmp_path / LOCK).exists()  # the other job's
    first.communicate("")
    assert not (tmp_path / LOCK).exists()


def test_of_two_first_jobs_with_other_cells_one_is_refused(tmp_path, monkeypatch):
    claim_workdir(tmp_path, config(), DATA, shared=True)
    before, seen = (tmp_path / "config.json").read_bytes(), []

    def first_sees_none(folder):
        seen.append(folder)
        return None if len(seen) == 1 else read_claim(folder)

    monkeypatch.setattr("experiments.kit.workdir.read_claim", first_sees_none)
    told = refusal(claim_workdir, tmp_path, config(), DATA | {"num_cells": 7}, shared=True)
    assert "different data (data.num_cells: 100 there, 7 now)" in told
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_claim_removes_what_killed_processes_left_half_written(tmp_path):
    left = [
        tmp_path / "results" / ".unfinished-abc.tmp",
        tmp_path / "checkpoints" / "a" / "3.orbax-checkpoint-tmp",
    ]
    for shared in (False, True):
        for folder in left:
            (folder / "inner").mkdir(parents=True)
        claim_workdir(tmp_path, config(), {"counts": "#1"}, shared=shared)
        assert not any(folder.exists() for folder in left)
        assert (tmp_path / "results").is_dir()
        release_locks()


def write_piece(workdir, text):
    Pieces(workdir, 0).measure("part", {"model": "a"}, lambda key: {"text": text})


WRITERS = {
    "scores.json": lambda workdir, text: write_json(workdir / "scores.json", {"text": text}),
    "results.csv": lambda workdir, text: write_table(workdir / "results.csv", ["text"], [[text]]),
    "results/part-a.json": write_piece,
}


@pytest.mark.parametrize("name", WRITERS)
def test_on_a_full_disk_a_file_is_as_it_was_and_can_be_written_later(name, tmp_path):
    write, path = WRITERS[name], tmp_path / name
    if write is not write_piece:
        write(tmp_path, "before")
    before = path.read_bytes() if path.exists() else None
    with FullDisk(100), pytest.raises(OSError, match=path.name) as error:
        write(tmp_path, "x" * 20_000)
    assert error.value.errno in (errno.EFBIG, errno.ENOSPC)
    assert (path.read_bytes() if path.exists() else None) == before
    assert not list(tmp_path.rglob("*.tmp"))
    write(tmp_path, "x" * 20_000)
    assert "x" * 20_000 in path.read_text()


def test_on_a_full_disk_the_log_keeps_its_rows_and_gets_no_half_of_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    record(log, "a", 4)
    before = path.read_bytes()
    with FullDisk(len(before) + 20), pytest.raises(OSError, match=r"metrics\.jsonl"):
        record(log, "a", 8)
    assert path.read_bytes() == before
    with FullDisk(20), pytest.raises(OSError, match=r"metrics\.jsonl"):
        record(log, "a", 4, split="start")
    assert path.read_bytes() == before
    record(log, "a", 8)
    assert [row[2] for row in steps(path)] == [4, 8]


DEEP = "[" * 100_000  # more than Python reads


def test_json_that_is_nested_too_deeply_is_damage(tmp_path, caplog):
    claim_workdir(tmp_path, config(), DATA)
    (tmp_path / "piece.json").write_text(DEEP)
    assert read_sealed(tmp_path / "piece.json", tmp_path) is None and "damaged" in caplog.text
    (tmp_path / "metrics.jsonl").write_text(DEEP + "\n[]\n{}\n")
    assert MetricsLog(tmp_path / "metrics.jsonl").rows("qbmvae", 0) == []
    (tmp_path / "config.json").write_text(DEEP)
    assert "is damaged" in refusal(check_workdir, tmp_path, config())


def test_the_log_spells_out_what_a_terminal_would_obey():
    record = logging.LogRecord("qbm_jax", 20, "", 0, "gene %s", ("\x1b[31m\u202e\r\nx\x07",), None)
    assert OneLine("%(message)s").format(record) == r"gene \u001b[31m\u202e x\u0007"


def test_an_input_error_is_one_line_without_what_a_terminal_would_obey():
    assert str(InputError("batch \x1b[2J\n\u202eb")) == r"batch \u001b[2J \u202eb"
