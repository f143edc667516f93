"""One cell of the benchmark: a sampler on an instance, over run lengths and settings, measured."""

import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO
from ml_collections import ConfigDict

from experiments.ising.instances import Instance
from experiments.kit.sealed import file_name, read_sealed, write_sealed
from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy, scale
from qbm_jax.machine.couplings import root_mean_square
from qbm_jax.runtime import keys

FOLDER = "cells"
NAMES = ("phase", "instance", "sampler")
COUPLINGS = ("any", "dense", "signs")  # sparse too; dense alone; dense and all -1 or +1
STRENGTH = "strength"  # the tuned setting that is no option: rms coupling times sqrt(N), in kT


class Entry(NamedTuple):
    """A row of the table of samplers.

    Attributes:
      label: its name in the report.
      sampler: a name of `samplers.SAMPLERS`.
      options: as (name, value) pairs, so that entries can be compared.
      tuned: the option that is tuned on pilots, or "strength".
      grid: its values.
      products_per_step: N x N products that one step costs a replica.
      products_before: what its start costs.
      max_products: longest run, in products a replica; 0: no limit.
      couplings: which it takes, a name in `COUPLINGS`.
    """

    label: str
    sampler: str
    options: tuple[tuple[str, Any], ...]
    tuned: str
    grid: tuple[float, ...]
    products_per_step: float
    products_before: float
    max_products: int
    couplings: str

    def num_steps(self, budget: int) -> int:
        """Steps that a budget of products allows; 0 where it does not allow one."""
        return max(int((budget - self.products_before) / self.products_per_step), 0)

    def products(self, budget: int) -> float:
        """What is spent of a budget."""
        return self.products_before + self.num_steps(budget) * self.products_per_step

    def lengths(self, budgets: tuple[int, ...]) -> tuple[int, ...]:
        """Those budgets that this sampler is run with."""
        longest = self.max_products or max(budgets)
        return tuple(b for b in budgets if b <= longest and self.num_steps(b))

    def takes(self, instance: Instance) -> bool:
        """Whether it can run an instance."""
        J = instance.params.J
        if isinstance(J, BCOO):
            return self.couplings == "any"
        return self.couplings != "signs" or bool(jnp.all(J**2 + jnp.eye(len(J)) == 1))

    def build(self, num_steps: int, value: float | jax.Array) -> samplers.Sampler:
        """The sampler at one value of the tuned setting."""
        options = dict(self.options) | {"num_steps": num_steps}
        if self.tuned != STRENGTH:
            options[self.tuned] = value
        return samplers.build(self.sampler, **options)


class Plan(NamedTuple):
    """What a cell runs: (budget, value) pairs, replicas a call, calls, and the root of keys."""

    settings: tuple[tuple[int, float], ...]
    replicas: int
    calls: int
    key: jax.Array


def entries(config: ConfigDict) -> list[Entry]:
    """The table of samplers, each known to build.

    Raises:
      InputError: an unknown sampler or option, or numbers out of range.
    """
    return [_entry(label, row) for label, row in config.samplers.items()]


def _entry(label: str, row: ConfigDict) -> Entry:
    where = f"config.samplers.{label}"
    if not row.grid:
        raise InputError(f"{where}.grid: expected values of {row.tuned}, got none")
    if row.products_per_step <= 0 or min(row.products_before, row.max_products) < 0:
        raise InputError(f"{where}: expected products_per_step above 0 and no negative products")
    if row.couplings not in COUPLINGS:
        raise InputError(f"{where}.couplings: expected one of {COUPLINGS}, got {row.couplings!r}")
    entry = Entry(
        label,
        row.sampler,
        tuple(sorted(row.options.to_dict().items())),
        row.tuned,
        tuple(row.grid),
        row.products_per_step,
        row.products_before,
        row.max_products,
        row.couplings,
    )
    try:
        for value in entry.grid:
            entry.build(1, value)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return entry


def path_of(workdir: Path, phase: str, instance: str, label: str) -> Path:
    """The file of a finished cell."""
    folder = workdir / FOLDER / file_name(phase) / file_name(instance)
    return folder / f"{file_name(label)}.json"


