"""How to train: every option of a training, and the samplers' options in its negative phase."""

import dataclasses

from qbm_jax.errors import InputError
from qbm_jax.model import relaxations
from qbm_jax.model.relaxations import GrowingSharpness
from qbm_jax.model.vae import VAE
from qbm_jax.objective.surrogate import OBJECTIVES
from qbm_jax.runtime.options import (
    check_fields,
    choice,
    field,
    fraction,
    not_negative,
    positive,
    whole,
)

# Sampler options of the negative phase. Where chains persist few steps a draw are enough; machines
# that start anew take all the steps they need.
NEGATIVE_PHASE = {
    "gibbs": {"num_steps": 2},
    "auxiliary_cim": {"num_steps": 4},
    "auxiliary_langevin": {"num_steps": 20},
    "metropolis_cim": {"num_steps": 10},
    "tempering": {"num_steps": 2},
    "cim": {"num_steps": 60},
    "cac": {"num_steps": 60},
    "cfc": {"num_steps": 60},
    "noisy_analog": {"num_steps": 60},
    "bifurcation": {"num_steps": 100},
    "annealing": {"num_steps": 20},
    "exact": {},
}


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How to train. Rates are per step, fractions of 1; see `configs/base.py` for the manual."""

    objective: str = field("bound", choice(OBJECTIVES))
    num_epochs: int = field(150, whole(1))
    minibatch_size: int = field(128, whole(1))
    learning_rate: float = field(4e-3, positive())
    final_learning_rate: float = field(0.1, not_negative())
    couplings_rate: float = field(0.05, not_negative())
    couplings_delay: float = field(0.2, fraction())
    gradient_clip: float = field(1000.0, positive())
    kl_weight: float = field(1.0, not_negative())
    kl_warmup_epochs: float = field(10.0, not_negative())
    validation_fraction: float = field(0.1, fraction(open_ends=True))
    validate_every: int = field(15, whole(1))
    validation_temperatures: int = field(200, whole(1))
    max_steps_per_dispatch: int = field(100, whole(1))
    num_chains: int = field(64, whole(1))
    free_bits: float = field(0.0, not_negative())
    couplings_decay: float = field(0.0, not_negative())
    sharpness_start: float = field(0.0, not_negative())
    block_size: int = field(1, whole(1))
    max_validation_cells: int = field(10000, whole(1))

    def __post_init__(self):
        """Checks every field by its kind, and keeps plain Python values.

        Raises:
          InputError: an unknown objective or a value out of range; the message names the field.
        """
        check_fields(self)
        if self.free_bits and self.objective not in ("bound", "disarm"):
            raise InputError(
                f"free_bits must be 0 with objective {self.objective}, got {self.free_bits}"
            )


def check_applicable(options: TrainOptions, vae: VAE) -> None:
    """Checks that a model has what the options need: factorial bits, or a sharpness that may grow.

    Raises:
      InputError: it has not.
    """
    prior = vae.prior
    if options.objective != "bound" and not vae.posterior.factorial:
        raise InputError(
            f"objective {options.objective} needs posterior factorial, got two_groups; use "
            f"objective bound"
        )
    if options.objective == "disarm":
        if prior.relax is None:
            raise InputError(
                f"objective disarm needs bits, got prior {prior.name}; use objective bound"
            )
        if not prior.relax.law.exact:
            exact = " or ".join(relaxations.those_that("exact"))
            raise InputError(
                f"objective disarm trains on true bits, got relaxed ones; set relaxation to {exact}"
            )
    if options.sharpness_start:
        if prior.relax is None:
            raise InputError(
                f"sharpness_start must be 0 with prior {prior.name}, which has no relaxation, got "
                f"{options.sharpness_start}"
            )
        prior.relax.at(GrowingSharpness(options.sharpness_start, 0.0))
