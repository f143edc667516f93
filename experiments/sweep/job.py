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

from experiments.kit.disk import remedy
from experiments.kit.faults import collapsed
from experiments.kit.lock import WorkdirLost, check_held, lock_workdir
from experiments.kit.metrics_log import MetricsLog
from experiments.kit.options import draws_of, training_of
from experiments.kit.stop import StopRequest
from experiments.kit.tensorboard import EventFiles
from experiments.kit.workdir import check_same, read_claim, remove_leftovers
from experiments.sweep.outcomes import Outcomes
from experiments.sweep.plan import Job
from experiments.sweep.settings import Sweep, SweepSetting, describe
from qbm_jax import training
from qbm_jax.data import Cells
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.fitted.document import Evaluated
from qbm_jax.fitted.evaluate import train_and_evaluate
from qbm_jax.fitted.model import FittedModel, device_counts
from qbm_jax.fitted.progress import ProgressBar
from qbm_jax.fitted.scoring import score_seeds
from qbm_jax.metrics import pca_embedding
from qbm_jax.runtime.compiled import release_compiled
from qbm_jax.runtime.identity import plain
from qbm_jax.training.checkpoint import CheckpointNotSaved, Checkpoints

LOGGER = logging.getLogger("qbm_jax")
Report = Callable[[training.Progress], None]


class Fault(NamedTuple):
    """Why settings could not be trained together.

    Attributes:
      text: the error in words.
      setting: the one whose fault it was, if it is known.
    """

    text: str
    setting: SweepSetting | None


def run_job(
    sweep: Sweep, cells: Cells, number: int, job: Job, workdir: Path, stop: StopRequest
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
    missing = [sweep.settings[index] for index in outcomes.missing(job.settings)]
    if not missing:
        return
    folder = workdir / "checkpoints" / f"job-{number:03d}"
    folder.mkdir(parents=True, exist_ok=True)
    if lock_workdir(folder):
        remove_leftovers(folder)
    title = f"job {number}"
    LOGGER.info("%s: %d settings", title, len(missing))
    together, alone, left = missing, [], []
    while together:
        fault = _attempt(sweep, cells, together, title, folder, outcomes, stop)
        if fault is None:
            break
        LOGGER.warning("%s: %s", title, fault.text)
        failed = together if fault.setting is None else [fault.setting]
        alone += failed
        if len(together) > 1:
            left.append(checkpoint_folder(folder, together))
        together = [setting for setting in together if setting not in failed]
    for setting in alone:
        name = f"setting {setting.number} ({describe(setting.values)})"
        LOGGER.info("%s: %s is tried again, alone", title, name)
        fault = _attempt(sweep, cells, [setting], title, folder, outcomes, stop)
        if fault is not None:
            LOGGER.warning("%s: %s failed: %s", title, name, fault.text)
            outcomes.fail(setting.number, fault.text)
    for states in left:  # until here a resumed job needs them: it finds the same fault at once
        shutil.rmtree(states, ignore_errors=True)


def _attempt(
    sweep: Sweep,
    cells: Cells,
    settings: list[SweepSetting],
    title: str,
    folder: Path,
    outcomes: Outcomes,
    stop: StopRequest,
) -> Fault | None:
    """Trains and measures settings together and records them; the fault if that failed."""
    try:
        measured = measure(sweep, cells, settings, title, folder, stop)
    except training.TrainingStopped:
        raise
    except Exception as error:  # whatever one setting does, the others are still wanted
        if is_full_disk(error) or isinstance(error, WorkdirLost):
            raise
        check_held(folder)  # without its folder no setting can be trained
        LOGGER.debug("%s", title, exc_info=True)
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:2000]
        diverged = settings[error.seed] if isinstance(error, training.TrainingDiverged) else None
        return Fault(text, diverged)
    for setting, values in zip(settings, measured, strict=True):
        outcomes.finish(setting.number, values)
    shutil.rmtree(checkpoint_folder(folder, settings), ignore_errors=True)
    release_compiled()  # a sweep compiles more programs than a process can hold
    return None


