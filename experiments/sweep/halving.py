"""Successive halving by Ray Tune: settings whose bound falls behind are not trained to the end.

Import this module only where Ray is installed.
"""

import functools
import logging
import os
from pathlib import Path
from typing import Any

import ray
from ml_collections import ConfigDict
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from experiments.sweep.job import Place, is_full_disk, measure
from experiments.sweep.outcomes import Outcomes
from experiments.sweep.ray_jobs import RETRIES, NeverStop, at_work, connected, resources
from experiments.sweep.settings import Sweep
from qbm_jax.runtime.options import LARGEST_WHOLE
from qbm_jax.study.lock import lock_folder
from qbm_jax.training import Progress

LOGGER = logging.getLogger("qbm_jax")
METRIC, TIME = "elbo", "epoch"  # of the validation cells; the bound itself, at any KL weight
REDUCTION = 3  # of as many settings one goes on from a rung to the next


class HalvingBySeed(FIFOScheduler):
    """ASHA (Li et al. 2020, Massively parallel hyperparameter tuning) among settings of one seed.

    The seed chooses the validation cells, whose bounds differ by more than those of settings do:
    across seeds halving would keep the lucky seeds.

    Attributes:
      stopped: epoch and bound of every setting that it stopped, by number.
    """

    def __init__(self, seeds: list[int], first: int):
        """The first rung is after `first` epochs, each other one after three times as many."""
        super().__init__()
        self.stopped: dict[int, tuple[int, float]] = {}
        self._of_seed = {
            seed: ASHAScheduler(
                time_attr=TIME, metric=METRIC, mode="max", grace_period=first,
                reduction_factor=REDUCTION,
                max_t=LARGEST_WHOLE,  # at max_t a trial would be stopped before it is scored
            )
            for seed in seeds
        }  # fmt: skip

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A setting is going to be trained."""
        self._among(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether a setting goes on after a validation."""
        decision = self._among(trial).on_trial_result(tune_controller, trial, result)
        if decision == self.STOP:
            self.stopped[trial.config["chosen"]["setting"]] = result[TIME], result[METRIC]
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A setting is finished or was stopped."""
        self._among(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A setting that waited is not wanted any more."""
        self._among(trial).on_trial_remove(tune_controller, trial)

    def _among(self, trial: Any) -> ASHAScheduler:
        """The scheduler among the settings of the trial's seed."""
        return self._of_seed[trial.config["chosen"]["seed"]]


def run_settings(sweep: Sweep, workdir: Path, address: str) -> None:
    """Trains every setting that is neither finished nor stopped, each as a trial of its own.

    A trial that fails is tried once more, from its last checkpoint, and then recorded as failed.
    After Ctrl-C only what was stopped or finished by then is settled.

    Raises:
      InputError: no cluster can be reached at the address.
      CheckpointNotSaved, OSError: the disk is full.
    """
    outcomes = Outcomes(workdir)
    numbers = outcomes.unsettled(range(len(sweep.settings)))
    settings = [sweep.settings[number] for number in numbers]
    if not settings:
        return
    work = functools.partial(
        _trial, config=sweep.config, overrides=[setting.values for setting in sweep.settings],
        workdir=workdir.resolve(), folder=str(Path.cwd()),
    )  # fmt: skip
    choices = [{"setting": s.number, "seed": s.seed} for s in settings]
    scheduler = HalvingBySeed(
        sorted({choice["seed"] for choice in choices}),
        first=min(setting.training.options.validate_every or 1 for setting in settings),
    )
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # this log has its own lines
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # else Ctrl-C would look like an end
    try:
        with connected(address):
            asked = resources(len(settings))
            results = tune.Tuner(
                tune.with_resources(work, {"cpu": asked["num_cpus"], "gpu": asked["num_gpus"]}),
                param_space={"chosen": tune.grid_search(choices)},
                tune_config=tune.TuneConfig(scheduler=scheduler),
                run_config=tune.RunConfig(
                    storage_path=str(workdir.resolve() / "checkpoints"), name="ray", verbose=0,
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                ),
            ).fit()  # fmt: skip
    finally:
        record_stops(outcomes, scheduler)
    for index in range(len(results)):
        record_failure(outcomes, results[index])


def record_stops(outcomes: Outcomes, scheduler: HalvingBySeed) -> None:
    """Writes down what the scheduler stopped, and nothing that ended otherwise."""
    for number in outcomes.missing(sorted(scheduler.stopped)):
        epoch, bound = scheduler.stopped[number]
        LOGGER.info("setting %d was stopped after epoch %d, bound %.1f", number, epoch, bound)
        outcomes.stop(number, epoch, bound)


def record_failure(outcomes: Outcomes, result: Any) -> None:
    """What the trial itself could not write down: that it failed.

    Raises:
      CheckpointNotSaved, OSError: the disk is full, which is no failure of the setting.
    """
    number = result.config["chosen"]["setting"]
    cause = getattr(result.error, "cause", result.error)
    if is_full_disk(cause):
        raise cause
    if result.error is not None and outcomes.missing([number]):
        text = str(result.error).strip().splitlines()[-1]
        LOGGER.warning("setting %d failed: %s", number, text)
        outcomes.fail(number, text)


def _trial(
    chosen: dict[str, Any],
    config: ConfigDict,
    overrides: list[dict[str, Any]],
    workdir: Path,
    folder: str,
) -> None:
    """Trains and measures a setting; Tune ends the process where it is not to go on."""
    number = chosen["chosen"]["setting"]

    def report(progress: Progress) -> None:
        if progress.split == "validation":
            epoch, bound = round(progress.epoch), progress.metrics[METRIC]
            ray.tune.report({TIME: epoch, METRIC: bound})

    with at_work(config, overrides, workdir, folder) as (sweep, given):
        states = workdir / "checkpoints" / f"setting-{number:04d}"
        states.mkdir(parents=True, exist_ok=True)
        lock_folder(states)
        place = Place(sweep, given, "halving", states, NeverStop(), report)
        (measured,) = measure(place, [sweep.settings[number]])
        Outcomes(workdir).finish(number, measured)
