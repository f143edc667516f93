"""Sweeps without training: settings, plans, failures, tables, command line, Slurm script."""

import csv
import dataclasses
import itertools
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from command_line import ROOT, config, launched
from matplotlib.image import imread
from scipy import stats
from sweeps import OVERRIDES, measured, small_config, small_sweep

from configs import sweep_pancreas
from experiments.kit import launch
from experiments.kit.options import training_of
from experiments.kit.stop import StopRequest
from experiments.sweep import arguments, job, report, results, run, slurm
from experiments.sweep.outcomes import Outcomes
from experiments.sweep.plan import (
    Job,
    SweepPlan,
    describe_plan,
    group_settings,
    keep_plan,
    make_plan,
    read_plan,
)
from experiments.sweep.results import SweepResults
from experiments.sweep.settings import bounds_compare, build_sweep, tell_alike
from qbm_jax.data import locate
from qbm_jax.errors import InputError
from qbm_jax.fitted.document import Evaluated
from qbm_jax.fitted.model import device_counts
from qbm_jax.fitted.model_cells import counts_bytes
from qbm_jax.training import Progress, TrainingDiverged, TrainingStopped, memory
from qbm_jax.training.checkpoint import CheckpointNotSaved, Checkpoints

FACTS = {"source": "cells", "simulated": True, "num_cells": 600, "num_genes": 200, "notes": []}


@pytest.fixture(scope="module")
def cells():
    """The simulated cells of the toy config."""
    return locate(jax.random.key(0), name="toy")


def one_job(sweep):
    """A plan that trains everything together."""
    numbers = [setting.number for setting in sweep.settings]
    return SweepPlan([Job(numbers, sweep.paths, 1.0)], 1.0, 100.0, FACTS)


