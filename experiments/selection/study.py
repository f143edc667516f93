"""Which cells to label, keep or train on: every way to choose, paired over seeds, and the audit.

A run that is killed keeps its finished pieces. Models live in memory alone
(`trained.TrainedModels`): where it goes on in the middle of a set, all seeds of the set are trained
again, the same ones. The log's outlook counts these trainings with the set's first piece, finished
or not.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.comparison import plan as comparison_plan
from experiments.comparison.methods import Method
from experiments.comparison.methods import methods as model_methods
from experiments.comparison.plan import ComparisonPlan
from experiments.comparison.trainings import options_on, or_note, steps_of
from experiments.energies.sources import MNIST
from experiments.kit.options import check_least, in_config_words, listed, names_of
from experiments.kit.runner import Piece, Results, Row, Work
from experiments.kit.stop import StopRequest
from experiments.kit.workdir import flatten
from experiments.selection import report, tasks
from experiments.selection.standings import IMAGES, SUMMARY, Rivals, standings
from experiments.selection.trained import TrainedModels
from qbm_jax.data import folder
from qbm_jax.errors import InputError
from qbm_jax.fitted.tasks.study_set import StudySet, fold_cells
from qbm_jax.metrics.trees import substitution
from qbm_jax.model import priors
from qbm_jax.runtime.identity import digest_of
from qbm_jax.runtime.options import check as check_option
from qbm_jax.runtime.options import from_dict, whole
from qbm_jax.samplers.base import check_steps
from qbm_jax.selection import audit
from qbm_jax.selection.methods import METHODS, SelectionMethod, available
from qbm_jax.selection.options import SelectionOptions
from qbm_jax.selection.scores import CLASSIFIERS
from qbm_jax.study.document import Document
from qbm_jax.study.standing import COLUMNS

__all__ = ["COLUMNS", "SUMMARY", "check", "document", "pieces", "rows", "summary"]
LEAST = {
    "num_seeds": 2, "training_seeds": 0, "num_genes": 2, "num_steps": 0, "max_pool": 30,
    "audit.num_subsets": 3, "audit.num_instances": 1,
    "images.pool": tasks.COMPONENTS, "images.test": 1, "images.block_size": 2,
    "evaluation.posterior_draws": 1, "evaluation.max_scored_cells": 1,
}  # fmt: skip


class SelectionPlan(NamedTuple):
    """What is going to be chosen from, and how.

    Attributes:
      comparison: the sets and the model.
      methods: ways to choose by name, those whose packages are there.
      notes: what is left out, and why.
      images: path of the images; None: they are not there, or not asked for.
      trained: embeddings of the set at hand.
    """

    comparison: ComparisonPlan
    methods: dict[str, SelectionMethod]
    notes: list[str]
    images: Path | None
    trained: TrainedModels

    @property
    def config(self) -> ConfigDict:
        """Of the run."""
        return self.comparison.config

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the sets from others, and the methods that are there."""
        return self.comparison.identity | {
            "selection methods": digest_of(np.array(sorted(self.methods)))
        }


def check(config: ConfigDict) -> SelectionPlan:
    """The sets, the model and the ways to choose.

    Raises:
      InputError: an unknown method, a number that has to be larger, or a set that cannot be used.
    """
    _check_numbers(config)
    solver = config.solver.to_dict()
    with in_config_words({"solver": solver}):
        from_dict(SelectionOptions, "selection", solver)
    ways = names_of(config, "ways", METHODS)
    classifiers = names_of(config, "classifiers", CLASSIFIERS)
    if not ways or not classifiers:
        raise InputError("config.ways and config.classifiers must name one or more each")
    others = [name for name, method in METHODS.items() if not method.utility]
    for field in ("training_methods", "images.methods"):  # there are no utilities
        ways = ways + names_of(config, field, others)
    names_of(config, "training_sets", list(config.sets))
    methods, notes = available(list(dict.fromkeys(ways)))
    if "trees" in classifiers and (said := substitution()):
        notes.append(said)
    models = model_methods(config)
    if len(models) != 1 or not _of_spins(models[0]):
        names = ", ".join(each.label for each in models)
        raise InputError(
            f"config.methods and config.settings must name one model of spins, got {names}"
        )
    comparison = comparison_plan.load(config, models, with_tasks=False)
    pools = [len(tasks.pool_of(config, study, 0)) for study in comparison.studies]
    with in_config_words({"audit.small": ()}):
        audit.check_size(config.audit.small, min(pools, default=config.max_pool))
    file = folder.find(config.folder, MNIST) if config.images.budgets else None
    if file is not None:
        with np.load(file) as arrays:
            for field, part in (("pool", "train"), ("test", "test")):
                kind = whole(1, len(arrays[f"{part}_labels"]))
                check_option(f"config.images.{field}", config.images[field], kind)
    if config.images.budgets and file is None:
        notes.append(f"{IMAGES} is left out: {folder.missing(config.folder, MNIST)}.")
    return SelectionPlan(comparison, methods, [*notes, *comparison.notes], file, TrainedModels())


