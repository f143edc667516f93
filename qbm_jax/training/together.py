"""Several trainings side by side: seeds of one setting, or settings that differ in some numbers.

On a CPU each runs the program of a single one in a thread: one program with a seed axis takes
no less work there and longer to compile (`benchmarks/experiment_cost.py` compares them), and this
way each gets exactly what it gets alone. On an accelerator, where one small step leaves most
of the device idle, those that share a program are rows of one `vmap`.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from qbm_jax.errors import InputError
from qbm_jax.feed.cell_source import Part
from qbm_jax.training.options import schedule_of
from qbm_jax.training.spec import Built, shape
from qbm_jax.training.state import TrainState
from qbm_jax.training.step import build_dispatch, build_vmapped_dispatch

METHODS = ("threads", "vmap")
LEAST_ROOM = 1000  # steps of a dispatch, for which one program has room whatever the epoch is


class Step(NamedTuple):
    """What a dispatch takes of one training; see `step.build_dispatch`."""

    key: jax.Array
    part: Part
    state: TrainState
    num_cells: jax.Array


Stepped = tuple[TrainState, dict[str, Any]]
"""The next state, and metrics [steps] on the host."""


class SeedThreads:
    """Calls a function for every seed, on as many threads as there are cores; use as a context."""

    def __init__(self, num_seeds: int):
        """Starts no thread yet; a single seed never needs one."""
        self._pool = ThreadPoolExecutor(min(num_seeds, os.cpu_count() or 1))
        self._compiled: set[Any] = set()

    def __enter__(self) -> "SeedThreads":
        return self

    def __exit__(self, *_: Any) -> None:
        self._pool.shutdown()

    def map(self, function: Callable, programs: Sequence[Any], *arguments: Sequence[Any]) -> list:
        """Calls `function` on each seed's arguments; the results are in the order of the seeds.

        The first call with each of `programs` (what the call compiles, one entry per seed) ends
        before the next one begins, so that two threads do not compile the same one.
        """
        items = list(zip(*arguments, strict=True))
        if len(items) == 1:
            return [function(*items[0])]
        first = []
        for index, program in enumerate(programs):
            if (function, program) not in self._compiled:
                self._compiled.add((function, program))
                first.append(index)
        done: dict[int, Any] = {}
        for indices in (first, [index for index in range(len(items)) if index not in first]):
            results = self._pool.map(lambda index: function(*items[index]), indices)
            done |= dict(zip(indices, results, strict=True))
        return [done[index] for index in range(len(items))]


def build_steps_of_seeds(
    trainings: Sequence[Built],
    steps_per_epoch: int,
    threads: SeedThreads,
    method: str | None,
    mesh: Mesh | None = None,
) -> Callable[[Sequence[Step]], list[Stepped]]:
    """The function that takes a dispatch of every training.

    Args:
      trainings: the built trainings, in the order of their steps.
      steps_per_epoch: optimiser steps in an epoch.
      threads: the threads in which trainings run.
      method: a name in `METHODS`; None: "threads" on a CPU, "vmap" elsewhere.
      mesh: the devices that share every training; None: the default one.

    Raises:
      InputError: an unknown method.
    """
    if method is None:
        method = "threads" if jax.default_backend() == "cpu" else "vmap"
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}; choose from {', '.join(METHODS)}")
    programs = [training.program for training in trainings]
    rows_of = [training.row_of for training in trainings]
    numbers = [
        training.numbers._replace(schedule=schedule_of(training.options, steps_per_epoch))
        for training in trainings
    ]
    asked = trainings[0].options.max_steps_per_dispatch  # the same for all
    most_steps = min(asked, max(steps_per_epoch, LEAST_ROOM))  # no dispatch has more than an epoch

    def alone(index: int, step: Step) -> Stepped:
        dispatch = build_dispatch(*programs[index], None, mesh)
        data, rows = step.part
        own = numbers[index]._replace(sharpness=None, sampler={})  # the program has them
        state, metrics = dispatch(
            step.key, data, step.state, with_room(rows, most_steps), step.num_cells, own, len(rows)
        )
        return state, first_of(jax.device_get(metrics), len(rows))

    def in_one_program(members: list[int], steps: Sequence[Step]) -> list[Stepped]:
        keys, parts, states, num_cells = zip(*(steps[index] for index in members), strict=True)
        data, rows = zip(*parts, strict=True)
        shared = all(counts is data[0] for counts in data)
        dispatch = vmapped_dispatch(trainings[members[0]], shared, mesh)
        own = tuple(numbers[index] for index in members)
        data = data[0] if shared else data
        count, filled = len(rows[0]), tuple(with_room(each, most_steps) for each in rows)
        states, metrics = dispatch(keys, data, states, filled, num_cells, own, count)
        found = [first_of(each, count) for each in jax.device_get(metrics)]
        return list(zip(states, found, strict=True))

    def all_seeds(steps: Sequence[Step]) -> list[Stepped]:
        if method == "threads":
            return threads.map(alone, programs, range(len(steps)), steps)
        results: dict[int, Stepped] = {}
        for one in dict.fromkeys(rows_of):
            members = [index for index, other in enumerate(rows_of) if other == one]
            if len(members) == 1:
                results[members[0]] = alone(members[0], steps[members[0]])
            else:
                results |= dict(zip(members, in_one_program(members, steps), strict=True))
        return [results[index] for index in range(len(steps))]

    return all_seeds


def with_room(rows: jax.Array | np.ndarray, most_steps: int) -> jax.Array | np.ndarray:
    """Rows [steps, minibatch] with zeros behind them, up to so many steps; one shape for all sets.

    What lies on a device already stays as it is.
    """
    if isinstance(rows, jax.Array):
        return rows
    return np.pad(rows, ((0, most_steps - len(rows)), (0, 0)))


def first_of(metrics: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The metrics of the steps that were taken."""
    return {name: values[:count] for name, values in metrics.items()}


def vmapped_dispatch(built: Built, shared_data: bool, mesh: Mesh | None) -> Callable:
    """The program of all trainings that are rows of one `vmap` with this one."""
    vae, sampler, options = built.program
    sampler_of = None
    if built.record is not None and built.numbers.sampler:
        sampler_of = shape(built.record).sampler
        sampler = None  # it is made of the numbers: the program must not depend on one training's
    return build_vmapped_dispatch(vae, sampler, options, None, shared_data, sampler_of, mesh)
