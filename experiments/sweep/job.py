"""One job of a sweep: its settings train together, then each is embedded, bounded and scored."""

import contextlib
import functools
import logging
import shutil
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments.kit.disk import remedy
from experiments.kit.faults import alarmed, done_again
from experiments.kit.options import draws_of
from experiments.kit.stop import StopRequest
from experiments.kit.workdir import remove_leftovers
from experiments.sweep.outcomes import Outcomes
from experiments.sweep.plan import Job
from experiments.sweep.settings import Sweep, SweepSetting, describe
from qbm_jax import training
from qbm_jax.data import Cells
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.fitted.alarms import of_model
from qbm_jax.fitted.document import Evaluated
from qbm_jax.fitted.evaluate import train_and_evaluate
from qbm_jax.fitted.event_files import EventFiles
from qbm_jax.fitted.metrics_log import MetricsLog
from qbm_jax.fitted.model import FittedModel, device_counts
from qbm_jax.fitted.progress import ProgressBar
from qbm_jax.fitted.scoring import score_seeds
from qbm_jax.metrics import pca_embedding
from qbm_jax.runtime.compiled import release_compiled
from qbm_jax.study.lock import FolderLost, check_held, lock_folder
from qbm_jax.training.checkpoint import CheckpointNotSaved, Checkpoints

LOGGER = logging.getLogger("qbm_jax")


class Fault(NamedTuple):
    """Why settings could not be trained together: in words, and by whose fault if it is known."""

    text: str
    setting: SweepSetting | None


class SweepCells:
    """The cells of a sweep, and what all jobs of a process take from them.

    Attributes:
      cells: preprocessed.
    """

    def __init__(self, cells: Cells, config: ConfigDict):
        """Of a sweep of this base config."""
        self.cells, self._config = cells, config

    @functools.cached_property
    def uploaded(self) -> DeviceCounts:
        """Their counts on the device."""
        return device_counts(self.cells)

    @functools.cached_property
    def pca(self) -> np.ndarray:
        """Their principal components, as scores take them for the uncorrected embedding."""
        config = self._config
        return pca_embedding(self.cells.counts, config.evaluation.pca_components, config.seed)


class Place(NamedTuple):
    """Where settings are trained, and on what.

    Attributes:
      sweep: its base config says how to score.
      given: the cells.
      title: of the progress bar, or before every setting's lines of the log.
      folder: where states are kept.
      stop: asked after every dispatch.
      report: told of the progress, besides.
    """

    sweep: Sweep
    given: SweepCells
    title: str
    folder: Path
    stop: StopRequest
    report: Callable[[training.Progress], None] = lambda progress: None

    def states(self, settings: list[SweepSetting]) -> Path:
        """Where those of just these settings are kept: those of fewer would not fit them."""
        return self.folder / f"states-{_digest(settings)}"


def run_job(
    sweep: Sweep, given: SweepCells, number: int, job: Job, workdir: Path, stop: StopRequest
) -> None:
    """Trains what is missing of a job. What fails is tried once more, every setting on its own.

    A setting that diverges leaves the others, which are trained together without it. Errors of a
    setting are recorded and do not stop the sweep.

    Raises:
      InputError: another process is at this job.
      TrainingStopped: a stop was asked for.
      CheckpointNotSaved, OSError: the disk is full.
    """
    outcomes = Outcomes(workdir)
    together = [sweep.settings[index] for index in outcomes.missing(job.settings)]
    if not together:
        return
    title, folder = f"job {number}", workdir / "checkpoints" / f"job-{number:03d}"
    folder.mkdir(parents=True, exist_ok=True)
    if lock_folder(folder):
        remove_leftovers(folder)
    place = Place(sweep, given, title, folder, stop)
    LOGGER.info("%s: %d settings", title, len(together))
    alone, left = [], []
    while together and (fault := _attempt(place, together, outcomes)):
        LOGGER.warning("%s: %s", title, fault.text)
        failed = together if fault.setting is None else [fault.setting]
        alone += failed
        if len(together) > 1:
            left.append(place.states(together))
        together = [setting for setting in together if setting not in failed]
    for setting in alone:
        name = f"setting {setting.number} ({describe(setting.values)})"
        LOGGER.info("%s: %s is tried again, alone", title, name)
        if fault := _attempt(place, [setting], outcomes):
            LOGGER.warning("%s: %s failed: %s", title, name, fault.text)
            outcomes.fail(setting.number, fault.text)
    for states in left:  # until here a resumed job needs them: it finds the same fault at once
        shutil.rmtree(states, ignore_errors=True)


