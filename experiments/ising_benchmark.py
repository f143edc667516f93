"""The Ising benchmark: samplers as optimisers, tuned on pilot instances, judged on others.

Every cell (a sampler on an instance, in one phase) is a file; what is there is not run again.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict
from tqdm import tqdm

from experiments.ising import cells as ising_cells
from experiments.ising import report as ising_report
from experiments.ising.cells import Entry, Plan
from experiments.ising.families import Family, check_families, fingerprint, load_families
from experiments.ising.instances import Instance
from experiments.ising.results import (
    document,
    judged_phase,
    pilot_phase,
    tune_on_pilots,
    write_csv,
)
from experiments.ising.summary import Tuned
from experiments.kit.sealed import read_sealed, write_sealed
from experiments.kit.workdir import claim_workdir
from qbm_jax.errors import InputError
from qbm_jax.runtime.keys import key_of
from qbm_jax.samplers.base import check_count

LOGGER = logging.getLogger("qbm_jax")


class Cell(NamedTuple):
    """Work whose result is one file."""

    path: Path
    phase: str
    instance: Instance
    entry: Entry
    plan: Plan


def run(config: ConfigDict, workdir: Path, stop: Callable[[], bool]) -> None:
    """Runs the benchmark in `workdir`; the same call again goes on with the cells not yet there.

    Raises:
      InputError: a config or data that cannot be used.
      KeyboardInterrupt: a stop was asked for.
    """
    if read_sealed(workdir / "results.json", workdir) is not None:
        LOGGER.info("%s is complete; the report is made anew from its files", workdir)
        ising_report.write(workdir)
        return
    table = check_config(config)
    families, notes = load_families(config)
    claim_workdir(workdir, config, fingerprint(families))
    for note in notes:
        LOGGER.warning("%s", note)
    run_cells(list(pilot_cells(config, workdir, families, table)), stop)
    tuned = {
        (family.name, entry.label): tune_on_pilots(config, workdir, family, entry)
        for family in families
        for entry in family.suitable(table)
    }
    run_cells(list(held_out_cells(config, workdir, families, table, tuned)), stop)
    results = document(config, workdir, families, table, tuned, notes)
    write_csv(workdir / "results.csv", results["rows"], results["levels"])
    write_sealed(workdir / "results.json", results, workdir)
    ising_report.write(workdir)
    LOGGER.info("report: %s", workdir / "report.md")


def check_config(config: ConfigDict) -> list[Entry]:
    """The table of samplers, once every number and name is known to be usable.

    Raises:
      InputError: one is not; the message names it.
    """
    check_count(replicas=config.replicas, pilot_calls=config.pilot_calls, calls=config.calls)
    for name in ("levels", "wall_seconds"):
        if not config[name] or min(config[name]) <= 0:
            raise InputError(f"config.{name}: expected numbers above 0, got {config[name]}")
    if max(config.levels) > 1:
        raise InputError(f"config.levels: expected fractions up to 1, got {config.levels}")
    check_families(config)
    table = ising_cells.entries(config)
    reference = config.reference
    check_count(products=reference.products, replicas=reference.replicas)
    if reference.sampler not in config.samplers:
        labels = ", ".join(config.samplers)
        raise InputError(f"config.reference.sampler: {reference.sampler!r} is none of {labels}")
    return table


def pilot_cells(
    config: ConfigDict, workdir: Path, families: list[Family], table: list[Entry]
) -> Iterator[Cell]:
    """All settings on all pilots, and the long runs that find references."""
    key = key_of(config.seed, "pilot runs")
    for family in families:
        if family.tuned_on != family.name:
            continue
        for instance in family.pilots:
            yield from reference_cell(config, workdir, instance, table)
            for entry in family.suitable(table):
                settings = tuple((p, v) for p in entry.lengths(family.products) for v in entry.grid)
                plan = Plan(settings, config.replicas, config.pilot_calls, key)
                yield _cell(workdir, pilot_phase(family), instance, entry, plan)


def held_out_cells(
    config: ConfigDict,
    workdir: Path,
    families: list[Family],
    table: list[Entry],
    tuned: dict[tuple[str, str], Tuned],
) -> Iterator[Cell]:
    """The tuned settings on all held-out instances, with other keys than the pilots'."""
    key = key_of(config.seed, "judged runs")
    for family in families:
        for instance in family.held_out:
            yield from reference_cell(config, workdir, instance, table)
            for entry in family.suitable(table):
                settings = tuple(tuned[family.name, entry.label].values.items())
                plan = Plan(settings, config.replicas, config.calls, key)
                yield _cell(workdir, judged_phase(family), instance, entry, plan)


def reference_cell(
    config: ConfigDict, workdir: Path, instance: Instance, table: list[Entry]
) -> Iterator[Cell]:
    """The long run for an instance without a best known value; nobody's time includes it.

    Where the reference sampler does not take the instance, the best of the others has to do.
    """
    reference = config.reference
    (entry,) = (e for e in table if e.label == reference.sampler)
    if instance.best_known is None and entry.takes(instance):
        key = key_of(config.seed, "reference runs")
        plan = Plan(((reference.products, reference.value),), reference.replicas, 1, key)
        yield _cell(workdir, "reference", instance, entry, plan)


def _cell(workdir: Path, phase: str, instance: Instance, entry: Entry, plan: Plan) -> Cell:
    path = ising_cells.path_of(workdir, phase, instance.name, entry.label)
    return Cell(path, phase, instance, entry, plan)


def run_cells(cells: list[Cell], stop: Callable[[], bool]) -> None:
    """Runs the cells that have no file yet; a bar on a terminal, else a line of log each."""
    missing = [cell for cell in cells if not ising_cells.is_finished(cell.path, cell.plan)]
    if len(missing) < len(cells):
        LOGGER.info("%d of %d cells are there already", len(cells) - len(missing), len(cells))
    terminal = sys.stderr.isatty()
    with tqdm(missing, disable=not terminal, unit="cell") as bar:
        for number, cell in enumerate(bar, 1):
            if stop():
                raise KeyboardInterrupt
            where = "/".join(cell.path.with_suffix("").parts[-3:])
            bar.set_description(where)
            start = time.perf_counter()
            ising_cells.measure(cell.path, cell.phase, cell.entry, cell.instance, cell.plan)
            if not terminal:
                seconds = time.perf_counter() - start
                LOGGER.info("cell %d/%d: %s, %.1f s", number, len(missing), where, seconds)
