"""What experiments have in common: one is four functions, but for integration and sweeps.

    check(config)           -> a plan: everything read and known to be usable, nothing written
    pieces(plan, stop)      -> the work, a piece after another; what is on disk is not run again
    rows(plan, piece)       -> what a finished piece adds to `results.csv`, in order of `COLUMNS`
    document(plan, results) -> the report; computes nothing new

One that compares has a fifth: summary(plan, rows) -> the records of `summary.csv`, whose columns
are SUMMARY, see `study.rows.as_rows`. Two more are for experiments whose pieces hang together:

    then(plan, measured, stop)  -> further work, which follows from the pieces measured so far
    tables(plan, pieces)        -> all tables at once, in place of COLUMNS, rows and summary
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ml_collections import ConfigDict

from experiments.kit.stop import StopRequest
from experiments.kit.workdir import claim_workdir
from qbm_jax.study.document import Document
from qbm_jax.study.pace import MEASURED_ON, SECONDS_PER_STEP, seconds_left
from qbm_jax.study.pieces import Pieces
from qbm_jax.study.rows import as_rows, write_table

LOGGER = logging.getLogger("qbm_jax")
Piece = dict[str, Any]
Row = tuple[Any, ...]


class Work(NamedTuple):
    """A piece of an experiment to be measured.

    Attributes:
      section: part of the experiment.
      names: what the piece is of, such as its set and method.
      compute: key -> measurements; the key depends on section and names alone. With `keeps` also of
        a file, see `Pieces.measure`.
      given: what else the measurements depend on; a piece with other facts is made again.
      trainings: how many trainings it takes.
      steps: optimiser steps of them all; 0: not known, or nothing is trained.
      keeps: whether `compute` takes a file as well, for what it has trained so far.
    """

    section: str
    names: dict[str, Any]
    compute: Callable[..., Piece]
    given: dict[str, Any] | None = None
    trainings: int = 0
    steps: int = 0
    keeps: bool = False


class Tables(NamedTuple):
    """What is written as CSV.

    Attributes:
      columns: of `results.csv`.
      rows: of it.
      summary: records of `summary.csv`, see `rows.as_rows`; empty where there is none.
    """

    columns: Sequence[str]
    rows: list[Row]
    summary: list[Any]


class Results(NamedTuple):
    """What was measured.

    Attributes:
      workdir: where the report and its figures go.
      pieces: all of them, in the order of the work.
      rows: of `results.csv`.
      summary: records of `summary.csv`, named tuples of one kind; empty where there is none.
    """

    workdir: Path
    pieces: list[Piece]
    rows: list[Row]
    summary: list[Any]


class ExperimentPlan(Protocol):
    """What `check` returns: whatever the experiment needs, and what tells its data from others."""

    @property
    def identity(self) -> dict[str, Any]:
        """Facts that a resumed run has to share."""


class Experiment(Protocol):
    """A module with the four functions; COLUMNS and rows are as above."""

    def check(self, config: ConfigDict) -> ExperimentPlan:
        """The plan; raises InputError for what cannot be used."""

    # Each takes the plan that its own `check` returns.
    def pieces(self, plan: Any, stop: StopRequest) -> Iterable[Work]:
        """The work."""

    def document(self, plan: Any, results: Results) -> Document:
        """The report."""


def run(experiment: Experiment, config: ConfigDict, workdir: Path, stop: StopRequest) -> None:
    """Runs an experiment in `workdir`; the same call again runs only what is missing.

    Writes one JSON file a piece under `results/`, all numbers as `results.csv`, `summary.csv` where
    the experiment has one, and `report.md` with `figures/`.

    Raises:
      InputError: a config or data that cannot be used; nothing is written then.
      TrainingStopped: a stop was asked for; what was under way starts again next time.
    """
    start = time.perf_counter()
    plan = experiment.check(config)
    claim_workdir(workdir, config, plan.identity)
    pieces = Pieces(workdir, config.seed)
    measure_all(experiment.pieces(plan, stop), pieces)
    if hasattr(experiment, "then"):
        measure_all(experiment.then(plan, pieces.all, stop), pieces)
    tables = tables_of(experiment, plan, pieces.all)
    write_tables(workdir, tables, getattr(experiment, "SUMMARY", None))
    results = Results(workdir, pieces.all, tables.rows, tables.summary)
    path = experiment.document(plan, results).write()
    LOGGER.info("report: %s (%.0f s in all)", path, time.perf_counter() - start)


def measure_all(works: Iterable[Work], pieces: Pieces) -> None:
    """Measures what is not there yet; the log tells how much it is, and how far it has come."""
    works, before = list(works), len(pieces.all)
    missing = [w for w in works if not pieces.path(w.section, w.names).exists()]
    LOGGER.info("%s", outlook(missing, len(works) - len(missing)))
    measured: list[tuple[int, float]] = []
    for number, work in enumerate(works, start=1):
        piece = pieces.measure(work.section, work.names, work.compute, work.given, work.keeps)
        measured.append((work.steps, piece["seconds"]))
        left = seconds_left(measured, [each.steps for each in works[number:]])
        LOGGER.info(
            "%d of %d pieces after %.0f s of work; about %.1f min left at their pace",
            before + number, before + len(works), sum(each for _, each in measured), left / 60,
        )  # fmt: skip


def outlook(missing: Sequence[Work], there: int) -> str:
    """What is about to be measured: how many pieces and trainings, and how long that may take."""
    before = f", {there} of them measured before" if there else ""
    text = f"{len(missing) + there} pieces{before}"
    steps = sum(work.steps for work in missing)
    if steps:
        number, minutes = sum(work.trainings for work in missing), steps * SECONDS_PER_STEP / 60
        text += (
            f": {number} trainings of {steps} optimiser steps to go, about {minutes:.0f} min at "
            f"{1000 * SECONDS_PER_STEP:.0f} ms a step with its share of the scores ({MEASURED_ON})"
        )
    return f"{text}; the time left is told after every piece"


def write_tables(workdir: Path, tables: Tables, columns: Mapping[str, str] | None = None) -> None:
    """Writes `results.csv`, and `summary.csv` where there is one; its columns as in `as_rows`."""
    write_table(workdir / "results.csv", tables.columns, tables.rows)
    if lines := as_rows(tables.summary, columns):
        write_table(workdir / "summary.csv", [*lines[0]], ([*line.values()] for line in lines))


def tables_of(experiment: Any, plan: Any, pieces: list[Piece]) -> Tables:
    """The tables, from all pieces at once or piece by piece."""
    if hasattr(experiment, "tables"):
        return experiment.tables(plan, pieces)
    rows = [row for piece in pieces for row in experiment.rows(plan, piece)]
    summary = experiment.summary(plan, rows) if hasattr(experiment, "summary") else []
    return Tables(experiment.COLUMNS, rows, summary)
