"""How to train: every option of a training."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax.errors import InputError
from qbm_jax.model.batch_norm import has_statistics
from qbm_jax.model.relaxations import GrowingSharpness
from qbm_jax.model.vae import VAE
from qbm_jax.objective.surrogate import OBJECTIVES
from qbm_jax.runtime.options import (
    LARGEST_WHOLE,
    check_fields,
    choice,
    documented,
    field,
    field_defaults,
    fraction,
    not_negative,
    optional,
    positive,
    traceable_fields,
    whole,
)

# What the loop around the compiled steps reads, or gives to them as a number.
OF_THE_LOOP = (
    "num_steps", "num_epochs", "minibatch_size", "couplings_delay", "kl_warmup", "kl_warmup_epochs",
    "validation_fraction", "validate_every", "patience", "num_retries", "validation_temperatures",
    "max_steps_per_dispatch", "num_chains", "block_size", "max_validation_cells", "report_epoch",
)  # fmt: skip
VALIDATIONS = 10  # of a training that does not say how often it validates


@documented
@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How to train. Rates are per step, fractions of 1."""

    objective: str = field(
        "bound",
        choice(OBJECTIVES),
        "bound; disarm: the bound with unbiased gradients through true bits, for relaxation "
        "straight_through; others: losses of public codes, with their faults",
        source="DisARM: arXiv 2006.10680",
    )
    num_steps: int = field(
        800,
        whole(1),
        "optimiser steps of a training without num_epochs, rounded to whole epochs, at least one",
    )
    num_epochs: int | None = field(
        None, optional(whole(1)), "times that the training takes every cell; None: see num_steps"
    )
    minibatch_size: int = field(128, whole(1), "cells per step")
    learning_rate: float = field(
        4e-3, positive(), "rate of Adam for networks and fields h", traceable=True
    )
    final_learning_rate: float = field(
        0.1,
        not_negative(),
        "where a cosine decay ends",
        unit="learning_rate",
        traceable=True,
    )
    couplings_rate: float = field(
        0.2,
        not_negative(),
        "rate of the couplings J; 0 leaves them as they start",
        unit="learning_rate",
        traceable=True,
    )
    couplings_delay: float = field(0.2, fraction(), "part of the training before J starts to learn")
    gradient_clip: float = field(
        1000.0, positive(), "largest global norm of a gradient", unit="nats", traceable=True
    )
    kl_weight: float = field(
        3.0,
        not_negative(),
        "weight of the KL in what is trained; 1 is the bound itself, which is what is reported at "
        "any weight",
        traceable=True,
    )
    final_kl_weight: float = field(
        1.0,
        not_negative(),
        "where a linear change of the KL weight ends, which begins in the middle of the training",
        unit="kl_weight",
        traceable=True,
    )
    kl_warmup: float = field(
        0.15, fraction(), "part of the training over which the weight of the KL grows linearly"
    )
    kl_warmup_epochs: float | None = field(
        None, optional(not_negative()), "the same in epochs; None: see kl_warmup", unit="epochs"
    )
    validation_fraction: float = field(
        0.1, fraction(open_ends=True), "part of the cells that validate"
    )
    validate_every: int | None = field(
        None,
        optional(whole(1)),
        "between validations, which also write checkpoints; None: a tenth of the training",
        unit="epochs",
    )
    patience: int | None = field(
        None,
        optional(whole(1)),
        "validations in a row without a better bound after which a training ends, where the best "
        "is reported; None: it does not end early",
    )
    num_retries: int = field(
        1,
        whole(0),
        "times that `fit` and the experiments train again, with another key, what diverged or "
        "collapsed",
    )
    validation_temperatures: int = field(
        200, whole(1), "temperatures of the AIS that gives log Z at validation"
    )
    max_steps_per_dispatch: int = field(100, whole(1), "steps compiled into one call, at most")
    num_chains: int = field(64, whole(1), "chains of the negative phase")
    free_bits: float = field(
        0.0,
        not_negative(),
        "the KL does not push the encoder on latents with less information than this",
        unit="nats per latent",
        source="arXiv 1606.04934",
    )
    couplings_decay: float = field(
        0.0, not_negative(), "weight decay of J at its rate: a step shrinks it by rate * decay"
    )
    sharpness_start: float = field(
        0.0,
        not_negative(),
        "above 0 the relaxation's sharpness grows from this to the model's own in half of the "
        "training; for spike_exponential and gumbel",
    )
    block_size: int = field(
        1,
        whole(1),
        "neighbours that an epoch's order keeps in one dispatch, in which all cells are mixed: "
        "what is on disk is read in blocks; 1: every cell goes its own way",
        unit="cells",
    )
    max_validation_cells: int = field(10000, whole(1), "validation cells of larger sets, at most")
    report_epoch: str = field(
        "last",
        choice(("best", "last")),
        "whether the parameters reported are the last, or those with the best validation bound: "
        "of few cells the bound is best before the couplings have learnt",
    )
    adam_epsilon: float = field(
        1e-8,
        positive(),
        "what Adam adds to the root of the mean square of a gradient; scVI takes 0.01",
        source="arXiv 1412.6980",
    )
    weight_decay: float = field(
        0.0,
        not_negative(),
        "this times the parameters is added to their gradient before Adam; scVI takes 1e-6",
    )

    def __post_init__(self) -> None:
        """Checks every field by its kind, and keeps plain Python values.

        Raises:
          InputError: an unknown objective or a value out of range; the message names the field.
        """
        check_fields(self)
        if self.free_bits and not OBJECTIVES[self.objective].of_the_bound:
            raise InputError(
                f"free_bits must be 0 with objective {self.objective}, got {self.free_bits}"
            )
        if self.patience is not None and self.report_epoch == "last":
            raise InputError(
                f"patience must be None with report_epoch last, got {self.patience}; report_epoch "
                f"best ends early and reports the best bound"
            )


