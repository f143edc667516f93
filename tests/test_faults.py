"""Faults on purpose: errors at every call of a save, full disks, kills, flipped bits, exchanges."""

import collections
import contextlib
import csv
import functools
import json
import random
import shutil
from pathlib import Path

import anndata
import jax
import numpy as np
import pytest
from command_line import QUICK, config, launched, run, small_adata
from faults import every_fault, flip, killed_everywhere
from marks import mostly_slow
from small_training import cells_on_device, options, setting
from sweeps import OVERRIDES, small_config

from experiments import benchmark
from experiments.kit import launch, runner
from experiments.kit.lock import lock_workdir, release_locks
from experiments.kit.metrics_log import MetricsLog
from experiments.kit.pieces import Pieces
from experiments.kit.stop import StopRequest
from experiments.sweep.run import Request
from qbm_jax import training
from qbm_jax.data import from_anndata
from qbm_jax.data.write import write_embedding
from qbm_jax.errors import InputError
from qbm_jax.runtime.json_file import write_json
from qbm_jax.runtime.whole_file import write_whole
from qbm_jax.training import Progress
from qbm_jax.training.checkpoint import Checkpoints

OLD, NEW = 1, 2


@pytest.fixture(autouse=True)
def no_locks_left():
    """What a test locked is free again."""
    yield
    release_locks()


def save_text(folder, value):
    write_whole(folder / "text", str(value) * 1000)


def read_text(folder):
    text = (folder / "text").read_text()
    assert set(text) == {text[0]} and len(text) == 1000
    return int(text[0])


def save_json(folder, value):
    write_json(folder / "value.json", {"value": value})


def read_json(folder):
    return json.loads((folder / "value.json").read_text())["value"]


def save_piece(folder, value):
    Pieces(folder, 0).measure("part", {"of": value}, lambda key: {"value": value})


class NotThere(Exception):
    """A piece would have to be made."""


def missing(key):
    raise NotThere


def read_piece(folder):
    """The newest piece that is not made anew."""
    for value in (NEW, OLD):
        with contextlib.suppress(NotThere):
            return Pieces(folder, 0).measure("part", {"of": value}, missing)["value"]
    raise AssertionError("no piece")


def save_row(folder, value):
    log = MetricsLog(folder / "metrics.jsonl")
    log.record("a", 0, Progress(value, 1.0, 10, 100.0, "train", {"elbo": -1.0}))


def read_row(folder):
    log = MetricsLog(folder / "metrics.jsonl")
    log.record("a", 0, Progress(9, 1.0, 10, 100.0, "start", {}))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return max(json.loads(line)["step"] for line in lines)


def save_cells(folder, value):
    cells = from_anndata(small_adata(num_cells=20, num_genes=5), min_cells=1)
    write_embedding(
        folder / "embedding.h5ad", cells, layouts={}, energy=None, provenance={},
        embeddings={"X_qbmvae": np.full((cells.num_cells, 2), value)},
    )  # fmt: skip


def read_cells(folder):
    return int(anndata.read_h5ad(folder / "embedding.h5ad").obsm["X_qbmvae"].mean())


def save_state(folder, value):
    Checkpoints(folder / "checkpoints").save(value, {"x": np.full(50, value, np.float32)})


def read_state(folder):
    restored = Checkpoints(folder / "checkpoints").restore({"x": np.zeros(50, np.float32)})["x"]
    assert np.ptp(restored) == 0
    return int(restored[0])


SAVES = {
    "text": (save_text, read_text, 1),
    "JSON": (save_json, read_json, 1),
    "piece": (save_piece, read_piece, 1),
    "row of a log": (save_row, read_row, 1),
    "embedding": (save_cells, read_cells, 1),
    "checkpoint": (save_state, read_state, 9),  # its errors take a while each
}


@pytest.fixture
def before(tmp_path):
    """A folder for what is saved."""
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.mark.parametrize("name", SAVES)
def test_a_call_that_fails_leaves_what_was_there_or_what_was_to_come(name, before):
    save, read, step = SAVES[name]
    save(before, OLD)
    kept = shutil.copytree(before, before.with_name("kept"))
    tried = failed = 0
    for said in every_fault(before, lambda: save(before, NEW), step):
        tried, failed = tried + 1, failed + said
        found = read(before)
        assert found == NEW or (said and found == OLD)
        shutil.rmtree(before)
        shutil.copytree(kept, before)
    assert tried >= 3 and failed >= 2
    save(before, NEW)
    assert read(before) == NEW


