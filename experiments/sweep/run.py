"""Runs a sweep: claims the workdir, plans, hands out the jobs, and writes the tables and report."""

import logging
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.kit.cells import cells_in_memory
from experiments.kit.stop import StopRequest
from experiments.kit.workdir import check_claimed, claim_workdir
from experiments.sweep import ray_jobs, report, slurm
from experiments.sweep.job import SweepCells, run_job
from experiments.sweep.outcomes import Outcomes
from experiments.sweep.plan import (
    MOST_SETTINGS,
    SweepPlan,
    describe_plan,
    keep_plan,
    make_plan,
    read_plan,
)
from experiments.sweep.settings import Sweep, bounds_compare, build_sweep, tell_alike
from qbm_jax.data import Cells
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.errors import InputError
from qbm_jax.fitted.event_files import EventFiles

LOGGER = logging.getLogger("qbm_jax")


class Request(NamedTuple):
    """How the command line asks for a sweep to be run.

    Attributes:
      overrides: what the config's `sweep` yields.
      ray: address of a Ray cluster, "local" for one of this computer, None for none.
      slurm: whether to write a Slurm script and leave the jobs to it.
      job: the one job to run, or None for all and the report.
      halving: whether Ray Tune stops settings early that fall behind.
      report: whether to report what is there and train nothing.
    """

    overrides: Iterable[Mapping[str, Any]]
    ray: str | None = None
    slurm: bool = False
    job: int | None = None
    halving: bool = False
    report: bool = False


class SweepIncomplete(Exception):
    """Some settings failed, or are still to be trained; the report holds the finished ones."""


def run(config: ConfigDict, workdir: Path, stop: StopRequest, request: Request) -> None:
    """Runs what is missing of the sweep in `workdir`, and reports what is there.

    The report is written after every job, and when a stop or an error ends the sweep.

    Raises:
      InputError: settings, data or options that cannot be used, a job that the plan has not, or a
        checkpoint that could not be saved.
      TrainingStopped: a stop was asked for; the same call again goes on.
      SweepIncomplete: settings failed, or only a report was asked for and some are not trained yet.
    """
    sweep = build_sweep(config, request.overrides)
    tell_alike(sweep.settings)
    if request.ray is not None:
        ray_jobs.check_installed()
    if request.halving and not bounds_compare(sweep.settings):
        raise InputError(
            "--sweep_halving stops settings by their bounds, which are of different quantities "
            "here: sweep likelihoods of one kind of data, and no relaxation gumbel among others"
        )
    if request.slurm:
        slurm.check_workdir(workdir)
    if config.tensorboard:
        EventFiles(workdir)  # says so before any work if it is not installed
    plan = prepared(sweep, workdir)
    if plan is None and request.report:
        raise InputError(
            f"--sweep_report needs a sweep that was begun, got {workdir} without one; run --sweep"
        )
    outcomes, everything = Outcomes(workdir), range(len(sweep.settings))
    wanted = outcomes.unsettled if request.halving else outcomes.missing
    cells: Cells | None = None
    if plan is None or (not request.report and (request.slurm or wanted(everything))):
        cells = cells_in_memory(config)
        plan = plan or make_plan(sweep, cells, most=1 if request.halving else MOST_SETTINGS)
    check_job(request.job, plan)
    if cells is not None:
        plan = claim(sweep, cells, plan, workdir)
        check_job(request.job, plan)  # another process may have planned first
        LOGGER.info("%s", describe_plan(sweep, plan))
        if request.slurm:
            path = slurm.write_script(workdir, sys.argv, len(plan.jobs))
            LOGGER.info("written: %s; bash %s submits it", path, path)
            return
    try:
        if cells is not None:
            run_jobs(sweep, cells, plan, workdir, stop, request)
    finally:
        if request.job is None:  # tasks of an array leave it to the last one
            report.write(workdir, sweep, plan)
    if request.job is None:
        LOGGER.info("report: %s", workdir / "report.md")
    raise_failures(sweep, plan, workdir, request)


def prepared(sweep: Sweep, workdir: Path) -> SweepPlan | None:
    """The plan of an earlier call of the same sweep, without a look at the cells.

    Raises:
      InputError: the workdir is another sweep's, or no sweep's.
    """
    return read_plan(workdir) if check_claimed(workdir, "sweep", sweep.identity()) else None


def claim(sweep: Sweep, cells: Cells, plan: SweepPlan, workdir: Path) -> SweepPlan:
    """Makes the workdir this sweep's, shared by its jobs; returns the plan that all follow."""
    claim_workdir(workdir, sweep.config, fingerprint(cells) | sweep.identity(), shared=True)
    return read_plan(workdir) or keep_plan(workdir, plan)


def check_job(job: int | None, plan: SweepPlan) -> None:
    """Raises an InputError if the plan has no such job."""
    if job is not None and job >= len(plan.jobs):
        raise InputError(f"--sweep_job must be between 0 and {len(plan.jobs) - 1}, got {job}")


def run_jobs(
    sweep: Sweep, cells: Cells, plan: SweepPlan, workdir: Path, stop: StopRequest, request: Request
) -> None:
    """Runs the job that is asked for, or all of them, here or on a Ray cluster."""
    given = SweepCells(cells, sweep.config)
    if request.halving:
        from experiments.sweep import halving  # only where Ray is installed

        assert request.ray is not None, "checked"
        halving.run_settings(sweep, workdir, request.ray)
    elif request.ray is not None:
        after = partial(report.write, workdir, sweep, plan)
        ray_jobs.run_jobs(sweep, plan, workdir, request.ray, after)
    elif request.job is not None:
        run_job(sweep, given, request.job, plan.jobs[request.job], workdir, stop)
    else:
        for number, job in enumerate(plan.jobs):
            run_job(sweep, given, number, job, workdir, stop)
            report.write(workdir, sweep, plan)


def raise_failures(sweep: Sweep, plan: SweepPlan, workdir: Path, request: Request) -> None:
    """Raises SweepIncomplete if settings (of the job, or of all) failed, or a report lacks some."""
    everything, outcomes = range(len(sweep.settings)), Outcomes(workdir)
    numbers = everything if request.job is None else plan.jobs[request.job].settings
    if failures := outcomes.failures(numbers):
        first = min(failures)
        raise SweepIncomplete(
            f"{len(failures)} of {len(numbers)} settings failed twice, the first is setting "
            f"{first}: {failures[first]}; running the sweep again tries them again"
        )
    if request.report and (missing := outcomes.unsettled(everything)):
        raise SweepIncomplete(
            f"{len(missing)} of {len(everything)} settings are to come; --sweep trains them"
        )
