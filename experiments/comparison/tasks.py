"""The tasks that a config asks for, and all of them on one group of trainings."""

from ml_collections import ConfigDict

from experiments.kit.faults import alarmed, by_seed, done_again
from experiments.kit.options import listed
from qbm_jax.errors import InputError
from qbm_jax.fitted import alarms, tasks
from qbm_jax.fitted.tasks import TASKS, missing
from qbm_jax.fitted.tasks.measured import Measured, Scale, merged
from qbm_jax.fitted.tasks.study_set import Group, StudySet
from qbm_jax.runtime.options import check, choice


def scale_of(config: ConfigDict) -> Scale:
    """The run's seed, and the fields of config.evaluation that say how much of each task."""
    fields = [name for name in Scale._fields if name != "seed"]
    return Scale(config.seed, **{name: config.evaluation[name] for name in fields})


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
    names = [check("config.tasks", task, choice(TASKS)) for task in listed(asked)]
    for task in names:
        if why := missing(task, study):
            raise InputError(f"{study.name}: task {task} cannot run: {why}")
    return names, []


def measure(config: ConfigDict, study: StudySet, group: Group, names: list[str]) -> Measured:
    """All wanted tasks of a group, and its alarms."""
    measured = tasks.measure(scale_of(config), study, group, names)
    trained = zip(group.models, group.embeddings, strict=True) if group.models else ()
    found = [alarms.of_model(model, points, study.cells) for model, points in trained]
    retried = done_again(by_seed(group.label, group.again))
    return merged([measured, Measured([], retried + alarmed(by_seed(group.label, found)), {})])