def read_all(workdir: Path, instance: str) -> dict[str, list[dict[str, Any]]]:
    """All runs on an instance in any phase, by sampler.

    Raises:
      InputError: as `read`.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for phase in sorted((workdir / FOLDER).iterdir()):
        for path in sorted((phase / file_name(instance)).glob("*.json")):
            piece = _read(path)
            found.setdefault(piece["sampler"], []).extend(piece["runs"])
    return found


def read(path: Path) -> list[dict[str, Any]]:
    """The runs of a finished cell; energies [calls, replicas] with NaN where a replica diverged.

    Raises:
      InputError: the file is damaged, or of another cell or run.
    """
    return _read(path)["runs"]


def is_finished(path: Path, plan: Plan) -> bool:
    """Whether a cell's file is there, whole, and of this plan; if it is not, the log says so."""
    piece = read_sealed(path, path.parents[3])
    if piece is None:
        return False
    runs = [(run["budget"], run["value"], len(run["energies"])) for run in piece["runs"]]
    wanted = [(budget, value, plan.calls) for budget, value in plan.settings]
    return _is_in_its_place(path, piece) and runs == wanted


def _read(path: Path) -> dict[str, Any]:
    piece = read_sealed(path, path.parents[3] if len(path.parents) > 3 else path.parent)
    if piece is None or not _is_in_its_place(path, piece):
        raise InputError(f"{path} is damaged or of another run; run the same command again")
    runs = [run | {"energies": np.array(run["energies"], float)} for run in piece["runs"]]
    return piece | {"runs": runs}


def _is_in_its_place(path: Path, piece: dict[str, Any]) -> bool:
    """Whether the file has the name that belongs to its contents."""
    return path == path_of(path.parents[3], *(piece[name] for name in NAMES))


def measure(path: Path, phase: str, entry: Entry, instance: Instance, plan: Plan) -> None:
    """Runs a cell and writes its file, whole or not at all."""
    runs = [_run(entry, instance, plan, *setting) for setting in plan.settings]
    path.parent.mkdir(parents=True, exist_ok=True)
    piece = dict(zip(NAMES, (phase, instance.name, entry.label), strict=True)) | {"runs": runs}
    write_sealed(path, piece, path.parents[3])


def _run(entry: Entry, instance: Instance, plan: Plan, budget: int, value: float) -> dict[str, Any]:
    """One run length at one setting. A call is timed from the couplings to the energies."""
    solve, compile_seconds = _compiled(entry, budget, plan.replicas, instance.params)
    energies, seconds = [], []
    for key in _keys(plan, instance.name):
        start = time.perf_counter()
        found = np.asarray(solve(key, instance.params, value))
        seconds.append(time.perf_counter() - start)
        energies.append(found.astype(float).tolist())
    return {
        "products": entry.products(budget),
        "budget": budget,
        "value": value,
        "energies": energies,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
    }


def _keys(plan: Plan, name: str) -> Iterator[jax.Array]:
    """One key a call: samplers and run lengths share them, so their starts are paired."""
    return (keys.named(plan.key, name, call) for call in range(plan.calls))


_COMPILED: dict[Any, tuple[Any, float]] = {}


def _compiled(entry: Entry, budget: int, replicas: int, params: Boltzmann) -> tuple[Any, float]:
    """The compiled (key, params, value) -> energies [replicas], and the seconds compiling took.

    The value is an argument and instances of one shape share a program.
    """
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(params))
    identity = entry, budget, replicas, shapes
    if identity not in _COMPILED:
        start = time.perf_counter()
        solve = functools.partial(_solve, entry, entry.num_steps(budget), replicas)
        program = jax.jit(solve).lower(jax.random.key(0), params, 1.0).compile()
        seconds = time.perf_counter() - start
        _COMPILED[identity] = program, seconds
    return _COMPILED[identity]


def _solve(
    entry: Entry, num_steps: int, replicas: int, key: jax.Array, params: Boltzmann, value: jax.Array
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
