"""The loop around the steps: the same one for one seed and for several."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.checkpoint import Checkpoints
from qbm_jax.minibatches import DeviceCounts
from qbm_jax.samplers.base import Sampler
from qbm_jax.training.options import TrainOptions, check_model
from qbm_jax.training.plan import dispatches
from qbm_jax.training.run import Progress, Run, Trained, TrainingStopped, plan_seeds
from qbm_jax.training.together import SeedThreads
from qbm_jax.vae import VAE, Params


def train_seeds(
    keys: Sequence[jax.Array],
    vae: VAE,
    sampler: Sampler | None,
    data: DeviceCounts,
    options: TrainOptions,
    *,
    held_out: Sequence[np.ndarray | None] | None = None,
    checkpoints: Checkpoints | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_validation: Callable[[int, list[Params]], None] = lambda epoch, params: None,
    method: str | None = None,
) -> list[Trained]:
    """Trains several seeds of one setting together; each gets what `train` gives for its key.

    All seeds take the same number of steps an epoch: that of the one with the fewest training
    cells, where `held_out` makes them differ. They share one checkpoint, and stop together.

    Args:
      keys: one root key per seed; it fixes the split, the start, the order and all noise.
      vae: the model.
      sampler: draws the negative phase; None where log Z has a closed form.
      data: all counts.
      options: how to train.
      held_out: per seed, indices of cells that take no part in training or in the choice of the
        epoch, or None; None: all seeds may use all cells.
      checkpoints: where states are kept; None keeps none.
      on_progress: called for every seed after every dispatch and every validation.
      should_stop: asked after every dispatch.
      on_validation: called after every validation with the epoch and each seed's parameters.
      method: "threads" or "vmap"; see `together`. None: the faster one on this device.

    Returns:
      One result per key.

    Raises:
      InputError: no keys, held-out cells that cannot be used, or options that the model cannot be
        trained with.
      TrainingStopped: `should_stop` said so; the states are saved.
      TrainingDiverged: a value was NaN or infinite, in the seed named; the last good states of all
        are saved.
    """
    start_time = time.perf_counter()
    check_model(options, vae)
    seeds = plan_seeds(keys, data.num_cells, options, held_out)
    with SeedThreads(len(seeds)) as threads:
        run = Run(
            seeds, vae, sampler, data, options, checkpoints, on_progress, threads, method
        )  # fmt: skip
        run.emit("start", [{} for _ in seeds])
        every = [dispatches(s.key_order, s.plan, run.step, options.num_epochs) for s in seeds]
        for rows in zip(*every, strict=True):
            run.advance(rows)
            epoch, within = divmod(run.step, run.plan.steps_per_epoch)
            if within == 0 and (epoch % options.validate_every == 0 or epoch == options.num_epochs):
                run.validate(epoch)
                on_validation(epoch, [jax.tree.map(jnp.copy, s.params) for s in run.states])
            if should_stop():
                run.save(run.states)
                raise TrainingStopped(f"stopped after step {run.step}")
    return run.results(time.perf_counter() - start_time)


def train(
    key: jax.Array,
    vae: VAE,
    sampler: Sampler | None,
    data: DeviceCounts,
    options: TrainOptions,
    *,
    held_out: np.ndarray | None = None,
    **arguments: Any,
) -> Trained:
    """Trains a model, resuming from the newest sound checkpoint if there is one.

    Args:
      key: the run's root key; it fixes the split, the start, the order and all noise.
      vae: the model.
      sampler: draws the negative phase; None where log Z has a closed form.
      data: all counts.
      options: how to train.
      held_out: indices of cells that take no part in training or in the choice of the epoch.
      **arguments: `checkpoints`, `on_progress`, `should_stop`, ... of `train_seeds`.

    Raises:
      InputError, TrainingStopped, TrainingDiverged: as `train_seeds`.
    """
    return train_seeds([key], vae, sampler, data, options, held_out=[held_out], **arguments)[0]
