"""The tasks by name: what each needs of a set, and all of them on one group of trainings."""

from ml_collections import ConfigDict

from experiments.comparison import embedding_tasks, model_tasks
from experiments.comparison.measured import Measured, Shared, Task, merged
from experiments.comparison.methods import Method, listed
from experiments.comparison.sets import StudySet
from experiments.comparison.trainings import NUM_FOLDS, Group
from experiments.kit.faults import by_seed, collapsed
from qbm_jax.errors import InputError
from qbm_jax.metrics.clustering import leiden_clusters
from qbm_jax.metrics.folds import batch_folds, check_folds
from qbm_jax.metrics.rare_types import rare_types
from qbm_jax.runtime import optional

TASKS: dict[str, Task] = {
    "integration": embedding_tasks.integration,
    "classification": embedding_tasks.classification,
    "trajectory": embedding_tasks.trajectory,
    "rare": embedding_tasks.rare,
    "energy": model_tasks.energy,
    "generation": model_tasks.generation,
    "bound": model_tasks.bound,
}

BY_TREES = ("classification", "rare", "generation")


def missing(task: str, study: StudySet) -> str:
    """What the set lacks for this task, in words; "" if nothing."""
    if task in BY_TREES and not optional.installed("xgboost"):
        return optional.lacking("xgboost")
    try:
        if task in ("classification", "rare"):
            check_folds(study.labels, NUM_FOLDS)
        if task == "classification":
            batch_folds(study.donors)
        if task == "rare":
            rare_types(study.labels)
    except InputError as error:
        return str(error)
    if task == "integration" and len(set(study.batch)) < 2:
        return "one batch only: there is nothing to integrate"
    if task == "trajectory" and study.reference is None:
        return "no root type: give its sets entry a root"
    return ""


def wanted(config: ConfigDict, study: StudySet) -> tuple[list[str], list[str]]:
    """The tasks to run on a set, and one sentence for each that "auto" leaves out.

    Tasks asked for in `config.tasks` go before the set's own.

    Raises:
      InputError: a task asked for by name is unknown, or the set lacks what it needs.
    """
    asked = config.sets[study.name].tasks if config.tasks == "auto" else config.tasks
    if asked == "auto":
        lacks = {task: missing(task, study) for task in TASKS}
        notes = [f"{study.name}: {task} is left out: {why}." for task, why in lacks.items() if why]
        return [task for task, why in lacks.items() if not why], notes
    names = listed(asked)
    for task in names:
        if task not in TASKS:
            known = ", ".join(TASKS)
            raise InputError(f"unknown task {task!r} in config.tasks; choose from auto, {known}")
        if why := missing(task, study):
            raise InputError(f"{study.name}: task {task} cannot run: {why}")
    return names, []


def measure(
    config: ConfigDict, study: StudySet, method: Method, group: Group, names: list[str]
) -> Measured:
    """All wanted tasks of a group."""
    clusters, named = [], []
    if {"integration", "rare"} & set(names):
        clusters = [leiden_clusters(points) for points in group.embeddings]
    if {"classification", "rare"} & set(names):
        named = embedding_tasks.name_held_out(config, study, group)
    shared = Shared(clusters, named)
    results = [TASKS[name](config, study, method, group, shared) for name in names]
    faults = collapsed(by_seed(method.label, group.embeddings)) if group.models else []
    return merged([*results, Measured([], faults, {})])
