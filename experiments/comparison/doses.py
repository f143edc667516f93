"""Dose-response of a comparison's reference: its J is changed after training, see `tasks.doses`."""

from collections.abc import Iterable

import jax
import numpy as np

from experiments.comparison import tasks as comparison_tasks
from experiments.comparison import trainings
from experiments.comparison.methods import Method
from experiments.comparison.plan import ComparisonPlan
from experiments.kit.options import filled
from experiments.kit.runner import Piece
from experiments.kit.stop import StopRequest
from qbm_jax.fitted import tasks
from qbm_jax.fitted.tasks.doses import UNCHANGED, dosed, doses
from qbm_jax.fitted.tasks.study_set import StudySet

SECTION = "doses"  # of pieces
AXIS = "prior after training"
TOLD = (
    "J of the trained reference is multiplied, or its entries put in random places, without any"
    " further training; or J and h are divided by a temperature. Energies, bound and generated"
    " cells are those of the changed prior. The"
    " encoder does not read J: scores of the embedding are of mean spins read once more with the"
    " prior's field, m' = tanh(J m + h + l / 2), at every dose, so they differ from those above."
    f" Differences are to {UNCHANGED}, paired over seeds, with 95 % intervals."
)


def names_of(study: StudySet, asked: Iterable[str]) -> list[str]:
    """Tasks that are measured at each dose: those asked for, and generation where it can be."""
    names = dict.fromkeys((*asked, "generation"))
    return [name for name in names if not tasks.missing(name, study)]


def measure(
    plan: ComparisonPlan,
    study: StudySet,
    variant: Method,
    held_out: list[np.ndarray],
    stop: StopRequest,
    key: jax.Array,
) -> Piece:
    """Rows (dose, task, metric, seed, value) of a variant, trained as for its own piece."""
    del key
    config, group = plan.config, trainings.train_group(plan.config, study, variant, held_out, stop)
    scale, names = comparison_tasks.scale_of(config), names_of(study, plan.tasks[study.name])
    rows, notes = [], []
    factors, temperatures = filled(config.doses), filled(config.get("temperatures", ()))
    for dose, change in doses(factors, config.seed, temperatures).items():
        measured = tasks.measure(scale, study, dosed(group, change), names)
        rows += [(dose, *row) for row in measured.rows]
        notes += measured.notes
    return {
        "rows": rows,
        "notes": list(dict.fromkeys(notes)),
        "training_seconds": group.seconds,
    }
