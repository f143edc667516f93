"""What a comparison is going to do: its sets, methods and tasks, all known to be usable."""

import logging
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.comparison import sets, tasks
from experiments.comparison.methods import OF_BATCHES, Method
from experiments.kit.options import check_least
from qbm_jax.data import check_likelihood
from qbm_jax.fitted.tasks import BY_TREES
from qbm_jax.fitted.tasks.study_set import StudySet
from qbm_jax.metrics.trees import classifier, substitution
from qbm_jax.samplers.base import check_steps

LOGGER = logging.getLogger("qbm_jax")
FEWEST_GENERATED = 20  # cells of a batch that generation can be scored on


class ComparisonPlan(NamedTuple):
    """A comparison of methods on sets.

    Attributes:
      config: of the run.
      studies: the sets that are there.
      methods: what is compared on each.
      tasks: names of the tasks, by set.
      notes: what is left out, and why.
    """

    config: ConfigDict
    studies: list[StudySet]
    methods: list[Method]
    tasks: dict[str, list[str]]
    notes: list[str]

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the sets from others, and trees that stand in for the paper's from these."""
        found = sets.identity(self.config, self.studies)
        return found | {"trees": classifier()} if self.substituted else found

    @property
    def substituted(self) -> str:
        """What is to be said of the classifier; "" where it is the paper's, or not asked for."""
        asked = {name for names in self.tasks.values() for name in names}
        return substitution() if asked & set(BY_TREES) else ""

    def methods_on(self, study: StudySet) -> list[Method]:
        """The methods that can embed a set: some need two batches."""
        one = len(set(study.batch)) == 1
        return [method for method in self.methods if not (one and method.name in OF_BATCHES)]

    @property
    def simulated(self) -> list[str]:
        """Names of the sets whose cells are simulated."""
        return [study.name for study in self.studies if study.cells.simulated]


def load(config: ConfigDict, methods: list[Method], with_tasks: bool = True) -> ComparisonPlan:
    """The plan, with every set read; without tasks where the experiment has its own.

    Raises:
      InputError: a set or a task that is unknown or cannot be used.
    """
    config = sets.with_own_files(config)
    studies, notes = sets.load_all(config)
    for study in studies:
        for method in methods:
            if method.record is not None:
                model = method.record.model
                check_likelihood(study.cells, model.likelihood, model.num_categories)
    wanted = {}
    for study in studies if with_tasks else ():
        wanted[study.name], left_out = tasks.wanted(config, study)
        notes += left_out
    plan = ComparisonPlan(config, studies, methods, wanted, notes)
    notes += [
        f"{study.name}: {method.name} is left out: one batch only."
        for study in studies for method in methods if method not in plan.methods_on(study)
    ]  # fmt: skip
    if plan.substituted:
        LOGGER.warning("%s", plan.substituted)
        notes.append(plan.substituted)
    return plan


def check_counts(config: ConfigDict) -> None:
    """Raises InputError for a number that has to be larger, or needs more memory than there is."""
    least = {
        "num_seeds": 2,
        "num_genes": 2,
        "num_steps": 0,
        "evaluation.max_generated": FEWEST_GENERATED,
    }
    least |= {
        f"evaluation.{name}": 1
        for name, value in config.evaluation.items()
        if isinstance(value, int) and name != "max_generated"
    }
    check_least(config, least)
    steps = ("log_z_temperatures", "importance_samples")
    check_steps(**{f"config.evaluation.{name}": config.evaluation[name] for name in steps})