def check_cells(workdir: Path, cells: Cells) -> None:
    """Checks that a worker, which reads the cells itself, has those of the sweep.

    Raises:
      InputError: it has others; the message names the parts that differ.
    """
    claim, wanted = read_claim(workdir), plain(fingerprint(cells))
    if claim is not None:
        check_same(workdir, "data", {part: claim["data"].get(part) for part in wanted}, wanted)


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error is no fault of a setting, but of a disk that does not take it."""
    return remedy(error) is not None or isinstance(error, CheckpointNotSaved)


def measure(
    sweep: Sweep,
    cells: Cells,
    settings: list[SweepSetting],
    title: str,
    folder: Path,
    stop: StopRequest,
    report: Report = lambda progress: None,
) -> list[dict[str, Any]]:
    """Scores, bound and cost of every setting, which train together on the same cells.

    Args:
      sweep: its base config says how to score.
      cells: preprocessed.
      settings: of equal shapes.
      title: of the progress bar, or before every setting's lines of the log.
      folder: where states of this training are kept.
      stop: asked after every dispatch.
      report: told of the progress, besides.

    Raises:
      InputError: options or counts that cannot be used, or a training that diverged.
      TrainingStopped: a stop was asked for; the states are saved.
    """
    start, base = time.perf_counter(), sweep.config
    found = train(cells, settings, title, folder, stop, report)
    pca = pca_embedding(cells.counts, base.evaluation.pca_components, base.seed)
    scores, notes = score_seeds(
        {"setting": [each.embedding for each in found]}, cells, uncorrected=pca, seed=base.seed,
        max_cells=base.evaluation.max_scored_cells,
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
            "notes": [*notes, *collapsed({f"setting {setting.number}": each.embedding})],
        }
        for setting, each, values in zip(settings, found, scores["setting"], strict=True)
    ]


def train(
    cells: Cells,
    settings: list[SweepSetting],
    title: str,
    folder: Path,
    stop: StopRequest,
    report: Report,
) -> list[Evaluated[FittedModel]]:
    """Trains settings together, going on from what is kept of the same ones in `folder`.

    Each is the first training of a run of its own config.
    """
    trainings = [training_of(setting.config) for setting in settings]
    num_epochs = trainings[0].options.num_epochs
    events = EventFiles(folder) if settings[0].config.tensorboard else None
    log = MetricsLog(folder / f"metrics-{_digest(settings)}.jsonl", events)
    with log, contextlib.ExitStack() as shown:
        bars = [shown.enter_context(bar) for bar in _bars(title, settings, num_epochs)]

        def on_progress(progress: training.Progress) -> None:
            bars[progress.seed].update(progress)
            setting = settings[progress.seed]
            log.record(f"setting-{setting.number:04d}", setting.config.seed, progress)
            report(progress)

        return train_and_evaluate(
            trainings,
            cells,
            [(setting.config.seed, 0) for setting in settings],
            data=device_counts(cells),
            bounds=draws_of(settings[0].config),
            while_training=stop.deferred(),
            on_progress=on_progress,
            checkpoints=Checkpoints(
                checkpoint_folder(folder, settings),
                before_save=functools.partial(check_held, folder),
            ),
            should_stop=stop,
        )


def _bars(title: str, settings: list[SweepSetting], num_epochs: int) -> list[ProgressBar]:
    """On a terminal one bar, since all settings are as far as the first; else lines of them all."""
    terminal = sys.stderr.isatty()
    return [
        ProgressBar(
            title if terminal else f"{title}, setting {setting.number}",
            num_epochs,
            enabled=place == 0 or not terminal,
        )
        for place, setting in enumerate(settings)
    ]


def checkpoint_folder(folder: Path, settings: list[SweepSetting]) -> Path:
    """Where the states of just these settings are kept: those of fewer would not fit them."""
    return folder / f"states-{_digest(settings)}"


def _digest(settings: list[SweepSetting]) -> str:
    numbers = ",".join(str(setting.number) for setting in settings)
    return f"{zlib.crc32(numbers.encode()):08x}"
