"""The benchmark: every method, task and data set, matched and at defaults, paired over seeds."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.comparison import plan as comparison_plan
from experiments.comparison import report as comparison_report
from experiments.comparison import tasks as comparison_tasks
from experiments.comparison import trainings
from experiments.comparison.methods import PEERS, UNTRAINED, Method, listed, methods
from experiments.comparison.plan import ComparisonPlan, check_counts
from experiments.comparison.summary import COLUMNS, REAL_CELLS, Standing, summarise
from experiments.kit.options import check_least
from experiments.kit.runner import Piece, Results, Row, Work
from experiments.kit.stop import StopRequest
from qbm_jax.errors import InputError
from qbm_jax.fitted.tasks import embedding, model, study_set
from qbm_jax.fitted.tasks.measured import Measured
from qbm_jax.fitted.tasks.study_set import StudySet
from qbm_jax.model.presets import PRESETS
from qbm_jax.study.document import Document

__all__ = ["COLUMNS", "check", "document", "pieces", "rows", "summary"]


def check(config: ConfigDict) -> ComparisonPlan:
    """The methods and the sets.

    Raises:
      InputError: a number that has to be larger, a method that is none, or a set that cannot be
        used.
    """
    check_counts(config)
    check_least(config, {"gaussian_latents": 2})
    for name in listed(config.evaluation.left_out_methods):
        if name not in PRESETS:
            known = ", ".join(PRESETS)
            raise InputError(
                f"unknown method {name!r} in config.evaluation.left_out_methods; "
                f"choose from {known}"
            )
    return comparison_plan.load(config, methods(config))


def pieces(plan: ComparisonPlan, stop: StopRequest) -> Iterator[Work]:
    """A piece a set, method and protocol; at the end what real cells would score."""
    for study in plan.studies:
        for method in plan.methods:
            names = {"dataset": study.name, "method": method.name, "setting": method.setting}
            for protocol in protocols(plan, study, method):
                yield Work(protocol, names, partial(measure, plan, study, method, protocol, stop))
    for study in plan.studies:
        if "generation" in plan.tasks[study.name]:
            names = {"dataset": study.name, "method": REAL_CELLS[0], "setting": REAL_CELLS[1]}
            yield Work("ceiling", names, partial(measure_ceiling, plan.config, study))


def protocols(plan: ComparisonPlan, study: StudySet, method: Method) -> Iterator[str]:
    """What a method leaves out in training: a fold, and for some tasks donors or a type."""
    asked, matched = plan.tasks[study.name], method.setting == "matched"
    yield "folds"
    if "classification" in asked and (matched or method.name in (*UNTRAINED, *PEERS)):
        yield "donors"
    chosen = method.name in listed(plan.config.evaluation.left_out_methods) and matched
    if chosen and "energy" in asked and study.left_out_type:
        yield "left_out_type"


def measure(
    plan: ComparisonPlan,
    study: StudySet,
    method: Method,
    protocol: str,
    stop: StopRequest,
    key: jax.Array,
) -> Piece:
    """One protocol of one method on one set; seeds have the same keys, so methods are paired."""
    del key
    config, seeds = plan.config, range(plan.config.num_seeds)
    held_out: Callable[[], list[np.ndarray]] = {
        "folds": lambda: [study_set.fold_cells(study, s, config.seed) for s in seeds],
        "donors": lambda: study_set.donors_held_out(study, config.num_seeds),
        "left_out_type": lambda: [
            study_set.type_and_fold_cells(study, s, config.seed) for s in seeds
        ],
    }[protocol]
    if method.name in PEERS:
        group = trainings.peer_group(config, study, held_out(), stop)
    elif method.record is None:
        group = trainings.untrained_group(config, study, method, held_out())
    else:
        group = trainings.train_group(config, study, method, held_out(), stop)
    if protocol == "folds":
        asked = plan.tasks[study.name]
        measured = comparison_tasks.measure(config, study, group, asked)
    else:
        task = {"donors": embedding.donors, "left_out_type": model.left_out_type}
        measured = task[protocol](comparison_tasks.scale_of(config), study, group)
    return written(measured, group.seconds)


def measure_ceiling(config: ConfigDict, study: StudySet, key: jax.Array) -> Piece:
    """What cells of the study itself would score as generated ones."""
    del key
    held_out = [study_set.fold_cells(study, s, config.seed) for s in range(config.num_seeds)]
    return written(model.real_cells(comparison_tasks.scale_of(config), study, held_out), 0.0)


def written(measured: Measured, seconds: float) -> Piece:
    """A piece as JSON."""
    return measured._asdict() | {"training_seconds": seconds}


def rows(plan: ComparisonPlan, piece: Piece) -> Iterator[Row]:
    """A row a task, metric and seed."""
    del plan
    return ((piece["dataset"], piece["method"], piece["setting"], *row) for row in piece["rows"])


def summary(plan: ComparisonPlan, rows: Iterable[Row]) -> list[Standing]:
    """Means and paired differences."""
    del plan
    return summarise(dict(zip(COLUMNS, row, strict=True)) for row in rows if row[-1] is not None)


def document(plan: ComparisonPlan, results: Results) -> Document:
    """Verdicts first, then tables and figures."""
    return comparison_report.write(plan, results)