REFUSED = {
    "misspelt": ([{"training.kl_wieght": 1.0}], r"'training.kl_wieght'.*training.kl_weight"),
    "no such section": ([{"trainin.kl_weight": 1.0}], "training.kl_weight"),
    "a section": ([{"training": 1.0}], "unknown field 'training'"),
    "other cells": ([{"data.num_genes": 100}], "cannot override data.num_genes"),
    "wrong type": ([{"seed": "three"}], r"setting 0 of the sweep \(seed = three\)"),
    "out of range": ([{"seed": 0}, {"seed": -1}], r"setting 1 of the sweep \(seed = -1\).*seed"),
    "twice": ([{"seed": 1}, {"seed": 2}, {"seed": 1}], "settings 0 and 2 of the sweep are both"),
    "no such option": ([{"sampler.cim.pmup": 1.0}], r"'sampler.cim.pmup'.*sampler.cim.pump_end"),
    "another sampler's": ([{"sampler.cim.pump_end": 1.0}], "sampler.name is gibbs; set .* to cim"),
    "another prior's": ([{"model.made_width": 8}], "made_width is not used .*prior boltzmann"),
    "overruled": ([{"training.num_steps": 9}], "num_steps is not used beside .*num_epochs 2"),
    "a dict alone": ({"seed": 1}, r"must yield dicts such as \{'seed': 3\}, got 'seed'"),
    "an array": ([{"seed": np.arange(2)}], "must yield plain numbers"),
    "nothing": ([], "gave no overrides"),
    "empty": ([{}], "gave no overrides"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_overrides_that_cannot_be_used_are_one_clear_error(fault):
    overrides, words = REFUSED[fault]
    with pytest.raises(InputError, match=words) as error:
        small_sweep(overrides)
    assert "\n" not in str(error.value)


BASES = {
    "seeds": ({"num_seeds": 2}, "num_seeds 1, got 2; sweep seed"),
    "baselines": ({"baselines.gaussian_vae": True}, "no baselines, got gaussian_vae"),
    "cells on disk": ({"data.on_disk": True}, "in memory, got config.data.on_disk True"),
    "experiment": ({"experiment": "benchmark"}, "integration, got 'benchmark'"),
}


@pytest.mark.parametrize("fault", BASES)
def test_a_config_that_does_more_than_train_one_model_is_refused(fault):
    fields, words = BASES[fault]
    with pytest.raises(InputError, match=words):
        small_sweep(**fields)


def test_overrides_change_a_copy_and_unnamed_paths_have_the_value_of_the_config():
    made = small_config()
    made.lock()
    before = made.to_dict()
    sweep = build_sweep(made, [{"seed": 3}, {"training.kl_weight": 0.25}])
    assert made.to_dict() == before
    assert [setting.values for setting in sweep.settings] == [
        {"seed": 3, "training.kl_weight": made.training.kl_weight},
        {"seed": made.seed, "training.kl_weight": 0.25},
    ]
    assert [setting.seed for setting in sweep.settings] == [3, made.seed]
    first, second = (setting.training for setting in sweep.settings)
    assert first == training_of(made)
    changed = dataclasses.replace(first.options, kl_weight=0.25)
    assert second == dataclasses.replace(first, options=changed)


def test_settings_that_train_the_same_are_told(caplog):
    widths = [{"model.prior": "made", "model.made_width": n} for n in (8, 9)]
    tell_alike(small_sweep(widths).settings)
    assert not caplog.records
    grid = itertools.product(("bernoulli", "made"), (8, 9))
    mixed = [{"model.prior": prior, "model.made_width": n} for prior, n in grid]
    tell_alike(small_sweep(mixed).settings)
    (record,) = caplog.records
    assert record.getMessage() == "settings of the sweep that train the same: 1 as 0"


def test_an_option_of_a_sampler_that_the_config_does_not_name_can_be_swept():
    made = small_config(**{"sampler.name": "cim"})
    made.lock()
    before = made.to_dict()
    sweep = build_sweep(made, [{"sampler.cim.pump_end": 1.0}, {"seed": 3}])
    assert made.to_dict() == before
    assert [setting.values["sampler.cim.pump_end"] for setting in sweep.settings] == [1.0, None]
    assert dict(sweep.settings[0].training.sampler.options)["pump_end"] == 1.0
    assert len(group_settings(sweep.settings)) == 2, "the sampler's own is no number to trace"


def test_an_option_of_a_sampler_that_is_swept_itself_can_be_swept():
    sweep = small_sweep([{"sampler.name": "cim", "sampler.cim.pump_end": 1.0}, {"seed": 3}])
    assert [setting.training.sampler.name for setting in sweep.settings] == ["cim", "gibbs"]


@pytest.mark.parametrize("variant", ["full", "smoke"])
def test_the_sweep_of_pancreas_can_be_built_in_both_variants(variant):
    sweep = build_sweep(sweep_pancreas.get_config(variant), sweep_pancreas.sweep(variant))
    groups = group_settings(sweep.settings)
    assert len(sweep.settings) == (32 if variant == "full" else 8)
    assert len(groups) == (1 if variant == "full" else 2)


TOGETHER = {
    "seed": ({}, "seed", [1, 2]),
    "learning rate": ({}, "training.learning_rate", [1e-3, 2e-3]),
    "weight of the KL term": ({}, "training.kl_weight", [0.5, 1.0]),
    "sharpness": (
        {"model.sharpness": 1.0, "model.relaxation": "gumbel"}, "model.sharpness", [1.0, 2.0]
    ),
    "temperature": (
        {"sampler.name": "annealing"}, "sampler.annealing.temperature_end", [1.5, 2.0]
    ),
    "pump": ({"sampler.name": "cim"}, "sampler.cim.pump_end", [1.0, 1.5]),
}  # fmt: skip
APART = {
    "latents": ({}, "model.num_latents", [8, 16]),
    "minibatch": ({}, "training.minibatch_size", [64, 128]),
    "epochs": ({}, "training.num_epochs", [2, 3]),
    "relaxation": ({}, "model.relaxation", ["gumbel", "straight_through"]),
    "sweeps": ({}, "sampler.gibbs.num_steps", [2, 3]),
    "sampler": ({}, "sampler.name", ["gibbs", "cim"]),
    "variant of the sampler": (
        {"sampler.name": "cim"}, "sampler.cim.variant", ["mean_field", "truncated_wigner"]
    ),
    "sharpness of a law that is compiled": (
        {"model.relaxation": "power_function", "model.sharpness": 4.0},
        "model.sharpness", [4.0, 5.0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", [*TOGETHER, *APART])
def test_settings_train_together_exactly_if_no_shape_differs(case):
    fields, path, values = (TOGETHER | APART)[case]
    sweep = small_sweep([{path: value} for value in values], **fields)
    assert len(group_settings(sweep.settings)) == (1 if case in TOGETHER else 2)


def test_every_setting_is_in_one_job_and_no_job_mixes_shapes_or_exceeds_memory(cells):
    overrides = [{"seed": seed, "model.num_latents": size} for seed in range(7) for size in (8, 16)]
    sweep = small_sweep(overrides)
    each = memory.training_bytes(sweep.settings[1].training, cells.num_genes, 3, cells.num_cells)
    free = counts_bytes(cells) + int(3.5 * each)
    plan = make_plan(sweep, cells, free=free)
    assert sorted(n for job in plan.jobs for n in job.settings) == list(range(14))
    assert all(len({n % 2 for n in job.settings}) == 1 for job in plan.jobs)
    assert [len(job.settings) for job in plan.jobs] == [2, 2, 3, 2, 2, 3]
    assert all(job.mebibytes * 2**20 <= 3.5 * each for job in plan.jobs)
    assert all(job.varies == ["seed"] for job in plan.jobs)
    most = make_plan(sweep, cells, free=2**40, most=4)
    assert [len(job.settings) for job in most.jobs] == [3, 4, 3, 4]
    assert len(make_plan(sweep, cells, free=0).jobs) == 14
    text = describe_plan(sweep, plan)
    assert "14 settings in 6 jobs" in text
    assert "2 settings at model.num_latents = 8, varying seed" in text


def test_a_plan_is_read_back_as_it_was_written(tmp_path, cells):
    plan = make_plan(small_sweep(), cells)
    assert read_plan(tmp_path) is None
    assert keep_plan(tmp_path, plan) == plan
    assert read_plan(tmp_path) == plan
    (tmp_path / "results" / "plan.json").write_text("{")
    with pytest.raises(InputError, match=r"plan.json is damaged"):
        read_plan(tmp_path)


def test_processes_that_plan_at_once_follow_one_plan(tmp_path):
    sweep = small_sweep()
    plans = [one_job(sweep)._replace(free_mebibytes=float(free)) for free in range(8)]
    start = threading.Barrier(len(plans))

    def keep(plan):
        start.wait()
        return keep_plan(tmp_path, plan)

    with ThreadPoolExecutor(len(plans)) as pool:
        followed = list(pool.map(keep, plans))
    assert followed == [read_plan(tmp_path)] * len(plans)
    assert os.listdir(tmp_path / "results") == ["plan.json"]


class Trainer:
    """In place of `job.measure`: settings of bad numbers fail, alone or not."""

    def __init__(self, *bad, error=None, diverge=False):
        self.bad, self.calls, self.diverge = bad, [], diverge
        self.error = error or ValueError("went\nwrong")

    def __call__(self, place, settings):
        self.calls.append([setting.number for setting in settings])
        places = [place for place, each in enumerate(settings) if each.number in self.bad]
        if places:
            raise TrainingDiverged("diverged", places[0]) if self.diverge else self.error
        return [measured(setting) for setting in settings]


def run_all(sweep, workdir):
    """The one job of a sweep."""
    with launched():
        job.run_job(sweep, None, 0, one_job(sweep).jobs[0], workdir, StopRequest())


def test_all_jobs_of_a_process_take_one_upload_and_one_pca(cells, tmp_path, monkeypatch):
    sweep, seen, bound = small_sweep(), [], {"elbo": -1.0, "log_z": 1.0}
    plan = SweepPlan([Job([n], sweep.paths, 1.0) for n in range(4)], 1.0, 100.0, FACTS)

    def trained(trainings, cells, seeds, *, data, **arguments):
        seen.append(data)
        return [Evaluated(None, np.eye(cells.num_cells, 2), None, bound, 1.0, 1.0) for _ in seeds]

    def scored(embeddings, cells, *, uncorrected, **arguments):
        seen.append(uncorrected)
        return {"setting": [{"total": 0.5}]}, []

    monkeypatch.setattr(job, "train_and_evaluate", trained)
    monkeypatch.setattr(job, "score_seeds", scored)
    monkeypatch.setattr(job, "of_model", lambda *_: [])
    with launched():
        run.run_jobs(sweep, cells, plan, tmp_path, StopRequest(), run.Request(OVERRIDES))
    assert sorted(Outcomes(tmp_path).finished(range(4))) == [0, 1, 2, 3]
    data, pca = seen[:2]
    assert data.num_cells == len(pca) == cells.num_cells
    assert all(each is data for each in seen[::2]) and all(each is pca for each in seen[1::2])


def test_a_failed_setting_is_tried_alone_and_recorded_while_the_others_finish(
    tmp_path, monkeypatch
):
    sweep, trainer = small_sweep(), Trainer(2)
    monkeypatch.setattr(job, "measure", trainer)
    run_all(sweep, tmp_path)
    assert trainer.calls == [[0, 1, 2, 3], [0], [1], [2], [3]]
    outcomes = Outcomes(tmp_path)
    assert outcomes.failures(range(4)) == {2: "ValueError: went wrong"}
    assert sorted(outcomes.finished(range(4))) == [0, 1, 3]
    with pytest.raises(run.SweepIncomplete, match=r"1 of 4 settings failed.*setting 2: ValueError"):
        run.raise_failures(sweep, one_job(sweep), tmp_path, run.Request(()))
    trainer = Trainer()
    monkeypatch.setattr(job, "measure", trainer)
    run_all(sweep, tmp_path)
    assert trainer.calls == [[2]], "finished settings are not trained again, failed ones are"
    assert outcomes.failures(range(4)) == {}
    run.raise_failures(sweep, one_job(sweep), tmp_path, run.Request(()))


def test_a_setting_that_diverges_is_tried_alone_and_the_others_together(tmp_path, monkeypatch):
    trainer = Trainer(1, 2, diverge=True)
    monkeypatch.setattr(job, "measure", trainer)
    run_all(small_sweep(), tmp_path)
    assert trainer.calls == [[0, 1, 2, 3], [0, 2, 3], [0, 3], [1], [2]]
    assert sorted(Outcomes(tmp_path).failures(range(4))) == [1, 2]
    assert sorted(Outcomes(tmp_path).finished(range(4))) == [0, 3]


FULL = OSError(28, "No space left on device")
STOPPING = [TrainingStopped("stopped"), FULL, KeyboardInterrupt()]


@pytest.mark.parametrize("error", STOPPING, ids=lambda error: type(error).__name__)
def test_a_stop_and_a_full_disk_are_no_failures_of_a_setting(error, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "measure", Trainer(0, error=error))
    with pytest.raises(type(error)):
        run_all(small_sweep(), tmp_path)
    assert Outcomes(tmp_path).failures(range(4)) == {}


def test_a_checkpoint_that_finds_the_disk_full_ends_the_sweep_with_no_failures(
    tmp_path, monkeypatch
):
    def full(*arguments, **options):
        raise FULL

    def measure(place, settings):
        checkpoints = Checkpoints(place.folder / "states")
        monkeypatch.setattr(checkpoints._manager, "save", full)
        checkpoints.save(1, {"a": np.zeros(2)})

    monkeypatch.setattr(job, "measure", measure)
    with pytest.raises(CheckpointNotSaved, match="free some space"):
        run_all(small_sweep(), tmp_path)
    assert Outcomes(tmp_path).failures(range(4)) == {}


def test_a_stopped_sweep_has_a_report_that_can_be_made_again_without_training(
    tmp_path, monkeypatch
):
    there, made = tmp_path / "run", small_config()

    def swept(**request):
        with launched():
            run.run(made, there, StopRequest(), run.Request(OVERRIDES, **request))

    with pytest.raises(InputError, match="--sweep_report needs a sweep that was begun"):
        swept(report=True)
    monkeypatch.setattr(run, "MOST_SETTINGS", 1)
    reports = []

    def measure(*arguments):
        reports.append((there / "report.md").exists())
        return Trainer(2, error=TrainingStopped("stopped"))(*arguments)

    monkeypatch.setattr(job, "measure", Trainer(0, error=TrainingStopped("stopped")))
    with pytest.raises(TrainingStopped):
        swept()
    assert "0 of 4 settings are finished" in (there / "report.md").read_text()
    (there / "report.md").unlink()
    monkeypatch.setattr(job, "measure", measure)
    with pytest.raises(TrainingStopped):
        swept()
    assert reports == [False, True, True], "it is written after every job"
    count = "2 of 4 settings are finished, 0 failed, 2 are to come"
    assert count in (there / "report.md").read_text()
    (there / "report.md").unlink()
    (there / "results.csv").unlink()
    monkeypatch.setattr(run, "cells_in_memory", None)
    with pytest.raises(run.SweepIncomplete, match="2 of 4 settings are to come; --sweep trains"):
        swept(report=True)
    assert count in (there / "report.md").read_text()
    assert (there / "results.csv").exists()
    for setting in small_sweep().settings:
        Outcomes(there).finish(setting.number, measured(setting))
    swept(report=True)
    with pytest.raises(InputError, match="--sweep_job must be between 0 and 3, got 99"):
        swept(job=99)


def test_every_setting_of_a_job_is_named_in_the_log(caplog):
    sweep = small_sweep()
    bound = {"elbo": -1.0, "log_z": 2.0, "log_z_standard_error": 0.1}
    with caplog.at_level("INFO", logger="qbm_jax"):
        for bar in job._bars("job 0", sweep.settings):
            bar.update(Progress(1, 1.0, 3, 10.0, "validation", bound))
    named = [line.split(":")[0] for line in caplog.messages]
    assert named == [f"job 0, setting {number}" for number in range(4)]


def finished(workdir, sweep, **scores):
    """Writes outcomes of all settings but the last, which failed."""
    outcomes = Outcomes(workdir)
    for setting in sweep.settings[:-1]:
        total = 0.5 + setting.values["training.kl_weight"] / 10 + setting.number / 1000
        outcomes.finish(setting.number, measured(setting, **{"total": total} | scores))
    outcomes.fail(sweep.settings[-1].number, "ValueError: bad")


def test_the_table_has_a_row_for_each_finished_setting_and_metric(tmp_path):
    sweep = small_sweep()
    finished(tmp_path, sweep)
    report.write(tmp_path, sweep, one_job(sweep))
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["setting", "seed", "training.kl_weight", "metric", "value"]
    names = ["total", "bio_conservation", "batch_correction", "kbet", "elbo", "log_z", "seconds"]
    assert [(row["setting"], row["metric"]) for row in rows] == [
        (str(number), name) for number in range(3) for name in names
    ]
    assert all(float(row["training.kl_weight"]) == (1.0, 0.5)[row["setting"] != "1"]
               for row in rows)  # fmt: skip
    assert {row["value"] for row in rows if row["metric"] == "kbet"} == {""}


def test_the_report_names_the_best_setting_the_failures_the_plan_and_has_its_figures(tmp_path):
    sweep = small_sweep()
    finished(tmp_path, sweep)
    report.write(tmp_path, sweep, one_job(sweep))
    text = (tmp_path / "report.md").read_text()
    assert text.split("\n\n")[1].startswith("**SIMULATED CELLS. ")
    assert "3 of 4 settings are finished, 1 failed, 0 are to come" in text
    assert "Best by total: training.kl_weight = 0.5, 0.551" in text, "1.0 has one seed of two"
    assert "Of some there are fewer" in text
    assert text.index("| training.kl_weight = 0.5") < text.index("| training.kl_weight = 1.0")
    assert "* Setting 3 (seed = 1, training.kl_weight = 1.0): ValueError: bad" in text
    assert "4 settings in 1 jobs" in text
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["training_kl_weight.png"]
    assert imread(tmp_path / "figures" / "training_kl_weight.png").size


def test_without_labels_the_best_setting_is_by_the_bound(tmp_path):
    sweep = small_sweep()
    finished(tmp_path, sweep, total=None, bio_conservation=None)
    results = SweepResults(sweep, tmp_path)
    level = results.ranked()[0]
    found = results.over(level, "elbo")
    assert results.goal == "elbo"
    assert level.values == {"training.kl_weight": 0.5}
    assert found.mean == pytest.approx(np.mean([-100, -102]))


def test_settings_of_one_seed_are_one_number_and_shared_seconds_have_no_interval(tmp_path):
    """Else an axis beside another one has an interval of dependent settings."""
    sweep = small_sweep([
        {"seed": seed, "training.kl_weight": weight, "training.learning_rate": rate}
        for seed in range(3) for weight in (0.5, 1.0) for rate in (1e-3, 2e-3)
    ])  # fmt: skip
    for setting in sweep.settings:
        total = setting.values["seed"] + 100 * setting.values["training.learning_rate"]
        Outcomes(tmp_path).finish(setting.number, measured(setting, total=total))
    found = SweepResults(sweep, tmp_path)
    for level in found.levels(["training.kl_weight"]):
        over = found.over(level, "total")
        assert (over.num_seeds, over.mean) == (3, pytest.approx(1.15))
        assert over.half_width == pytest.approx(stats.t.ppf(0.975, 2) / np.sqrt(3))
    seconds = [row for row in found.summary() if row["metric"] == "seconds"]
    assert len(seconds) == 4 and all(np.isfinite(row["mean"]) for row in seconds)
    assert all(np.isnan([row["half_width"], row["difference"]]).all() for row in seconds)


def summary_of(workdir):
    with (workdir / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


NO_BEST = {
    "data": {"model.likelihood": ("nb", "normal")},
    "relaxed bits": {"model.relaxation": ("gumbel", "straight_through")},
}


@pytest.mark.parametrize("case", NO_BEST)
def test_no_setting_is_best_by_bounds_of_different_quantities(case, tmp_path, monkeypatch):
    ((path, values),) = NO_BEST[case].items()
    sweep = small_sweep([{path: value, "seed": seed} for value in values for seed in (0, 1)])
    for setting in sweep.settings:
        Outcomes(tmp_path).finish(setting.number, measured(setting, total=None))
    report.write(tmp_path, sweep, one_job(sweep))
    text = (tmp_path / "report.md").read_text()
    assert {row["difference"] for row in summary_of(tmp_path)} == {""}
    assert "None is called best: bounds" in text and "Best by" not in text and "−" not in text
    monkeypatch.setattr(run.ray_jobs, "check_installed", lambda: None)
    request = run.Request([setting.values for setting in sweep.settings], "local", halving=True)
    with pytest.raises(InputError, match="--sweep_halving stops settings by their bounds"):
        run.run(sweep.config, tmp_path / "run", lambda: False, request)


def test_bounds_of_counts_are_of_one_quantity():
    for path, values in (("model.likelihood", ("nb", "zinb")), ("model.relaxation", ("gumbel",))):
        assert bounds_compare(small_sweep([{path: value} for value in values]).settings)


def test_intervals_are_students_over_the_replicates(tmp_path):
    sweep = small_sweep([{"seed": seed, "training.kl_weight": 0.5} for seed in range(5)])
    for setting, total in zip(sweep.settings, (1.0, 2.0, 3.0, 4.0, 5.0), strict=True):
        Outcomes(tmp_path).finish(setting.number, measured(setting, total=total))
    results = SweepResults(sweep, tmp_path)
    (level,) = results.levels(["training.kl_weight"])
    found = results.over(level, "total")
    assert (found.mean, found.num_seeds) == (3.0, 5)
    assert found.half_width == pytest.approx(2.776 * np.sqrt(2.5 / 5), rel=1e-3)


def test_the_distance_to_the_best_setting_is_paired_by_seed(tmp_path):
    weights, seeds = (0.5, 1.0), range(4)
    sweep = small_sweep([{"seed": s, "training.kl_weight": w} for s in seeds for w in weights])
    for setting in sweep.settings:
        seed, weight = setting.values["seed"], setting.values["training.kl_weight"]
        total = 10 * seed + weight + 0.01 * (seed % 2) * weight
        Outcomes(tmp_path).finish(setting.number, measured(setting, total=total))
    results = SweepResults(sweep, tmp_path)
    worse, best = results.levels(["training.kl_weight"])
    found = results.behind(worse, best, "total")
    assert results.over(worse, "total").half_width > 10
    assert found.mean == pytest.approx(-0.5025)
    assert found.half_width < 0.01
    report.write(tmp_path, sweep, one_job(sweep))
    assert "-0.5025 ± 0.00459" in (tmp_path / "report.md").read_text()
    lines = {(row["training.kl_weight"], row["metric"]): row for row in summary_of(tmp_path)}
    assert {metric for _, metric in lines} == set(results.metrics(0))
    first, second = lines["1.0", "total"], lines["0.5", "total"]
    assert (first["num_seeds"], first["baseline"], first["difference"]) == ("4", "", "")
    assert float(first["mean"]) == pytest.approx(16.005)  # 15 + 1 + (0.01 + 0.01) / 4
    assert (second["baseline"], second["num_pairs"]) == ("training.kl_weight = 1.0", "4")
    differences = np.array([-0.5, -0.505, -0.5, -0.505])
    half = stats.t.ppf(0.975, 3) * differences.std(ddof=1) / 2
    ends = [float(second[name]) for name in ("difference", "low", "high")]
    np.testing.assert_allclose(ends, [-0.5025, -0.5025 - half, -0.5025 + half])


def test_stopped_settings_are_settled_for_halving_and_missing_for_a_sweep(tmp_path):
    outcomes = Outcomes(tmp_path)
    outcomes.finish(0, {"scores": {}})
    outcomes.stop(1, 15, -200.0)
    assert (outcomes.missing(range(3)), outcomes.unsettled(range(3))) == ([1, 2], [2])
    assert outcomes.stopped(range(3)) == {1: {"epoch": 15, "elbo": -200.0}}
    outcomes.finish(1, {"scores": {}})
    assert outcomes.stopped(range(3)) == {}


@pytest.mark.parametrize("relaxation", ["straight_through", "gumbel"])
def test_a_report_calls_the_number_of_a_stopped_setting_what_it_is(tmp_path, relaxation):
    sweep = small_sweep([{"model.relaxation": relaxation}])
    Outcomes(tmp_path).stop(0, 15, -200.0)
    report.write(tmp_path, sweep, one_job(sweep))
    noun = {"gumbel": "objective of relaxed bits"}.get(relaxation, "ELBO")
    text = (tmp_path / "report.md").read_text()
    assert f"after epoch 15, validation {noun} -200.0" in text


def test_a_sweep_without_anything_finished_still_reports(tmp_path):
    sweep = small_sweep()
    report.write(tmp_path, sweep, one_job(sweep))
    assert "0 of 4 settings are finished" in (tmp_path / "report.md").read_text()


def test_another_sweep_of_the_same_config_is_refused_the_workdir(tmp_path, cells):
    sweep = small_sweep()
    plan = one_job(sweep)
    with launched():
        assert run.claim(sweep, cells, plan, tmp_path / "run") == plan
        other = plan._replace(free_mebibytes=1.0)
        assert run.claim(sweep, cells, other, tmp_path / "run") == plan
        assert run.prepared(sweep, tmp_path / "run") == plan
        with pytest.raises(InputError, match="different sweep"):
            run.prepared(small_sweep(OVERRIDES[:2]), tmp_path / "run")
        run.check_job(0, plan)
        with pytest.raises(InputError, match="--sweep_job must be between 0 and 0, got 1"):
            run.check_job(1, plan)


ARGUMENTS = {
    "a value": (["--sweep=yes"], ["--sweep takes no value"]),
    "no number": (["--sweep_job"], ["--sweep_job=N must be a whole number of at least 0"]),
    "negative job": (["--sweep_job=-1"], ["--sweep_job=N", "'-1'"]),
    "no steps": (["--profile=0"], ["--profile=N must be a whole number of at least 1"]),
    "two ways": (["--sweep_ray", "--sweep_slurm"], ["--sweep_ray and --sweep_slurm"]),
    "halving": (["--sweep_halving"], ["--sweep_halving is done by Ray Tune; give --sweep_ray"]),
    "profile": (["--profile=3", "--sweep"], ["--profile traces a single training"]),
}


@pytest.mark.parametrize("fault", ARGUMENTS)
def test_options_of_a_sweep_that_mean_nothing_are_refused(fault, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    given, words = ARGUMENTS[fault]
    with pytest.raises(SystemExit) as exit_:
        launch.check_arguments(["run.py", "--config=configs/sweep_pancreas.py", *given])
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


def test_a_config_without_settings_cannot_be_swept_but_a_sweep_config_runs_alone(
    capsys, monkeypatch
):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as exit_:
        launch.check_arguments(["run.py", "--config=configs/toy.py", "--sweep"])
    assert exit_.value.code == 2
    assert "'configs/toy.py' has no sweep(); configs/sweep_pancreas.py" in capsys.readouterr().err
    for given in ([], ["--sweep"], ["--sweep", "--sweep_job=0"], ["--profile=5"]):
        launch.check_arguments(["run.py", "--config=configs/sweep_pancreas.py:smoke", *given])


MISTAKES = {
    "def sweep(arg='full'):\n    raise InputError('no')\n    yield": "error: no",
    "def sweep():\n    yield {'seed': 1}": "sweep of config file",
    "def sweep(arg='full'):\n    return None": "must yield dicts such as {'seed': 3}, got None",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_in_sweep_is_one_line(text, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(f"from qbm_jax.errors import InputError\n\n\n{text}\n")
    with pytest.raises(SystemExit) as exit_:
        launch.load_overrides(f"{path}:smoke")
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert MISTAKES[text] in line


def test_simulated_cells_are_named_as_such_before_anything_else(tmp_path):
    sweep = small_sweep()
    plan = one_job(sweep)
    for simulated in (True, False):
        made = plan._replace(facts=FACTS | {"simulated": simulated})
        title, second, *_ = report.document(tmp_path, SweepResults(sweep, tmp_path), made).parts
        assert title == "# Sweep: cells"
        assert second.startswith("**SIMULATED CELLS. These are no meas") == simulated


def test_a_ray_without_address_is_one_of_this_machine():
    given = ["run.py", "--sweep_ray", "--sweep_ray=", "--sweep_ray=ray://head:10001"]
    expected = ["run.py", "--sweep_ray=local", "--sweep_ray=local", "--sweep_ray=ray://head:10001"]
    assert arguments.spelt_out(given) == expected


def test_failed_settings_end_the_command_with_one(tmp_path, capsys, monkeypatch):
    def failing(config, workdir, stop, request):
        raise run.SweepIncomplete("1 of 2 settings failed")

    monkeypatch.setattr(run, "run", failing)
    with launched(), pytest.raises(SystemExit) as exit_:
        launch.run(config(), str(tmp_path / "run"), sweep=run.Request([]))
    assert exit_.value.code == 1
    assert "error: 1 of 2 settings failed" in capsys.readouterr().err


def test_a_profile_of_another_experiment_is_refused(tmp_path, capsys):
    with launched(), pytest.raises(SystemExit):
        launch.run(config("configs/benchmark.py"), str(tmp_path / "run"), profile=3)
    assert "--profile traces experiment integration, got benchmark" in capsys.readouterr().err


@pytest.fixture
def script(tmp_path):
    """The Slurm script of three jobs in a folder whose name needs quotes."""
    workdir = tmp_path / "a run's folder"
    workdir.mkdir()
    argv = ["run.py", "--config=configs/toy.py:smoke", "--config.seed=3", "--sweep_slurm",
            "--workdir=elsewhere"]  # fmt: skip
    return slurm.write_script(workdir, argv, 3)


def bash(script, tmp_path, **variables):
    """Runs the script with a stand-in for Slurm and Python that writes down how it was called."""
    tools = tmp_path / "tools"
    tools.mkdir()
    called = tmp_path / "called"
    for name in ("sbatch", "python"):
        (tools / name).write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@" >> "{called}"\necho 7\n')
        (tools / name).chmod(0o755)
    text = script.read_text().replace(slurm.sys.executable, "python")
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"} | variables
    subprocess.run(["bash", "-c", text], env=environment, check=True, capture_output=True)
    return called.read_text().splitlines()


def test_the_slurm_script_submits_an_array_over_the_jobs_and_a_report_after_it(script, tmp_path):
    subprocess.run(["bash", "-n", script], check=True)
    variables = {"SLURM_JOB_ID": "5"}  # as within salloc
    assert bash(script, tmp_path, **variables) == [
        "sbatch", "--parsable", "--export=ALL,QBM_JAX_TASK=job", "--array=0-2", str(script),
        "sbatch", "--export=ALL,QBM_JAX_TASK=report", "--dependency=afterany:7", str(script),
    ]  # fmt: skip


TASKS = {
    "--sweep_job=2": {"QBM_JAX_TASK": "job", "SLURM_ARRAY_TASK_ID": "2"},
    "--sweep_report": {"QBM_JAX_TASK": "report"},
}


@pytest.mark.parametrize("option", TASKS)
def test_a_task_runs_its_job_and_the_last_one_the_report(option, script, tmp_path):
    assert bash(script, tmp_path, **TASKS[option]) == [
        "python", str(ROOT / "run.py"), "--config=configs/toy.py:smoke", "--config.seed=3",
        f"--workdir={script.parent}", option,
    ]  # fmt: skip


def test_cells_are_counted_as_they_lie_on_the_device(cells):
    data = device_counts(cells)
    assert counts_bytes(cells) == sum(x.nbytes for x in jax.tree.leaves(data))


def sweep_results(monkeypatch):
    """Two widths at seeds 4 and 7: 0.2 and 0.6 against 0.9 and 0.8."""
    totals = [0.2, 0.6, 0.9, 0.8]
    sweep = SimpleNamespace(
        paths=["width", "seed"],
        settings=[
            SimpleNamespace(
                number=i, values={"width": (8, 16)[i // 2], "seed": (4, 7)[i % 2]},
                seed=(4, 7)[i % 2],
            )
            for i in range(4)
        ],
    )  # fmt: skip
    bound = {"elbo": -1.0, "log_z": 0.0}
    finished = {
        i: {"scores": {"total": total}, "bound": bound, "seconds": 1.0}
        for i, total in enumerate(totals)
    }
    outcomes = SimpleNamespace(
        finished=lambda _: finished, failures=lambda _: {}, stopped=lambda _: {}
    )
    monkeypatch.setattr(results, "Outcomes", lambda workdir: outcomes)
    return SweepResults(sweep, None)


def test_a_sweep_ranks_the_highest_mean_first_and_tells_how_far_others_are_behind(monkeypatch):
    found = sweep_results(monkeypatch)
    best, worst = found.ranked()
    assert best.values == {"width": 16} and worst.values == {"width": 8}
    assert found.over(best, found.goal).mean == pytest.approx(0.85)
    behind = found.behind(worst, best, "total")
    assert behind.mean == pytest.approx(-0.45)  # -0.7 and -0.2, deviation 0.5 / sqrt 2
    assert behind.standard_error == pytest.approx(0.25)
