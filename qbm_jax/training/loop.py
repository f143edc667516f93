"""The loop around the steps: the same one for one seed and for several."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from qbm_jax.feed.cell_source import CellSource, as_source
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.model.vae import VAE, Params
from qbm_jax.runtime.compiled import keep_compiled
from qbm_jax.samplers.base import Sampler
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.training.distributed import any_process
from qbm_jax.training.memory import check_model
from qbm_jax.training.options import TrainOptions
from qbm_jax.training.outcomes import Progress, Trained, TrainingStopped
from qbm_jax.training.plan import dispatches
from qbm_jax.training.run import TrainingRun, plan_seeds
from qbm_jax.training.sharding import OnMesh
from qbm_jax.training.spec import Built, Seed
from qbm_jax.training.together import SeedThreads

LOGGER = logging.getLogger("qbm_jax")


def train_seeds(
    seeds: Sequence[Seed],
    data: DeviceCounts | CellSource,
    *,
    checkpoints: Checkpoints | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_validation: Callable[[int, list[Params]], None] = lambda epoch, params: None,
    method: str | None = None,
    mesh: Mesh | None = None,
) -> list[Trained]:
    """Trains several seeds or settings together; each gets what `train` gives for its key.

    All seeds take the same number of steps an epoch: that of the one with the fewest training
    cells, where their held-out cells make them differ. They share one checkpoint, and stop
    together. Their options may differ in numbers alone (`options.without_numbers`). Trainings of
    one model and sampler share one program; those of equal `spec.shape` may be rows of one `vmap`
    although their models and samplers differ in numbers.

    Args:
      seeds: what is trained, each with its key. All of them have parameters to go on from, or none.
      data: all counts on the device, or where they come from (`cell_source`).
      checkpoints: where states are kept; None keeps none.
      on_progress: called for every seed after every dispatch and every validation.
      should_stop: asked after every dispatch.
      on_validation: called after every validation with the epoch and each seed's parameters.
      method: "threads" or "vmap"; see `together`. None: the faster one on this device.
      mesh: devices that share the training (`sharding.build_mesh`), of all processes that make this
        call; None: the default device. Checkpoints of one mesh can be resumed on another.

    Returns:
      One result per seed.

    Raises:
      InputError: there are no seeds; the held-out cells cannot be used; the options do not suit the
        model or one another; or cells could not be read (the states are saved).
      TrainingStopped: `should_stop` said so; the states are saved.
      TrainingDiverged: a value was NaN or infinite, in the seed named; the last good states of all
        are saved.
    """
    start_time = time.perf_counter()
    keep_compiled()
    for seed in seeds:
        check_model(seed.built.options, seed.built.vae)
    source = as_source(data)
    if mesh is not None:
        source, should_stop = OnMesh(source, mesh), any_process(should_stop)
    planned = plan_seeds(seeds, source.num_cells)
    # On a mesh one at a time: two programs that wait for each other's devices wait for ever.
    with SeedThreads(len(planned) if mesh is None else 1) as threads:
        run = TrainingRun(planned, source, checkpoints, on_progress, threads, method, mesh)
        run.start()
        _train_on(run, should_stop, on_validation)
    return run.results(time.perf_counter() - start_time)


def _train_on(
    run: TrainingRun,
    should_stop: Callable[[], bool],
    on_validation: Callable[[int, list[Params]], None],
) -> None:
    """Takes the dispatches that are left, and validates, until the last epoch or out of patience.

    Raises:
      TrainingStopped: `should_stop` said so; the states are saved.
    """
    num_epochs, _, validate_every = run.length
    if not any(run.patient(run.step // run.plan.steps_per_epoch)):
        num_epochs = 0  # it has ended in an earlier call
    orders = [dispatches(s.keys.order, s.plan, run.step, num_epochs) for s in run.seeds]
    with ExitStack() as streams:
        every = [streams.enter_context(closing(run.source.stream(order))) for order in orders]
        for parts in run.saved_on_error(zip(*every, strict=True)):
            run.advance(parts)
            epoch, within = divmod(run.step, run.plan.steps_per_epoch)
            if within == 0 and (epoch % validate_every == 0 or epoch == num_epochs):
                run.validate(epoch)
                on_validation(epoch, [run.params(state) for state in run.states])
                if epoch < num_epochs and not any(run.patient(epoch)):
                    LOGGER.info(
                        "training ends after epoch %d of %d: the last validations brought no "
                        "better bound", epoch, num_epochs,
                    )  # fmt: skip
                    break
            if should_stop():
                run.save(run.states)
                raise TrainingStopped(f"stopped after step {run.step}")


def train(
    key: jax.Array,
    vae: VAE,
    sampler: Sampler | None,
    data: DeviceCounts | CellSource,
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
      data: all counts on the device, or where they come from.
      options: how to train.
      held_out: indices [held-out cells] of cells that take no part in training or in the choice of
        the epoch.
      **arguments: `checkpoints`, `on_progress`, `should_stop`, ... of `train_seeds`.

    Raises:
      InputError, TrainingStopped, TrainingDiverged: as `train_seeds`.
    """
    return train_seeds([Seed(key, Built(vae, sampler, options), held_out)], data, **arguments)[0]
