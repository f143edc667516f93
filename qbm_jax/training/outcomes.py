"""What a training reports along its way, and how it ends."""

from typing import NamedTuple

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.model.vae import Params
from qbm_jax.training.state import TrainState


class TrainingStopped(Exception):
    """The run was asked to stop; its state is saved and the same command goes on from there."""


class TrainingDiverged(InputError):
    """A quantity became NaN or infinite; the last good state is kept.

    Attributes:
      seed: its position among those of `train_seeds`.
      fault: the quantity that was not finite, and the step.
    """

    def __init__(self, message: str, seed: int = 0, fault: str = ""):
        """Says which training it was; the defaults let an exception be pickled."""
        super().__init__(message)
        self.seed = seed
        self.fault = fault


class Progress(NamedTuple):
    """What a dispatch reports of one seed.

    Attributes:
      step: steps taken so far.
      epoch: the same in epochs.
      num_epochs: of the whole training.
      cells_per_second: so far, all seeds together.
      split: "start" (once, after a restore), "train" or "validation".
      metrics: means by name.
      seed: its position among those of `train_seeds`.
    """

    step: int
    epoch: float
    num_epochs: int
    cells_per_second: float
    split: str
    metrics: dict[str, float]
    seed: int = 0


class Trained(NamedTuple):
    """The result of one seed.

    Attributes:
      params: the parameters with the best validation bound, or the last (`report_epoch`).
      state: the final state.
      train_cells: indices of the cells trained on.
      validation_cells: indices of the cells that chose the epoch.
      cells_per_second: median over (the last thousand) dispatches, all seeds of the call together,
        waiting for their cells included; compilation and validation are not in it.
      seconds: wall time of the call, all seeds and everything included.
      again: why it was trained again with another key; "" where it was not.
    """

    params: Params
    state: TrainState
    train_cells: np.ndarray
    validation_cells: np.ndarray
    cells_per_second: float
    seconds: float
    again: str = ""
