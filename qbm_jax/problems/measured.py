"""A sampler on an instance, over run lengths and settings, measured."""

import functools
import os
import platform
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from qbm_jax.machine.boltzmann import Boltzmann, energy, scale
from qbm_jax.machine.couplings import root_mean_square
from qbm_jax.problems.named import Instance
from qbm_jax.problems.runs import SolverRun
from qbm_jax.problems.solver import STRENGTH, Solver
from qbm_jax.runtime import keys

LOAD = "load average, 15 minutes"


def energies_of(run: dict[str, Any]) -> np.ndarray:
    """Energies [calls, replicas] of a run in a piece, with NaN where a replica diverged."""
    return np.array(run["energies"], float)


def runs_of(piece: dict[str, Any], instance: Instance, best: float) -> list[SolverRun]:
    """The runs of a piece, held against the best known value of its instance."""
    return [
        SolverRun(
            run["budget"], run["products"], run["value"],
            instance.value(energies_of(run)) / best,
            float(np.median(run["seconds"])), run["compile_seconds"],
        )
        for run in piece["runs"]
    ]  # fmt: skip


class Calls(NamedTuple):
    """How often each run is repeated.

    Attributes:
      replicas: independent ones of a call.
      number: of calls.
      root: of their keys, which samplers and run lengths share, so that their starts are paired.
    """

    replicas: int
    number: int
    root: jax.Array

    def keys(self, name: str) -> Iterator[jax.Array]:
        """One key a call [calls] on the instance of a name."""
        return (keys.named(self.root, name, call) for call in range(self.number))


def measure(
    entry: Solver,
    instance: Instance,
    settings: list[tuple[int, float]],
    calls: Calls,
    key: jax.Array,
) -> dict[str, Any]:
    """Runs a sampler on an instance, over (budget, value) pairs."""
    del key  # calls have keys of their own
    runs = []
    for budget, value in settings:
        solve, compile_seconds = _compiled(entry, budget, calls.replicas, instance.params)
        run: dict[str, Any] = {"budget": budget, "products": entry.products(budget), "value": value}
        run |= {"energies": [], "seconds": [], "compile_seconds": compile_seconds}
        for call_key in calls.keys(instance.name):
            start = time.perf_counter()
            found = np.asarray(solve(call_key, instance.params, value))  # couplings to energies
            run["seconds"].append(time.perf_counter() - start)
            run["energies"].append(found.astype(float).tolist())
        runs.append(run)
    return {"runs": runs, "computer": computer()}


_COMPILED: dict[Any, tuple[Any, float]] = {}


def _compiled(entry: Solver, budget: int, replicas: int, params: Boltzmann) -> tuple[Any, float]:
    """The compiled (key, params, value) -> energies [replicas], and the seconds compiling took.

    The value is an argument and instances of one shape share a program. Families come one after
    another: programs for instances of another shape are let go.
    """
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(params))
    identity = entry, budget, replicas, shapes
    if identity not in _COMPILED:
        if any(kept[-1] != shapes for kept in _COMPILED):
            _COMPILED.clear()
        start = time.perf_counter()
        solve = functools.partial(_solve, entry, entry.num_steps(budget), replicas)
        program = jax.jit(solve).lower(jax.random.key(0), params, 1.0).compile()
        _COMPILED[identity] = program, time.perf_counter() - start
    return _COMPILED[identity]


def _solve(
    entry: Solver,
    num_steps: int,
    replicas: int,
    key: jax.Array,
    params: Boltzmann,
    value: jax.Array,
) -> jax.Array:
    """Energies [replicas] of one draw per replica from a fresh start; NaN where it diverged."""
    sent = params
    if entry.tuned == STRENGTH:
        spread = root_mean_square(params.J) * params.num_spins**0.5
        sent = scale(params, value / spread)
    sampler = entry.build(num_steps, value)
    key_init, key_draw = jax.random.split(key)
    state = sampler.init(key_init, sent, replicas)
    spins, _, _ = sampler.sample(key_draw, sent, state)
    return energy(params, spins)


def computer() -> dict[str, Any]:
    """Where times are taken."""
    return {
        "device": f"{jax.default_backend()}, {jax.devices()[0].device_kind}",
        "cores": len(os.sched_getaffinity(0)),
        LOAD: round(os.getloadavg()[2], 2),
        "platform": platform.platform(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", ""),
    }
