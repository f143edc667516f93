"""Several seeds in one training: what runs them side by side.

On a CPU each seed runs the program of a single one in a thread: one program with a seed axis takes
no less work there and longer to compile (`benchmarks/experiment_cost.py` compares them), and this
way each seed gets exactly what it gets alone. On an accelerator, where one small step leaves most
of the device idle, one program with a seed axis is used.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from qbm_jax.errors import InputError
from qbm_jax.minibatches import DeviceCounts
from qbm_jax.samplers.base import Sampler
from qbm_jax.training.options import TrainOptions
from qbm_jax.training.state import TrainState
from qbm_jax.training.step import build_dispatch, build_vmapped_dispatch
from qbm_jax.vae import VAE

METHODS = ("threads", "vmap")


class SeedThreads:
    """Calls a function for every seed, on as many threads as there are cores; use as a context."""

    def __init__(self, num_seeds: int):
        """Starts no thread yet; a single seed never needs one."""
        self._pool = ThreadPoolExecutor(min(num_seeds, os.cpu_count() or 1))
        self._compiled: set[Callable] = set()

    def __enter__(self) -> "SeedThreads":
        return self

    def __exit__(self, *_: Any) -> None:
        self._pool.shutdown()

    def map(self, function: Callable, *arguments: Sequence[Any]) -> list[Any]:
        """`function` of each seed's arguments, in the order of the seeds.

        The first call is made for the first seed alone, so that two threads do not compile the same
        program.
        """
        items = list(zip(*arguments, strict=True))
        done = []
        if len(items) == 1 or function not in self._compiled:
            self._compiled.add(function)
            done = [function(*items.pop(0))]
        return done + list(self._pool.map(lambda item: function(*item), items))


def build_steps_of_seeds(
    vae: VAE,
    sampler: Sampler | None,
    options: TrainOptions,
    steps_per_epoch: int,
    threads: SeedThreads,
    method: str | None,
) -> Callable[..., tuple[list[TrainState], list[dict[str, Any]]]]:
    """The function (keys, data, states, rows, num_cells) -> (states, metrics on the host).

    All but the data are lists over seeds; see `step.build_dispatch`.

    Args:
      vae: the model.
      sampler: draws the negative phase; None where log Z has a closed form.
      options: how to train.
      steps_per_epoch: optimiser steps in an epoch.
      threads: where seeds run.
      method: a name in `METHODS`; None: "threads" on a CPU, "vmap" elsewhere.

    Raises:
      InputError: an unknown method.
    """
    if method is None:
        method = "threads" if jax.default_backend() == "cpu" else "vmap"
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}; choose from {', '.join(METHODS)}")
    single = build_dispatch(vae, sampler, options, steps_per_epoch)

    def one(key: jax.Array, data: DeviceCounts, state: TrainState, rows: jax.Array, num_cells):
        state, metrics = single(key, data, state, rows, num_cells)
        return state, jax.device_get(metrics)

    def all_seeds(keys, data, states, rows, num_cells):
        if method == "threads" or len(keys) == 1:
            results = threads.map(one, keys, [data] * len(keys), states, rows, num_cells)
            return [state for state, _ in results], [metrics for _, metrics in results]
        vmapped = build_vmapped_dispatch(vae, sampler, options, steps_per_epoch)
        states, metrics = vmapped(tuple(keys), data, tuple(states), tuple(rows), tuple(num_cells))
        return list(states), list(jax.device_get(metrics))

    return all_seeds