def _check_numbers(config: ConfigDict) -> None:
    """Raises InputError for a number that cannot be, before any set is read."""
    check_least(config, LEAST)
    number = config.evaluation.log_z_temperatures
    check_steps(**{"config.evaluation.log_z_temperatures": number})
    kinds = dict.fromkeys(("budgets", "training_budgets"), whole(1))
    for field, kind in (kinds | {"images.budgets": whole(1, config.images.pool // 2)}).items():
        for each in flatten(config.to_dict())[field]:
            check_option(f"config.{field}", each, kind)


def _of_spins(method: Method) -> bool:
    return method.record is not None and priors.build(method.training.model.prior).binary


def pieces(plan: SelectionPlan, stop: StopRequest) -> Iterator[Work]:
    """A set's pieces: labels and sketches of each seed, the audit, trainings on chosen cells."""
    config, (method,) = plan.config, plan.comparison.methods
    ways = {name: plan.methods[name] for name in listed(config.ways) if name in plan.methods}

    def of_models(
        study: StudySet, lacking: str, measure: Callable[..., Piece], *rest: Any
    ) -> Callable[[jax.Array], Piece]:
        def compute(key: jax.Array) -> Piece:
            del key
            return measure(config, study, plan.trained.of(config, study, method, stop), *rest)

        return partial(or_note, study, f"{study.name} has no {lacking}", compute)

    for study in plan.comparison.studies:
        names = {"dataset": study.name}
        held_out = [fold_cells(study, seed, config.seed) for seed in range(config.num_seeds)]
        steps = steps_of(options_on(config, study, method, held_out), study, held_out)
        for seed in range(config.num_seeds):
            lacking = f"choices of seed {seed}"
            labels = of_models(study, lacking, tasks.labels_and_sketches, ways, seed)
            first = (config.num_seeds, steps) if seed == 0 else (0, 0)  # trains all seeds
            yield Work("labels", names | {"seed": seed}, labels, None, *first)
        audited = of_models(study, "audit", tasks.audited)
        yield Work("audit", names, audited, {"utility": audit.UTILITY})
        if study.name in listed(config.training_sets):
            compute = partial(_training_data, plan, study, method, stop)
            compute = partial(or_note, study, f"{study.name} has no trainings on choices", compute)
            choices = 1 + len(listed(config.training_methods)) * len(config.training_budgets)
            number = config.training_seeds * choices
            yield Work("training", names, compute, None, number, number * config.num_steps)
    if plan.images is not None:
        compute = partial(_images, plan)
        yield Work("images", {"dataset": IMAGES}, compute)


def _training_data(
    plan: SelectionPlan, study: StudySet, method: Method, stop: StopRequest, key: jax.Array
) -> Piece:
    del key
    return tasks.training_data(plan.config, study, method, plan.methods, stop)


def _images(plan: SelectionPlan, key: jax.Array) -> Piece:
    del key
    return tasks.images(plan.config, str(plan.images), plan.methods)


def rows(plan: SelectionPlan, piece: Piece) -> Iterator[Row]:
    """A row a method, setting, metric and seed."""
    del plan
    return ((piece["dataset"], *row) for row in piece["rows"])


def summary(plan: SelectionPlan, rows: Iterable[Row]) -> list[Rivals]:
    """Means and paired differences to random and to the best baseline."""
    del plan
    return standings([dict(zip(COLUMNS, row, strict=True)) for row in rows])


def document(plan: SelectionPlan, results: Results) -> Document:
    """The verdict on greedy first, then tables and figures."""
    return report.write(results, plan.notes, plan.comparison.simulated)
