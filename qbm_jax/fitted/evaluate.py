"""Trains, embeds, bounds: what every comparison of trainings does, in one place."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from qbm_jax import training
from qbm_jax.data import Cells
from qbm_jax.data.on_disk import StoredCells
from qbm_jax.feed.cell_source import CellSource, as_source
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.fitted.bounds import NUM_DRAWS, NUM_TEMPERATURES, bound_of_cells
from qbm_jax.fitted.document import Evaluated
from qbm_jax.fitted.model import FittedModel
from qbm_jax.fitted.progress import ProgressBar, told_both
from qbm_jax.fitted.trainings import fit_trainings
from qbm_jax.model import priors
from qbm_jax.runtime import keys


class Draws(NamedTuple):
    """What is behind a bound.

    Attributes:
      posterior: draws of each cell.
      temperatures: of the annealing that estimates log Z, where there are too many spins to
        enumerate.
    """

    posterior: int = NUM_DRAWS
    temperatures: int = NUM_TEMPERATURES


def train_and_evaluate(
    trainings: Sequence[training.Training],
    cells: Cells | StoredCells,
    seeds: Sequence[tuple[int, int]],
    *,
    data: DeviceCounts | CellSource,
    shown: Cells | DeviceCounts | None = None,
    title: str | None = None,
    bounds: Draws | None = None,
    while_training: contextlib.AbstractContextManager[Any] | None = None,
    on_progress: Callable[[training.Progress], None] | None = None,
    **arguments: Any,
) -> list[Evaluated[FittedModel]]:
    """Trains side by side; then embeds cells with every model, and bounds those that validate.

    Trainings of the same seed and number share their keys, whatever they are of: they see the same
    split and order of the cells, and their bounds have the same posterior draws.

    Args:
      trainings: of equal shape but for numbers, as in `fit_trainings`.
      cells: preprocessed.
      seeds: of each training the seed of its run, and its number in it.
      data: the same cells on the device, or where they come from.
      shown: cells that are embedded; None: all, those in `data`.
      title: of the progress bar; None: there is none.
      bounds: draws behind the bound of each training's validation cells; None: it has none.
      while_training: entered for the training alone.
      on_progress: as in `training.train_seeds`.
      **arguments: `checkpoints`, `held_out`, ... of `fit_trainings`.

    Raises:
      InputError: as `fit_trainings`.
      TrainingStopped: `should_stop` said so; the states are saved.
    """
    is_bound = all(priors.has_bounds(each.model.prior, each.model.relaxation) for each in trainings)
    bar = ProgressBar(title or "", title is not None, is_bound)
    with while_training or contextlib.nullcontext(), bar:
        fitted = fit_trainings(
            [keys.of_training(*seed) for seed in seeds], trainings, cells, data=data,
            on_progress=told_both(bar.update, on_progress), **arguments,
        )  # fmt: skip
    found, source = [], as_source(data)
    embedded = source.select(np.arange(cells.num_cells))[0] if shown is None else shown
    for seed, (model, trained) in zip(seeds, fitted, strict=True):
        embedding, energy = model.encode_cells(embedded)
        bound = {} if bounds is None else validation_bound(bounds, seed, source, model, trained)
        found.append(
            Evaluated(
                model, embedding, energy, bound, trained.cells_per_second,
                seconds=trained.seconds / len(seeds), num_train_cells=int(trained.train_cells.size),
                best_epoch=int(trained.state.best_epoch), again=trained.again,
            )
        )  # fmt: skip
    return found


def validation_bound(
    draws: Draws,
    seed: tuple[int, int],
    source: CellSource,
    model: FittedModel,
    trained: training.Trained,
) -> dict[str, float]:
    """The bound on a training's validation cells, with more draws than while it was trained."""
    data, rows = source.select(trained.validation_cells)
    root, number = seed
    return bound_of_cells(
        keys.key_of(root, keys.BOUND, number), model.vae, model.params, data, rows,
        num_draws=draws.posterior, num_temperatures=draws.temperatures,
        num_train_cells=trained.train_cells.size,
    )  # fmt: skip
