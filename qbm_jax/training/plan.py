"""Which cells are trained on, which validate, and in which order and portions they come."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import block_order, dispatch_plan, epoch_order, shuffled
from qbm_jax.training.options import TrainOptions


class EpochPlan(NamedTuple):
    """Which cells are trained on, and how an epoch is cut into steps."""

    train_cells: np.ndarray
    validation_cells: np.ndarray
    minibatch_size: int
    num_dispatches: int
    steps_per_dispatch: int
    block_size: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one epoch."""
        return self.num_dispatches * self.steps_per_dispatch


def plan_epochs(
    num_cells: int, options: TrainOptions, key: jax.Array, held_out: np.ndarray | None = None
) -> EpochPlan:
    """Splits cells into training and validation by the key, and an epoch into dispatches.

    Args:
      num_cells: of the whole set.
      options: how to train.
      key: fixes the split.
      held_out: indices [held-out cells] of cells that are in neither part; None for none.

    Raises:
      InputError: `held_out` has indices that no cell has, or leaves fewer than two cells.
    """
    available = remaining_cells(num_cells, held_out)
    order = shuffled(key, available)
    num_validation = count_validation_cells(order.size, options)
    train_cells = np.sort(order[num_validation:])
    minibatch_size = minibatch_of(options, train_cells.size)
    dispatches, steps = dispatch_plan(
        train_cells.size, minibatch_size, options.max_steps_per_dispatch
    )
    validation_cells = np.sort(order[:num_validation])
    return EpochPlan(
        train_cells, validation_cells, minibatch_size, dispatches, steps, options.block_size
    )


def minibatch_of(options: TrainOptions, num_train_cells: int) -> int:
    """Cells of a step, which are all that train where there are fewer than the options ask for."""
    return min(options.minibatch_size, num_train_cells)


def count_validation_cells(num_cells: int, options: TrainOptions) -> int:
    """How many of so many cells validate: at least one, and not all."""
    asked = round(options.validation_fraction * num_cells)
    return min(max(asked, 1), options.max_validation_cells, num_cells - 1)


def remaining_cells(num_cells: int, held_out: np.ndarray | None) -> np.ndarray:
    """Indices [cells] of the cells that are not held out, ascending.

    Raises:
      InputError: as in `plan_epochs`.
    """
    held_out = np.asarray([] if held_out is None else held_out)
    if held_out.ndim != 1 or (held_out.size and not np.issubdtype(held_out.dtype, np.integer)):
        raise InputError(
            f"expected held_out as a list of cell indices, got {held_out.dtype} {held_out.shape}"
        )
    if held_out.size and not 0 <= held_out.min() <= held_out.max() < num_cells:
        raise InputError(
            f"expected held_out indices in 0 to {num_cells - 1}, "
            f"got {held_out.min()} to {held_out.max()}"
        )
    available = np.setdiff1d(np.arange(num_cells), held_out)
    if available.size < 2:
        raise InputError(
            f"expected at least 2 cells to train and validate on, got {available.size} of "
            f"{num_cells} that are not held out"
        )
    return available


def align(plans: list[EpochPlan]) -> list[EpochPlan]:
    """The same plans with the minibatch and the steps of the plan with the fewest training cells.

    An epoch of a larger set leaves out the cells that do not fit into these steps, and each epoch
    leaves out others.
    """
    smallest = min(plans, key=lambda plan: plan.train_cells.size)
    return [
        smallest._replace(train_cells=plan.train_cells, validation_cells=plan.validation_cells)
        for plan in plans
    ]


def dispatches(
    key: jax.Array, plan: EpochPlan, first_step: int, num_epochs: int
) -> Iterator[np.ndarray]:
    """Rows [steps, minibatch] of every dispatch from `first_step` on, a function of the key."""
    first_dispatch = first_step // plan.steps_per_dispatch
    per_dispatch = plan.steps_per_dispatch * plan.minibatch_size
    for epoch in range(first_dispatch // plan.num_dispatches, num_epochs):
        if plan.block_size > 1:
            order = block_order(key, epoch, plan.train_cells, plan.block_size, per_dispatch)
        else:
            order = epoch_order(key, epoch, plan.train_cells)
        start = max(first_dispatch - epoch * plan.num_dispatches, 0)
        for i in range(start, plan.num_dispatches):
            rows = order[i * per_dispatch : (i + 1) * per_dispatch]
            yield rows.reshape(plan.steps_per_dispatch, plan.minibatch_size)
