"""Which cells to label, keep or train on: the choice of k cells as a problem for Ising machines."""

from qbm_jax.selection.active import Round, active_loop
from qbm_jax.selection.coverage import width_by_coverage
from qbm_jax.selection.options import SelectionOptions
from qbm_jax.selection.scores import label_scores, sketch_scores
from qbm_jax.selection.selector import SampleSelector, objective
from qbm_jax.selection.utilities import disagreement

__all__ = [
    "Round",
    "SampleSelector",
    "SelectionOptions",
    "active_loop",
    "disagreement",
    "label_scores",
    "objective",
    "sketch_scores",
    "width_by_coverage",
]
