"""The benchmark: every method, task and data set, matched and at defaults, paired over seeds."""

import logging
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.comparison import embedding_tasks, model_tasks, trainings
from experiments.comparison import report as comparison_report
from experiments.comparison import sets as comparison_sets
from experiments.comparison import tasks as comparison_tasks
from experiments.comparison.measured import Measured
from experiments.comparison.methods import PEERS, UNTRAINED, Method, listed, methods
from experiments.comparison.sets import StudySet
from experiments.comparison.summary import COLUMNS, REAL_CELLS, Cell, summarise
from experiments.kit.pieces import Pieces
from experiments.kit.stop import StopRequest
from experiments.kit.tables import write_table
from experiments.kit.workdir import claim_workdir, flatten
from qbm_jax.errors import InputError
from qbm_jax.model.presets import PRESETS

LOGGER = logging.getLogger("qbm_jax")
FEWEST_GENERATED = 20  # cells of a batch that generation can be scored on


def run(config: ConfigDict, workdir: Path, stop: StopRequest) -> None:
    """Runs the benchmark in `workdir`; the same call again runs only what is missing.

    Writes one JSON file per set, method and protocol under `results/`, all numbers as
    `results.csv`, means and paired differences as `summary.csv`, and `report.md` with `figures/`.

    Raises:
      InputError: a config or a set that cannot be used; nothing is written then.
      TrainingStopped: a stop was asked for; a training under way starts again next time.
    """
    start = time.perf_counter()
    check(config)
    rows = methods(config)
    studies, notes = comparison_sets.load_all(config)
    wanted = {}
    for study in studies:
        wanted[study.name], left_out = comparison_tasks.wanted(config, study)
        notes += left_out
    for note in notes:
        LOGGER.info("%s", note)
    claim_workdir(workdir, config, comparison_sets.identity(config, studies))
    pieces = Pieces(workdir, config.seed)
    jobs = [(study, method) for study in studies for method in rows]
    for number, (study, method) in enumerate(jobs, start=1):
        measure(config, pieces, study, method, wanted[study.name], stop)
        LOGGER.info("%d of %d groups after %.0f s", number, len(jobs), time.perf_counter() - start)
    for study in studies:
        if "generation" in wanted[study.name]:
            measure_ceiling(config, pieces, study)
    notes += [note for method in rows for note in method.notes]
    finish(config, workdir, pieces.all, studies, notes)
    LOGGER.info("report: %s (%.0f s in all)", workdir / "report.md", time.perf_counter() - start)


def check(config: ConfigDict) -> None:
    """Raises InputError for a number that has to be larger, or a method that is none."""
    check_counts(config)
    if config.gaussian_latents < 2:
        raise InputError(
            f"config.gaussian_latents must be at least 2, got {config.gaussian_latents}"
        )
    for name in listed(config.evaluation.left_out_methods):
        if name not in PRESETS:
            known = ", ".join(PRESETS)
            raise InputError(
                f"unknown method {name!r} in config.evaluation.left_out_methods; "
                f"choose from {known}"
            )


def check_counts(config: ConfigDict) -> None:
    """Raises InputError for a number that has to be larger; what attribution checks as well."""
    least = {
        "num_seeds": 2,
        "num_genes": 2,
        "num_steps": 1,
        "evaluation.max_generated": FEWEST_GENERATED,
    }
    least |= {
        f"evaluation.{name}": 1
        for name, value in config.evaluation.items()
        if isinstance(value, int) and name != "max_generated"
    }
    values = flatten(config.to_dict())
    for name, smallest in least.items():
        if values[name] < smallest:
            raise InputError(f"config.{name} must be at least {smallest}, got {values[name]}")


def measure(
    config: ConfigDict,
    pieces: Pieces,
    study: StudySet,
    method: Method,
    tasks: list[str],
    stop: StopRequest,
) -> None:
    """All protocols of one method on one set; what is on disk is not run again."""
    seeds = range(config.num_seeds)
    names = {"dataset": study.name, "method": method.name, "setting": method.setting}

    def group(held_out: list[np.ndarray]) -> trainings.Group:
        if method.name in PEERS:
            return trainings.peer_group(config, study, held_out, stop)
        if method.model is None:
            return trainings.untrained_group(config, study, method, held_out)
        return trainings.train_group(config, study, method, held_out, stop)

    def folds(key: jax.Array) -> dict[str, Any]:
        del key  # seeds are the same for all methods, so that they are paired
        trained = group([trainings.fold_cells(study, seed, config.seed) for seed in seeds])
        return written(comparison_tasks.measure(config, study, method, trained, tasks), trained)

    def donors(key: jax.Array) -> dict[str, Any]:
        del key
        trained = group(trainings.donors_held_out(study, config.num_seeds))
        return written(embedding_tasks.donors(config, study, trained), trained)

    def left_out(key: jax.Array) -> dict[str, Any]:
        del key
        held_out = [trainings.type_and_fold_cells(study, seed, config.seed) for seed in seeds]
        trained = group(held_out)
        return written(model_tasks.left_out_type(config, study, trained), trained)

    pieces.measure("folds", names, folds)
    matched = method.setting == "matched"
    if "classification" in tasks and (matched or method.name in (*UNTRAINED, *PEERS)):
        pieces.measure("donors", names, donors)
    asked = method.name in listed(config.evaluation.left_out_methods) and matched
    if asked and "energy" in tasks and study.left_out_type:
        pieces.measure("left_out_type", names, left_out)


def measure_ceiling(config: ConfigDict, pieces: Pieces, study: StudySet) -> None:
    """What cells of the study itself would score as generated ones."""

    def ceiling(key: jax.Array) -> dict[str, Any]:
        del key
        held_out = [trainings.fold_cells(study, s, config.seed) for s in range(config.num_seeds)]
        measured = model_tasks.real_cells(config, study, held_out)
        return measured._asdict() | {"training_seconds": 0.0}

    method, setting = REAL_CELLS
    names = {"dataset": study.name, "method": method, "setting": setting}
    pieces.measure("ceiling", names, ceiling)


def written(measured: Measured, group: trainings.Group) -> dict[str, Any]:
    """A piece as JSON."""
    return {
        "rows": measured.rows,
        "notes": measured.notes,
        "pictures": measured.pictures,
        "training_seconds": group.seconds,
    }


def finish(
    config: ConfigDict,
    workdir: Path,
    pieces: list[dict[str, Any]],
    studies: list[StudySet],
    notes: list[str],
) -> None:
    """Writes both tables, the figures and the report; measures nothing."""
    rows = [
        dict(zip(COLUMNS, (piece["dataset"], piece["method"], piece["setting"], *row), strict=True))
        for piece in pieces
        for row in piece["rows"]
    ]
    cells = summarise([row for row in rows if row["value"] is not None])
    write_table(workdir / "results.csv", COLUMNS, [tuple(row.values()) for row in rows])
    write_table(workdir / "summary.csv", Cell._fields, cells)
    for piece in pieces:
        notes += [f"{piece['dataset']}: {note}" for note in piece["notes"]]
    facts = comparison_report.Facts(config, studies, pieces, cells, list(dict.fromkeys(notes)))
    comparison_report.write(workdir, facts)
