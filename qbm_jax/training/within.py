"""Trainings that a number of steps cuts short."""

import dataclasses

from qbm_jax.training.options import TrainOptions
from qbm_jax.training.plan import count_validation_cells


def epochs_of(num_steps: int, num_train_cells: int, minibatch_size: int) -> int:
    """How many epochs of so many training cells so many steps are, at least one."""
    steps_per_epoch = max(1, num_train_cells // minibatch_size)
    return max(1, round(num_steps / steps_per_epoch))


def within_steps(options: TrainOptions, num_cells: int, num_steps: int) -> TrainOptions:
    """The options with no more epochs than so many steps on so many cells take; 0: as they are.

    The KL warm-up and the epochs between validations shrink in proportion.
    """
    if not num_steps:
        return options
    epochs, steps = options.num_epochs, options.num_steps
    if epochs is None:
        steps = min(steps, num_steps)
        share = steps / options.num_steps
    else:
        trained = num_cells - count_validation_cells(num_cells, options)
        most = epochs_of(num_steps, trained, options.minibatch_size)
        share, epochs = min(epochs, most) / epochs, min(epochs, most)
    warmup, every = options.kl_warmup_epochs, options.validate_every
    return dataclasses.replace(
        options,
        num_epochs=epochs,
        num_steps=steps,
        kl_warmup_epochs=None if warmup is None else share * warmup,
        validate_every=None if every is None else max(1, round(share * every)),
    )
