"""What `results.json` and `results.csv` hold, made from the cells on disk."""

import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.ising import cells as ising_cells
from experiments.ising.cells import Entry
from experiments.ising.families import Family
from experiments.ising.instances import Instance
from experiments.ising.summary import (
    Pilot,
    Run,
    Tuned,
    best_within,
    over_instances,
    summarise_run,
    tune,
)
from experiments.kit.workdir import commit, flatten, plain_config, versions
from qbm_jax.study.rows import write_table

COLUMNS = (
    "family", "instance", "sampler", "budget", "products", "value", "replicas", "calls", "diverged",
    "seconds_per_call", "compile_seconds", "best", "median",
)  # fmt: skip


def judged_phase(family: Family) -> str:
    """Phase of a family's cells on held-out instances."""
    return f"judged-{family.name}"


def pilot_phase(family: Family) -> str:
    """Phase of the pilot cells that a family is tuned on."""
    return f"pilot-{family.tuned_on}"


def read_cell(workdir: Path, phase: str, instance: Instance, entry: Entry) -> list[Run]:
    """The runs of a finished cell."""
    return ising_cells.read(ising_cells.path_of(workdir, phase, instance.name, entry.label))


def best_found(workdir: Path, instance: Instance) -> tuple[float, str]:
    """The best value in any cell of an instance, and a sampler that found it."""
    best = {
        label: max(
            float(np.fmax.reduce(instance.value(run["energies"]), axis=None)) for run in runs
        )
        for label, runs in ising_cells.read_all(workdir, instance.name).items()
    }
    label = max(best, key=lambda label: np.nan_to_num(best[label], nan=-np.inf))
    return best[label], label


def best_value(workdir: Path, instance: Instance) -> float:
    """What counts as 100 % on an instance."""
    if instance.best_known is not None:
        return instance.best_known
    return best_found(workdir, instance)[0]


def tune_on_pilots(config: ConfigDict, workdir: Path, family: Family, entry: Entry) -> Tuned:
    """A sampler's settings for a family, from the finished cells of its pilots."""
    pilots = [
        Pilot(i, best_value(workdir, i), read_cell(workdir, pilot_phase(family), i, entry))
        for i in family.pilots
    ]
    return tune(pilots, config.levels, config.wall_seconds)


def document(
    config: ConfigDict,
    workdir: Path,
    families: list[Family],
    table: list[Entry],
    tuned: dict[tuple[str, str], Tuned],
    notes: list[str],
) -> dict[str, Any]:
    """All that the report needs."""
    rng = np.random.default_rng(config.seed)
    judged = [
        _judge(config, workdir, family, entry, tuned[family.name, entry.label], rng)
        for family in families
        for entry in family.suitable(table)
    ]
    return {
        "families": [_family(workdir, family) for family in families],
        "samplers": {
            e.label: {"sampler": e.sampler, "options": dict(e.options), "tuned": e.tuned,
                      "grid": e.grid, "products_per_step": e.products_per_step}
            for e in table
        },
        "levels": list(config.levels),
        "wall_seconds": list(config.wall_seconds),
        "rows": [row for rows, _, _ in judged for row in rows],
        "solutions": [solution for _, solutions, _ in judged for solution in solutions],
        "within": [item for _, _, within in judged for item in within],
        "notes": notes,
        "settings": flatten(plain_config(config)),
        "versions": versions(),
        "commit": commit(),
        "machine": machine(),
        "command": shlex.join(["python", *sys.argv]),
    }  # fmt: skip


def _judge(
    config: ConfigDict,
    workdir: Path,
    family: Family,
    entry: Entry,
    tuned: Tuned,
    rng: np.random.Generator,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """One sampler on one family: a row a run, a solution a level, a best value a wall time."""
    names = {"family": family.name, "sampler": entry.label}
    rows, within = [], []
    for instance in family.held_out:
        best = best_value(workdir, instance)
        runs = read_cell(workdir, judged_phase(family), instance, entry)
        named = names | {"instance": instance.name}
        rows += [named | summarise_run(run, instance, best, config.levels) for run in runs]
        by_budget = {run["budget"]: run for run in runs}
        within += [
            named | {"wall_seconds": wall, "budget": budget,
                     "best": best_within(by_budget[budget], instance, best, wall)}
            for wall, budget in zip(config.wall_seconds, tuned.wall_budgets, strict=True)
        ]  # fmt: skip
    solutions = [
        names | {"level": level, "budget": budget, "value": tuned.values[budget]}
        | over_instances([row for row in rows if row["budget"] == budget], place, rng)
        for place, (level, budget) in enumerate(zip(config.levels, tuned.budgets, strict=True))
    ]  # fmt: skip
    return rows, solutions, within


def _family(workdir: Path, family: Family) -> dict[str, Any]:
    return {
        "name": family.name,
        "title": family.title,
        "tuned_on": family.tuned_on,
        "products": family.products,
        "pilots": [instance.name for instance in family.pilots],
        "held_out": [_instance(workdir, instance) for instance in family.held_out],
    }


def _instance(workdir: Path, instance: Instance) -> dict[str, Any]:
    found, by = best_found(workdir, instance)
    return {
        "name": instance.name,
        "num_spins": instance.params.num_spins,
        "objective": instance.objective,
        "best": best_value(workdir, instance),
        "source": instance.source,
        "best_found": found,
        "best_found_by": by,
    }


def machine() -> dict[str, Any]:
    """Where the times were taken."""
    return {
        "device": f"{jax.default_backend()}, {jax.devices()[0].device_kind}",
        "cores": len(os.sched_getaffinity(0)),
        "load average, 15 minutes": round(os.getloadavg()[2], 2),
        "platform": platform.platform(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", ""),
    }


def write_csv(path: Path, rows: list[dict[str, Any]], levels: list[float]) -> None:
    """The rows as a table, whole or not at all: one success count a level at the end."""
    header = [*COLUMNS, *(f"successes_{level:g}" for level in levels)]
    header += [f"call_successes_{level:g}" for level in levels]
    own = ([row[name] for name in COLUMNS] for row in rows)
    counts = ([*row["successes"], *row["call_successes"]] for row in rows)
    write_table(path, header, (a + b for a, b in zip(own, counts, strict=True)))
