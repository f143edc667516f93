"""Tasks by name: what each needs of a set, and all of them on one group of trainings."""

from qbm_jax.errors import InputError
from qbm_jax.fitted.tasks import embedding, model
from qbm_jax.fitted.tasks.measured import Measured, Scale, Shared, Task, merged
from qbm_jax.fitted.tasks.study_set import NUM_FOLDS, Group, StudySet
from qbm_jax.metrics.clustering import leiden_clusters
from qbm_jax.metrics.folds import batch_folds, check_folds
from qbm_jax.metrics.rare_types import rare_types

TASKS: dict[str, Task] = {
    "integration": embedding.integration,
    "classification": embedding.classification,
    "trajectory": embedding.trajectory,
    "rare": embedding.rare,
    "energy": model.energy,
    "generation": model.generation,
    "bound": model.bound,
    "couplings": model.couplings,
}
BY_TREES = ("classification", "rare", "generation")


def missing(task: str, study: StudySet) -> str:
    """What the set lacks for this task, in words; "" if nothing."""
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
    if task == "couplings" and not study.of_the_prior:
        return "no couplings are planted in these cells"
    if task == "trajectory" and study.reference is None:
        return "no root type, where trajectories start, is given"
    return ""


def measure(scale: Scale, study: StudySet, group: Group, names: list[str]) -> Measured:
    """All these tasks of `TASKS` on a group of trainings.

    Args:
      scale: how much of each task.
      study: the cells that the group was trained on, with what the tasks need (see `missing`).
      group: all seeds of one method.
      names: of tasks.

    Raises:
      InputError: the set lacks what a task needs.
    """
    for name in names:
        if why := missing(name, study):
            raise InputError(f"{study.name}: task {name} cannot run: {why}")
    clusters, named = [], []
    if {"integration", "rare"} & set(names):
        clusters = [leiden_clusters(points) for points in group.embeddings]
    if {"classification", "rare"} & set(names):
        named = embedding.name_held_out(scale, study, group)
    shared = Shared(clusters, named)
    return merged([TASKS[name](scale, study, group, shared) for name in names])
