"""Runs that are killed: a copy of the workdir before a call is what a kill there leaves."""

import csv
import functools
import json
import shutil

import anndata
import jax
import numpy as np
from command_line import QUICK, config, launched, run_with_few_figures, small_adata
from faults import killed_everywhere
from small_training import cells_on_device, options, setting
from sweeps import OVERRIDES, small_config

from experiments import benchmark
from experiments.kit import launch, runner
from experiments.kit.stop import StopRequest
from experiments.sweep.run import Request
from qbm_jax import training
from qbm_jax.fitted.metrics_log import MetricsLog
from qbm_jax.study.lock import lock_folder, release_locks
from qbm_jax.training.checkpoint import Checkpoints

same_setting = functools.cache(setting)  # compiled once


def train_small(workdir, folder):
    """A training with its log and checkpoints; `final.npz` holds what it gives."""
    del folder
    workdir.mkdir(exist_ok=True)
    lock_folder(workdir)
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
    run_with_few_figures(config(**QUICK, **data_of(folder)), workdir)


def integrate_on_disk(workdir, folder):
    fields = {"data.on_disk": True, "data.num_genes": 30, "training.block_size": 8}
    fields |= {"training.minibatch_size": 16, "evaluation.max_scored_cells": 90}
    run_with_few_figures(config(**QUICK, **data_of(folder), **fields), workdir)


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
KILLS_OF_RUNS = {
    "embedding, report": (integrate, (EMBEDDING, FIGURE, REPORT)),
    "on disk": (integrate_on_disk, (EMBEDDING,)),
}
KILLS_OF_STUDIES = {
    "training": (train_small, (CHECKPOINT, LOG)),
    "sweep": (sweep, (("results/", 2),)),
    "benchmark": (compare, (("results/", 2),)),
}
MORE_OF_RUNS = {
    "whole run": (integrate, WHOLE),
    "on disk, everywhere": (integrate_on_disk, (*WHOLE, ("sample.h5ad", 1))),
}
MORE_OF_STUDIES = {
    "sweep, everywhere": (sweep, OF_SWEEP),
    "benchmark, everywhere": (functools.partial(compare, tasks="auto"), OF_BENCHMARK),
}
DEFAULT = KILLS_OF_RUNS | KILLS_OF_STUDIES
KILLS = DEFAULT | MORE_OF_RUNS | MORE_OF_STUDIES


def area_of(name, part):
    """The area of a kill: of a run in memory, what the run was at when it was killed."""
    act = KILLS[name][0]
    return PARTS[part] if act in (train_small, integrate) else name.removesuffix(", everywhere")


def report_of(workdir):
    """The bytes of a report and of its figures."""
    paths = [workdir / "report.md", *(workdir / "figures").iterdir()]
    return {path.name: path.read_bytes() for path in paths}


def check_kills(name, tmp_path, counted):
    """Runs again what each kill left; what is found out equals that of an undisturbed run."""
    act, pairs = KILLS[name]
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
