"""Training: options, state and step, the bound on held-out cells, and the loop around them."""

from qbm_jax.training.evaluation import (
    LARGEST_ENUMERATED,
    bound,
    build_evaluation,
    estimate_log_z,
    first_fault,
)
from qbm_jax.training.loop import train, train_seeds
from qbm_jax.training.memory import check_model
from qbm_jax.training.negatives import contrastive_divergence, next_draws
from qbm_jax.training.options import TrainOptions, without_numbers
from qbm_jax.training.outcomes import Progress, Trained, TrainingDiverged, TrainingStopped
from qbm_jax.training.plan import EpochPlan, dispatches, plan_epochs
from qbm_jax.training.spec import Built, SamplerSpec, Seed, Training, sampler_spec
from qbm_jax.training.state import TrainState, build_optimiser, init_state, keep_best
from qbm_jax.training.step import Restarted, build_dispatch, build_vmapped_dispatch, train_step

__all__ = [
    "LARGEST_ENUMERATED",
    "Built",
    "EpochPlan",
    "Progress",
    "Restarted",
    "SamplerSpec",
    "Seed",
    "TrainOptions",
    "TrainState",
    "Trained",
    "Training",
    "TrainingDiverged",
    "TrainingStopped",
    "bound",
    "build_dispatch",
    "build_evaluation",
    "build_optimiser",
    "build_vmapped_dispatch",
    "check_model",
    "contrastive_divergence",
    "dispatches",
    "estimate_log_z",
    "first_fault",
    "init_state",
    "keep_best",
    "next_draws",
    "plan_epochs",
    "sampler_spec",
    "train",
    "train_seeds",
    "train_step",
    "without_numbers",
]