@pytest.mark.parametrize("name", SAVES)
def test_a_kill_at_any_call_leaves_what_was_there_or_what_was_to_come(name, before, tmp_path):
    save, read, step = SAVES[name]
    save(before, OLD)
    states = killed_everywhere(
        before, lambda: save(before, NEW), tmp_path / "states", lambda name, path: True
    )
    assert len(states) >= 3
    states = states[:: max(1, len(states) // 8)] if step > 1 else states
    found = [read(state) for state in states]
    assert found == sorted(found) and found[0] == OLD and set(found) <= {OLD, NEW}
    for state in states:
        save(state, NEW)
        assert read(state) == NEW


# Runs that are killed: a copy of the workdir before a call is what a kill there leaves.


same_setting = functools.cache(setting)  # compiled once


def train_small(workdir, folder):
    """A training with its log and checkpoints; `final.npz` holds what it gives."""
    del folder
    workdir.mkdir(exist_ok=True)
    lock_workdir(workdir)
    log = MetricsLog(workdir / "metrics.jsonl")
    with launched():
        trained = training.train(
            jax.random.key(0), *same_setting(), cells_on_device(), options(3),
            checkpoints=Checkpoints(workdir / "checkpoints"),
            on_progress=lambda progress: log.record("small", 0, progress),
        )  # fmt: skip
    release_locks()
    np.savez(workdir / "final.npz", *jax.tree.leaves(trained.state.params))


def data_of(folder):
    path = folder / "cells.h5ad"
    if not path.exists():
        small_adata().write_h5ad(path)
    return {"data.path": str(path), "data.batch_column": "batch", "data.label_column": "kind"}


def integrate(workdir, folder):
    run(config(**QUICK, **data_of(folder)), workdir)


def integrate_on_disk(workdir, folder):
    fields = {"data.on_disk": True, "data.num_genes": 30, "training.block_size": 8}
    fields |= {"training.minibatch_size": 16, "evaluation.max_scored_cells": 90}
    run(config(**QUICK, **data_of(folder), **fields), workdir)


def sweep(workdir, folder):
    with launched():
        launch.run(small_config(folder), str(workdir), sweep=Request(OVERRIDES[:2]))


def compare(workdir, folder, tasks="integration,bound"):
    del folder
    from configs import benchmark as configs

    made = configs.get_config("smoke")
    made.methods, made.num_steps, made.tasks = ("pca", "gaussian_vae"), 2, tasks
    with launched():
        runner.run(benchmark, made, workdir, StopRequest())


def results_of(workdir):
    """What a run found out, without times: the same after any history."""
    found = {}
    if (workdir / "final.npz").exists():
        with np.load(workdir / "final.npz") as file:
            found |= {name: file[name].tolist() for name in file.files}
    if (workdir / "scores.json").exists():
        scores = json.loads((workdir / "scores.json").read_text())
        same = ("embeddings", "elbo", "bounds", "per_seed", "sampler", "data", "seeds")
        found |= {name: scores[name] for name in same}
    for path in workdir.glob("*.h5ad"):
        cells = anndata.read_h5ad(path)
        found |= {f"{path.name} {name}": cells.obsm[name].tolist() for name in cells.obsm}
        found |= {f"{path.name} energy": cells.obs["qbm_energy"].tolist()}
    for path in workdir.glob("results.csv"):
        with path.open() as file:
            rows = list(csv.DictReader(file))
        found |= {"rows": [row for row in rows if "second" not in row["metric"]]}
    for path in workdir.glob("metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        times = ("seconds", "cells_per_second")
        found |= {"log": [{k: v for k, v in row.items() if k not in times} for row in rows]}
    assert found
    return found


class Picked:
    """Wants the call before which `name` is changed for the n-th time, of several such pairs."""

    def __init__(self, *pairs):
        self._pairs, self._seen = pairs, {part: 0 for part, _ in pairs}

    def __call__(self, name, path):
        if name not in ("rename", "replace", "torn"):
            return False
        for part in (part for part in self._seen if part in path):
            self._seen[part] += 1
        return any(part in path and self._seen[part] == number for part, number in self._pairs)


CHECKPOINT, LOG = ("checkpoints", 3), ("metrics.jsonl", 3)
EMBEDDING, SCORES = ("embedding.h5ad", 1), ("scores.json", 1)
FIGURE, REPORT = ("figures/", 2), ("report.md", 1)
WHOLE = (CHECKPOINT, LOG, EMBEDDING, SCORES, FIGURE, REPORT)
OF_SWEEP = (CHECKPOINT, ("results/", 1), ("results/", 2), ("results.csv", 1))
OF_BENCHMARK = (("results/", 1), ("results/", 3), ("results.csv", 1), FIGURE)
PARTS = {
    **{"checkpoints": "training", "metrics.jsonl": "training"},
    **{"embedding.h5ad": "embedding", "scores.json": "embedding"},
    **{"figures/": "report", "report.md": "report"},
}
AREAS = "training", "embedding", "report", "on disk", "sweep", "benchmark"
KILLS = {
    "training": (train_small, (CHECKPOINT, LOG)),
    "embedding, report": (integrate, (EMBEDDING, FIGURE, REPORT)),
    "on disk": (integrate_on_disk, (EMBEDDING,)),
    "sweep": (sweep, (("results/", 2),)),
    "benchmark": (compare, (("results/", 2),)),
}
MORE_KILLS = {
    "whole run": (integrate, WHOLE),
    "on disk, everywhere": (integrate_on_disk, (*WHOLE, ("sample.h5ad", 1))),
    "sweep, everywhere": (sweep, OF_SWEEP),
    "benchmark, everywhere": (functools.partial(compare, tasks="auto"), OF_BENCHMARK),
}


@pytest.fixture(scope="module")
def counted():
    """Kills tried and survived by area; `pytest -n 0 -s` shows them at the end of the file."""
    tried, survived = collections.Counter(), collections.Counter()
    yield tried, survived
    print("\nkills survived:", ", ".join(f"{a} {survived[a]} of {tried[a]}" for a in tried))


def area_of(name, part):
    """The area of a kill: of a run in memory, what the run was at when it was killed."""
    act = (KILLS | MORE_KILLS)[name][0]
    return PARTS[part] if act in (train_small, integrate) else name.removesuffix(", everywhere")


def test_kills_by_default_are_in_every_area():
    areas = {area_of(name, part) for name, (_, pairs) in KILLS.items() for part, _ in pairs}
    assert areas == set(AREAS)


def report_of(workdir):
    """The bytes of a report and of its figures."""
    paths = [workdir / "report.md", *(workdir / "figures").iterdir()]
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.parametrize("name", mostly_slow(KILLS | MORE_KILLS, *KILLS))
def test_a_run_that_was_killed_and_runs_again_equals_an_undisturbed_one(name, tmp_path, counted):
    act, pairs = (KILLS | MORE_KILLS)[name]
    workdir = tmp_path / "run"
    states = killed_everywhere(
        workdir, lambda: act(workdir, tmp_path), tmp_path / "states", Picked(*pairs)
    )
    assert len(states) == len(pairs), [state.name for state in states]
    expected, (tried, survived) = results_of(workdir), counted
    written = report_of(workdir) if act is integrate else None
    for state, (part, _) in zip(states, pairs, strict=True):
        area = area_of(name, part)
        tried[area] += 1
        shutil.rmtree(workdir)
        shutil.copytree(state, workdir)
        act(workdir, tmp_path)
        assert results_of(workdir) == expected, state.name
        if area == "report":  # its times are those of the scores, which there were
            assert report_of(workdir) == written, state.name
        if act is not sweep:  # others may be writing there when a finished sweep is reported
            assert not list(workdir.rglob(".unfinished-*")), state.name
        assert not list(workdir.rglob("*.orbax-checkpoint-tmp*")), state.name
        survived[area] += 1


# Bits and files that are not what a run wrote.


@pytest.mark.parametrize("count", [12, pytest.param(300, marks=pytest.mark.slow)])
def test_a_flipped_bit_of_a_checkpoint_is_skipped_aloud_or_changes_nothing(count, tmp_path, caplog):
    draw = random.Random(1)
    template = {"x": np.zeros(50, np.float32)}
    save_state(tmp_path, OLD)
    save_state(tmp_path, NEW)
    kept = shutil.copytree(tmp_path / "checkpoints", tmp_path / "kept")
    newest = [p for p in (tmp_path / "checkpoints" / str(NEW)).rglob("*") if p.is_file()]
    skipped = 0
    for _ in range(count):
        path = draw.choice([p for p in newest if p.stat().st_size])
        flip(path, draw.randrange(path.stat().st_size), draw.randrange(8))
        caplog.clear()
        restored = Checkpoints(tmp_path / "checkpoints").restore(template)["x"]
        value = float(restored[0])
        assert np.ptp(restored) == 0 and value in (OLD, NEW)
        assert value == NEW or "is damaged and skipped" in caplog.text
        skipped += value == OLD
        shutil.rmtree(tmp_path / "checkpoints")
        shutil.copytree(kept, tmp_path / "checkpoints")
    assert skipped > 0


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_flipped_bit_of_a_piece_is_made_again_or_changes_nothing(count, before):
    save_piece(before, OLD)
    (path,) = (before / "results").glob("*.json")
    content, draw, made = path.read_bytes(), random.Random(2), 0
    expected = json.loads(content)
    for _ in range(count):
        flip(path, draw.randrange(len(content)), draw.randrange(8))
        piece = Pieces(before, 0).measure("part", {"of": OLD}, lambda key: {"value": "again"})
        made += piece["value"] == "again"
        assert piece["value"] in (OLD, "again")
        assert piece["value"] == "again" or piece["seconds"] == expected["seconds"]
        path.write_bytes(content)
    assert made > count / 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two finished runs of other seeds on the same cells."""
    folder = tmp_path_factory.mktemp("finished")
    for seed in (0, 1):
        run(config(**QUICK, **data_of(folder), seed=seed), folder / f"seed{seed}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scores.json", "embedding.h5ad", "metrics.jsonl", "config.json"])
def test_flipped_bits_of_what_a_run_left_are_named_or_change_nothing(name, finished, tmp_path):
    from qbm_jax import report

    draw, workdir = random.Random(3), tmp_path / "run"
    shutil.copytree(finished / "seed0", workdir)
    report.write(workdir)
    expected = (workdir / "report.md").read_bytes()
    content = (workdir / name).read_bytes()
    silent = []
    for _ in range(15):
        offset, bit = draw.randrange(len(content)), draw.randrange(8)
        flip(workdir / name, offset, bit)
        try:
            report.write(workdir)
        except InputError as error:
            assert "\n" not in str(error) and name in str(error)
        else:
            if (workdir / "report.md").read_bytes() != expected:
                silent.append((offset, bit))
        (workdir / name).write_bytes(content)
    assert not silent


def exchange(name, finished, tmp_path):
    """A copy of the first run with this file or folder of the second."""
    workdir = Path(shutil.copytree(finished / "seed0", tmp_path / "run"))
    other = finished / "seed1" / name
    if other.is_dir():
        shutil.rmtree(workdir / name)
        shutil.copytree(other, workdir / name)
    else:
        shutil.copy(other, workdir / name)
    return workdir


@pytest.mark.slow
def test_the_scores_of_another_run_are_not_believed(finished, tmp_path):
    workdir = exchange("scores.json", finished, tmp_path)
    run(config(**QUICK, **data_of(finished), seed=0), workdir)
    assert results_of(workdir) == results_of(finished / "seed0")


@pytest.mark.slow
def test_the_checkpoints_of_another_run_are_refused(finished, tmp_path, capsys):
    workdir = exchange("checkpoints", finished, tmp_path)
    (workdir / "scores.json").unlink()
    with pytest.raises(SystemExit) as end:
        run(config(**QUICK, **data_of(finished), seed=0), workdir)
    assert end.value.code == 2
    assert "belongs to another" in capsys.readouterr().err
