"""Every option of a model of tokens: its network, its latents, its training."""

import dataclasses

from qbm_jax.diffusion.schedule import SCHEDULES
from qbm_jax.errors import InputError
from qbm_jax.runtime.options import (
    check_fields,
    choice,
    documented,
    field,
    fraction,
    not_negative,
    positive,
    seed,
    whole,
)

LATENTS = ("none", "boltzmann", "bernoulli", "made", "gaussian")


@documented
@dataclasses.dataclass(frozen=True)
class DiffusionOptions:
    """How a model of tokens is built and trained."""

    width: int = field(96, whole(4), "of the transformer: numbers per token")
    num_layers: int = field(3, whole(1), "blocks of attention and perceptron")
    num_heads: int = field(4, whole(1), "of attention; each has an even share of the width")
    schedule: str = field(
        "linear",
        choice(SCHEDULES),
        "which numbers of masked tokens a training sees most; the bound is the same for all",
        source="arXiv 2406.07524",
    )
    latents: str = field(
        "none",
        choice(LATENTS),
        "prior of spins (or numbers) that all tokens of a sequence share; bernoulli is J = 0",
    )
    num_latents: int = field(16, whole(2, 128), "spins or numbers of a sequence")
    kl_weight: float = field(
        1.0, not_negative(), "weight of the KL in what is trained; the bound has 1"
    )
    kl_warmup: float = field(
        0.3, fraction(), "part of the training over which the KL's weight grows linearly"
    )
    num_steps: int = field(1000, whole(1), "optimiser steps")
    minibatch_size: int = field(32, whole(1), "sequences per step")
    learning_rate: float = field(2e-3, positive(), "largest rate of Adam")
    warmup: float = field(
        0.05, fraction(), "part of the training over which the rate grows; then a cosine decay"
    )
    gradient_clip: float = field(1.0, positive(), "largest global norm of a gradient")
    ema: float = field(
        0.99, fraction(), "decay a step of the mean of the parameters, which is what is used"
    )
    seed: int = field(0, seed(), "root of every random number of the training")

    def __post_init__(self) -> None:
        """Checks every field by its kind, and keeps plain Python values.

        Raises:
          InputError: a value out of range, heads that do not share the width evenly, or a warm-up
            of the whole training.
        """
        check_fields(self)
        if self.width % (2 * self.num_heads):
            raise InputError(
                f"width must be a multiple of 2 num_heads, which is {2 * self.num_heads}, got "
                f"{self.width}"
            )
        if self.warmup == 1:
            raise InputError("warmup must be below 1, got 1: the rate would never decay")
        if self.ema == 1:
            raise InputError("ema must be below 1, got 1: the parameters would never move")
