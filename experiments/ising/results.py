"""All pieces together: best values, what was tuned on the pilots, and how it was judged."""

from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments.ising.families import Family
from experiments.kit.runner import Piece, Row
from qbm_jax.problems import Instance, SolverRun, median_to_solution
from qbm_jax.problems.measured import energies_of, runs_of
from qbm_jax.problems.solver import Solver
from qbm_jax.problems.tuning import Tuned, tune


class IsingPlan(NamedTuple):
    """What is run: families in order of size, the table of samplers, notes on what is absent."""

    config: ConfigDict
    families: list[Family]
    table: list[Solver]
    notes: list[str]

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the instances from others."""
        instances = [i for family in self.families for i in family.pilots + family.held_out]
        return {instance.name: instance.checksum for instance in instances}


class Judged(NamedTuple):
    """A sampler on a family, as tuned on its pilots: runs by held-out instance."""

    family: Family
    entry: Solver
    tuned: Tuned
    runs: dict[str, list[SolverRun]]

    def at(self, budget: int) -> list[SolverRun]:
        """The runs of one length on all instances."""
        return [run for runs in self.runs.values() for run in runs if run.budget == budget]


class Solution(NamedTuple):
    """Time and products to solution at one level, in median over the instances of a family.

    `value` is the tuned setting at the `budget` that served best on the pilots; low and high are
    the ends of 95 % intervals.
    """

    family: str
    sampler: str
    level: float
    budget: int
    value: float
    seconds: float
    seconds_low: float
    seconds_high: float
    products: float
    products_low: float
    products_high: float


def best_found(instance: Instance, pieces: list[Piece]) -> tuple[float, str]:
    """The best value in any piece of an instance, and a sampler that found it."""
    best: dict[str, float] = {}
    for piece in sorted(pieces, key=lambda piece: (piece["section"], piece["sampler"])):
        if piece["instance"] == instance.name:
            energies = np.concatenate([*map(energies_of, piece["runs"])])
            value = np.fmax.reduce(instance.value(energies), axis=None)
            best[piece["sampler"]] = float(np.fmax(value, best.get(piece["sampler"], -np.inf)))
    label = max(best, key=lambda label: best[label])
    return best[label], label


def best_value(instance: Instance, pieces: list[Piece]) -> float:
    """What counts as 100 % on an instance."""
    known = instance.best_known
    return best_found(instance, pieces)[0] if known is None else known


def tune_all(plan: IsingPlan, pieces: list[Piece]) -> dict[tuple[str, str], Tuned]:
    """What the pilots decide, by family and sampler; judged pieces have no say in it."""
    pieces = [piece for piece in pieces if not piece["section"].startswith("judged-")]
    tuned = {}
    for family in plan.families:
        found = _runs(pieces, family.pilot_section, family.pilots, family.suitable(plan.table))
        for label, by_instance in found.items():
            runs = [run for runs in by_instance.values() for run in runs]
            tuned[family.name, label] = tune(runs, plan.config.levels, plan.config.wall_seconds)
    return tuned


def judge(plan: IsingPlan, pieces: list[Piece]) -> list[Judged]:
    """Every sampler on every family."""
    tuned, judged = tune_all(plan, pieces), []
    for family in plan.families:
        suitable = family.suitable(plan.table)
        found = _runs(pieces, family.judged_section, family.held_out, suitable)
        judged += [Judged(family, e, tuned[family.name, e.label], found[e.label]) for e in suitable]
    return judged


def _runs(
    pieces: list[Piece], section: str, instances: list[Instance], table: list[Solver]
) -> dict[str, dict[str, list[SolverRun]]]:
    """Runs of a section by sampler and instance, held against the best values of all pieces."""
    there = {(p["instance"], p["sampler"]): p for p in pieces if p["section"] == section}
    best = {instance.name: best_value(instance, pieces) for instance in instances}
    return {
        entry.label: {
            i.name: runs_of(there[i.name, entry.label], i, best[i.name]) for i in instances
        }
        for entry in table
    }


def columns(config: ConfigDict) -> list[str]:
    """The columns of `results.csv`: one success count a level at the end."""
    counts = [f"{name}_{level:g}" for name in ("successes", "call_successes")
              for level in config.levels]  # fmt: skip
    return [
        "family", "instance", "sampler", "budget", "products", "value", "replicas", "calls",
        "diverged", "seconds_per_call", "compile_seconds", "best", "median", *counts,
    ]  # fmt: skip


def rows_of(judged: Judged, config: ConfigDict) -> list[Row]:
    """A row a run."""
    return [
        (
            judged.family.name, name, judged.entry.label, run.budget, run.products, run.value,
            run.shares.shape[1], run.shares.shape[0], run.shares.size - run.finite.size,
            run.seconds, run.compile_seconds, run.best, run.median,
            *map(run.successes, config.levels), *map(run.call_successes, config.levels),
        )
        for name, runs in judged.runs.items()
        for run in runs
    ]  # fmt: skip


def solutions_of(judged: Judged, config: ConfigDict, rng: np.random.Generator) -> list[Solution]:
    """A solution a level, at the run length that was chosen for it."""
    found = []
    for level, budget in zip(config.levels, judged.tuned.budgets, strict=True):
        runs = judged.at(budget)
        counts = [run.successes(level) for run in runs], [run.shares.size for run in runs]
        replicas = [run.shares.shape[1] for run in runs]
        seconds = median_to_solution([run.seconds for run in runs], *counts, replicas, rng)
        alone = [1] * len(runs)
        products = median_to_solution([run.products for run in runs], *counts, alone, rng)
        of = judged.family.name, judged.entry.label, level, budget, judged.tuned.values[budget]
        found.append(Solution(*of, *seconds, *products))
    return found
