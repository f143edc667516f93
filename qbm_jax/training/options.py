"""How to train: every option of a training, and the samplers' options in its negative phase."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.objective import OBJECTIVES
from qbm_jax.relaxations import GrowingSharpness
from qbm_jax.vae import VAE

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

    objective: str = "bound"
    num_epochs: int = 150
    minibatch_size: int = 128
    learning_rate: float = 4e-3
    final_learning_rate: float = 0.1
    couplings_rate: float = 0.05
    couplings_delay: float = 0.2
    gradient_clip: float = 1000.0
    kl_weight: float = 1.0
    kl_warmup_epochs: float = 10.0
    validation_fraction: float = 0.1
    validate_every: int = 15
    validation_temperatures: int = 200
    max_steps_per_dispatch: int = 100
    num_chains: int = 64
    free_bits: float = 0.0
    couplings_decay: float = 0.0
    sharpness_start: float = 0.0
    block_size: int = 1
    max_validation_cells: int = 10000

    def __post_init__(self):
        """Checks every range.

        Raises:
          InputError: an unknown objective or a value out of range; the message names the field.
        """
        if self.objective not in OBJECTIVES:
            raise InputError(
                f"training.objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}"
            )
        for name in ("num_epochs", "minibatch_size", "validate_every", "validation_temperatures",
                     "max_steps_per_dispatch", "num_chains", "block_size",
                     "max_validation_cells"):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"training.{name} must be a whole number above 0, got {value}")
        for name in ("learning_rate", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"training.{name} must be above 0, got {getattr(self, name)}")
        for name in ("couplings_rate", "kl_weight", "kl_warmup_epochs", "final_learning_rate",
                     "free_bits", "couplings_decay", "sharpness_start"):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise InputError(f"training.{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.couplings_delay <= 1:
            raise InputError(
                f"training.couplings_delay must be between 0 and 1, got {self.couplings_delay}"
            )
        if not 0 < self.validation_fraction < 1:
            raise InputError(
                f"training.validation_fraction must be between 0 and 1, "
                f"got {self.validation_fraction}"
            )
        if self.free_bits and self.objective not in ("bound", "disarm"):
            raise InputError(
                f"training.free_bits must be 0 with objective {self.objective}, "
                f"got {self.free_bits}"
            )


def check_model(options: TrainOptions, vae: VAE) -> None:
    """Checks that a model has what the options need: factorial bits, or a sharpness that may grow.

    Raises:
      InputError: it has not.
    """
    gaussian = vae.prior.outputs_per_latent == 2
    logits = jnp.zeros((64, vae.num_latents))
    if options.objective != "bound" and not vae.posterior.factorial:
        raise InputError(
            f"objective {options.objective} needs posterior factorial, got two_groups; use "
            f"objective bound"
        )
    if options.objective == "disarm":
        if gaussian:
            raise InputError("objective disarm needs bits, got prior gaussian; use objective bound")
        if np.any(np.abs(vae.prior.draw(jax.random.key(0), logits)) != 1):
            raise InputError(
                "objective disarm trains on true bits, got relaxed ones; set model.relaxation to "
                "straight_through"
            )
    if options.sharpness_start:
        if gaussian:
            raise InputError(
                f"training.sharpness_start must be 0 with prior gaussian, which has no relaxation, "
                f"got {options.sharpness_start}"
            )
        vae.prior.draw(jax.random.key(0), logits, GrowingSharpness(options.sharpness_start, 0.0))
