"""The benchmark: every method, task and data set, matched and at defaults, paired over seeds."""

from collections.abc import Iterable, Iterator
from functools import partial

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.comparison import plan as comparison_plan
from experiments.comparison import report as comparison_report
from experiments.comparison import tasks as comparison_tasks
from experiments.comparison import trainings
from experiments.comparison.methods import PEERS, UNTRAINED, Method, methods
from experiments.comparison.plan import ComparisonPlan, check_counts
from experiments.comparison.summary import REAL_CELLS, SUMMARY, summarise
from experiments.kit.options import check_least, listed, names_of
from experiments.kit.runner import Piece, Results, Row, Work
from experiments.kit.stop import StopRequest
from qbm_jax.fitted.tasks import embedding, model, study_set
from qbm_jax.fitted.tasks.measured import Measured
from qbm_jax.fitted.tasks.study_set import StudySet
from qbm_jax.model.presets import PRESETS
from qbm_jax.study.document import Document
from qbm_jax.study.standing import COLUMNS, Standing

__all__ = ["COLUMNS", "SUMMARY", "check", "document", "pieces", "rows", "summary"]


def check(config: ConfigDict) -> ComparisonPlan:
    """The methods and the sets.

    Raises:
      InputError: a number that has to be larger, a method that is none, or a set that cannot be
        used.
    """
    check_counts(config)
    check_least(config, {"gaussian_latents": 2})
    known = ("pca", *PRESETS)  # the others have seen all cells
    for field in ("left_out_methods", "drawn_methods"):
        names_of(config, f"evaluation.{field}", known)
    return comparison_plan.load(config, methods(config))


def pieces(plan: ComparisonPlan, stop: StopRequest) -> Iterator[Work]:
    """A piece a set, method and protocol; at the end what real cells would score."""
    for study in plan.studies:
        for method in plan.methods_on(study):
            names = {"dataset": study.name, "method": method.name, "setting": method.setting}
            for protocol in protocols(plan, study, method):
                held_out = held_out_by(plan.config, study, protocol)
                options = trainings.options_on(plan.config, study, method, held_out)
                steps = trainings.steps_of(options, study, held_out)
                compute = partial(measure, plan, study, method, protocol, held_out, stop)
                lacking = f"{method.label} has no numbers of protocol {protocol}"
                compute = partial(trainings.or_note, study, lacking, compute)
                yield Work(protocol, names, compute, None, len(held_out) if steps else 0, steps)
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
    chosen = method.name in listed(plan.config.evaluation.left_out_methods)
    chosen = chosen and (matched or method.name in UNTRAINED)
    if chosen and "energy" in asked and study.left_out_type:
        yield "left_out_type"


def held_out_by(config: ConfigDict, study: StudySet, protocol: str) -> list[np.ndarray]:
    """The cells [held-out cells] that each seed holds out."""
    seeds = range(config.num_seeds)
    if protocol == "donors":
        return study_set.donors_held_out(study, config.num_seeds)
    cells = {"folds": study_set.fold_cells, "left_out_type": study_set.type_and_fold_cells}
    return [cells[protocol](study, seed, config.seed) for seed in seeds]


def measure(
    plan: ComparisonPlan,
    study: StudySet,
    method: Method,
    protocol: str,
    held_out: list[np.ndarray],
    stop: StopRequest,
    key: jax.Array,
) -> Piece:
    """One protocol of one method on one set; seeds have the same keys, so methods are paired."""
    del key
    config = plan.config
    if method.name in PEERS:
        group = trainings.peer_group(config, study, held_out, stop)
    elif method.record is None:
        group = trainings.untrained_group(config, study, method, held_out)
    else:
        group = trainings.train_group(config, study, method, held_out, stop)
    if protocol == "folds":
        asked = plan.tasks[study.name]
        measured = comparison_tasks.measure(config, study, group, asked)
    else:
        task = {"donors": embedding.donors, "left_out_type": model.left_out_type}
        scale = comparison_tasks.scale_of(config)
        measured = task[protocol](scale, study, group)
        if protocol == "donors" and method.name in listed(config.evaluation.drawn_methods):
            measured.pictures["donor_layout"] = embedding.donor_layout(scale, study, group)
    return written(measured, group.seconds)


def measure_ceiling(config: ConfigDict, study: StudySet, key: jax.Array) -> Piece:
    """What cells of the study itself would score as generated ones."""
    del key
    held_out = held_out_by(config, study, "folds")
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
    used = {
        (study.name, protocol): held_out_by(plan.config, study, protocol)
        for study in plan.studies
        for method in plan.methods_on(study)
        for protocol in protocols(plan, study, method)
    }
    sizes = {study.name: study.cells.num_cells for study in plan.studies}
    shares = {
        key: float(np.mean([len(cells) / (sizes[key[0]] - len(cells)) for cells in held_out]))
        for key, held_out in used.items()
    }
    known = (dict(zip(COLUMNS, row, strict=True)) for row in rows if row[-1] is not None)
    return summarise(known, shares, [study.name for study in plan.studies if study.tuned_on])


def document(plan: ComparisonPlan, results: Results) -> Document:
    """Verdicts first, then tables and figures."""
    return comparison_report.write(plan, results)