class Length(NamedTuple):
    """How long a training is.

    Attributes:
      num_epochs: of the whole training.
      warmup_epochs: over which the weight of the KL grows.
      validate_every: epochs between validations.
    """

    num_epochs: int
    warmup_epochs: float
    validate_every: int


def length_of(options: TrainOptions, steps_per_epoch: int) -> Length:
    """The length of a training whose epochs have so many steps.

    Raises:
      InputError: there are more steps than an int32 can number.
    """
    num_epochs = options.num_epochs or max(1, round(options.num_steps / steps_per_epoch))
    if num_epochs * steps_per_epoch > LARGEST_WHOLE:
        raise InputError(
            f"expected at most {LARGEST_WHOLE} steps of a training, got num_epochs {num_epochs} of "
            f"{steps_per_epoch} steps; use fewer epochs"
        )
    warmup = options.kl_warmup_epochs
    return Length(
        num_epochs,
        options.kl_warmup * num_epochs if warmup is None else warmup,
        options.validate_every or max(1, round(num_epochs / VALIDATIONS)),
    )


class Schedule(NamedTuple):
    """When what happens in a training, in steps; numbers that its compiled program takes.

    Attributes:
      num_steps: of the whole training.
      warmup_steps: over which the weight of the KL grows.
      delay_steps: before J learns.
    """

    num_steps: int
    warmup_steps: float
    delay_steps: int


def schedule_of(options: TrainOptions, steps_per_epoch: int) -> Schedule:
    """The schedule of a training whose epochs have so many steps."""
    length = length_of(options, steps_per_epoch)
    num_steps = length.num_epochs * steps_per_epoch
    warmup_steps = max(float(length.warmup_epochs * steps_per_epoch), 1.0)
    return Schedule(num_steps, warmup_steps, round(options.couplings_delay * num_steps))


def option_numbers(options: TrainOptions) -> dict[str, jax.Array]:
    """The numbers of these options, float32 scalars by name; they may be traced."""
    names = traceable_fields(TrainOptions)
    return {name: jnp.asarray(getattr(options, name), jnp.float32) for name in names}


def without_numbers(options: TrainOptions) -> TrainOptions:
    """The options with every number at its default."""
    defaults = field_defaults(TrainOptions)
    names = traceable_fields(TrainOptions)
    return dataclasses.replace(options, **{name: defaults[name] for name in names})


def program_options(options: TrainOptions) -> TrainOptions:
    """The options that a compiled program depends on; all others are at their defaults."""
    defaults = field_defaults(TrainOptions)
    blank = without_numbers(options)
    return dataclasses.replace(blank, **{name: defaults[name] for name in OF_THE_LOOP})


def with_numbers(options: TrainOptions, numbers: Mapping[str, jax.Array]) -> TrainOptions:
    """The options with these numbers, which may be traced and are not checked."""
    changed = copy.copy(options)
    for name, value in numbers.items():
        object.__setattr__(changed, name, value)
    return changed


def check_applicable(options: TrainOptions, vae: VAE) -> None:
    """Checks that a model has what the objective needs, and a relaxation if the sharpness grows.

    Raises:
      InputError: the model lacks it, or normalises over the cells of minibatches of one.
    """
    OBJECTIVES[options.objective].check(options.objective, vae)
    if options.minibatch_size == 1 and has_statistics(jax.eval_shape(vae.init, jax.random.key(0))):
        raise InputError(
            "minibatch_size must be at least 2 with normalisation batch, got 1: normalised over "
            "one cell, all cells look alike to the networks; use more, or normalisation layer"
        )
    prior = vae.prior
    if options.sharpness_start:
        if prior.relax is None:
            raise InputError(
                f"sharpness_start must be 0 with prior {prior.name}, which has no relaxation, got "
                f"{options.sharpness_start}"
            )
        prior.relax.at(GrowingSharpness(options.sharpness_start, 0.0))