def _attempt(place: Place, settings: list[SweepSetting], outcomes: Outcomes) -> Fault | None:
    """Trains and measures settings together and records them; the fault if that failed."""
    try:
        measured = measure(place, settings)
    except training.TrainingStopped:
        raise
    except Exception as error:  # whatever one setting does, the others are still wanted
        if is_full_disk(error) or isinstance(error, FolderLost):
            raise
        check_held(place.folder)  # without its folder no setting can be trained
        LOGGER.debug("%s", place.title, exc_info=True)
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:2000]
        diverged = settings[error.seed] if isinstance(error, training.TrainingDiverged) else None
        return Fault(text, diverged)
    for setting, values in zip(settings, measured, strict=True):
        outcomes.finish(setting.number, values)
    shutil.rmtree(place.states(settings), ignore_errors=True)
    release_compiled()  # a sweep compiles more programs than a process can hold
    return None


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error is no fault of a setting, but of a disk that does not take it."""
    return remedy(error) is not None or isinstance(error, CheckpointNotSaved)


def measure(place: Place, settings: list[SweepSetting]) -> list[dict[str, Any]]:
    """Scores, bound and cost of every setting; they are of equal shapes and train together.

    Raises:
      InputError: options or counts that cannot be used, or a training that diverged.
      TrainingStopped: a stop was asked for; the states are saved.
    """
    start, base, cells = time.perf_counter(), place.sweep.config, place.given.cells
    found = train(place, settings)
    scores, notes = score_seeds(
        {"setting": [each.embedding for each in found]}, cells, seed=base.seed,
        uncorrected=place.given.pca, max_cells=base.evaluation.max_scored_cells,
    )  # fmt: skip
    seconds = (time.perf_counter() - start) / len(settings)
    return [
        {
            "setting": setting.number,
            "values": setting.values,
            "scores": values,
            "bound": each.bound,
            "best_epoch": each.best_epoch,
            "cells_per_second": each.cells_per_second,
            "trained_together": len(settings),
            "seconds": seconds,
            "notes": [
                *notes,
                *done_again({f"setting {setting.number}": each.again}),
                *alarmed(
                    {f"setting {setting.number}": of_model(each.model, each.embedding, cells)}
                ),
            ],
        }
        for setting, each, values in zip(settings, found, scores["setting"], strict=True)
    ]


def train(place: Place, settings: list[SweepSetting]) -> list[Evaluated[FittedModel]]:
    """Trains settings together, going on from what is kept of the same ones.

    Each is the first training of a run of its own config.
    """
    base = place.sweep.config
    events = EventFiles(place.folder) if base.tensorboard else None
    log = MetricsLog(place.folder / f"metrics-{_digest(settings)}.jsonl", events)
    with log, contextlib.ExitStack() as shown:
        bars = _bars(place.title, settings)
        for bar in bars:
            shown.enter_context(bar)

        def on_progress(progress: training.Progress) -> None:
            bars[progress.seed].update(progress)
            setting = settings[progress.seed]
            log.record(f"setting-{setting.number:04d}", setting.seed, progress)
            place.report(progress)

        return train_and_evaluate(
            [setting.training for setting in settings],
            place.given.cells,
            [(setting.seed, 0) for setting in settings],
            data=place.given.uploaded,
            bounds=draws_of(base),
            while_training=place.stop.deferred(),
            on_progress=on_progress,
            checkpoints=Checkpoints(
                place.states(settings), before_save=functools.partial(check_held, place.folder)
            ),
            should_stop=place.stop,
        )


def _bars(title: str, settings: list[SweepSetting]) -> list[ProgressBar]:
    """On a terminal one bar, since all settings are as far as the first; else lines of them all."""
    if sys.stderr.isatty():
        return [ProgressBar(title, each is settings[0], each.has_bound) for each in settings]
    return [
        ProgressBar(f"{title}, setting {each.number}", is_bound=each.has_bound) for each in settings
    ]


def _digest(settings: list[SweepSetting]) -> str:
    numbers = ",".join(str(setting.number) for setting in settings)
    return f"{zlib.crc32(numbers.encode()):08x}"
