"""What all experiments have in common: an experiment itself is four functions.

    check(config)           -> a plan: everything read and known to be usable, nothing written
    pieces(plan, stop)      -> the work, a piece after another; what is on disk is not run again
    rows(plan, piece)       -> what a finished piece adds to `results.csv`, in order of `COLUMNS`
    document(plan, results) -> the report; computes nothing new

One that compares has a fifth: summary(plan, rows) -> the rows of `summary.csv`.
"""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
from ml_collections import ConfigDict

from experiments.kit.pieces import Pieces
from experiments.kit.stop import StopRequest
from experiments.kit.workdir import claim_workdir
from qbm_jax.study.document import Document
from qbm_jax.study.rows import write_table

LOGGER = logging.getLogger("qbm_jax")
Piece = dict[str, Any]
Row = tuple[Any, ...]


class Work(NamedTuple):
    """A piece of an experiment to be measured.

    Attributes:
      section: part of the experiment.
      names: what the piece is of, such as its set and method.
      compute: key -> measurements; the key depends on section and names alone.
    """

    section: str
    names: dict[str, Any]
    compute: Callable[[jax.Array], Piece]


class Results(NamedTuple):
    """What was measured.

    Attributes:
      workdir: where the report and its figures go.
      pieces: all of them, in the order of the work.
      rows: of `results.csv`.
      summary: rows of `summary.csv`, named tuples of one kind; empty where there is none.
    """

    workdir: Path
    pieces: list[Piece]
    rows: list[Row]
    summary: list[Any]


class Plan(Protocol):
    """What `check` returns: whatever the experiment needs, and what tells its data from others."""

    @property
    def identity(self) -> dict[str, Any]:
        """Facts that a resumed run has to share."""


class Experiment(Protocol):
    """A module with the four functions."""

    @property
    def COLUMNS(self) -> tuple[str, ...]:
        """Names of the columns of `results.csv`."""

    def check(self, config: ConfigDict) -> Plan:
        """The plan; raises InputError for what cannot be used."""

    # Each takes the plan that its own `check` returns.
    def pieces(self, plan: Any, stop: StopRequest) -> Iterable[Work]:
        """The work."""

    def rows(self, plan: Any, piece: Piece) -> Iterable[Row]:
        """What a piece adds to the table."""

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
    work = list(experiment.pieces(plan, stop))
    for number, (section, names, compute) in enumerate(work, start=1):
        pieces.measure(section, names, compute)
        seconds = time.perf_counter() - start
        LOGGER.info("%d of %d pieces after %.0f s", number, len(work), seconds)
    rows = [row for piece in pieces.all for row in experiment.rows(plan, piece)]
    write_table(workdir / "results.csv", experiment.COLUMNS, rows)
    summary: list[Any] = []
    if hasattr(experiment, "summary"):
        summary = experiment.summary(plan, rows)
        header = summary[0]._fields if summary else ()
        write_table(workdir / "summary.csv", header, summary)
    path = experiment.document(plan, Results(workdir, pieces.all, rows, summary)).write()
    LOGGER.info("report: %s (%.0f s in all)", path, time.perf_counter() - start)
