"""The Ising benchmark: samplers as optimisers, tuned on pilot instances, judged on others."""

import logging
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
from ml_collections import ConfigDict

from experiments.ising import report as ising_report
from experiments.ising.families import check_families, load_families
from experiments.ising.results import IsingPlan, columns, judge, rows_of, solutions_of, tune_all
from experiments.ising.samplers import entries
from experiments.kit.runner import Piece, Results, Tables, Work
from experiments.kit.stop import StopRequest
from qbm_jax.errors import InputError
from qbm_jax.problems import Instance
from qbm_jax.problems.measured import Calls, measure
from qbm_jax.problems.solver import Solver
from qbm_jax.runtime.keys import key_of
from qbm_jax.runtime.room import check_room
from qbm_jax.samplers.base import check_count
from qbm_jax.study.document import Document

LOGGER = logging.getLogger("qbm_jax")


def check(config: ConfigDict) -> IsingPlan:
    """The table of samplers and the instances that are there.

    Raises:
      InputError: a config or data that cannot be used.
    """
    table = check_config(config)
    families, notes = load_families(config)
    for note in notes:
        LOGGER.warning("%s", note)
    for family in families:
        if not family.suitable(table):
            raise InputError(
                f"config.families.{family.name}: no sampler of config.samplers takes its instances"
                f" and run lengths; add one or leave the family out"
            )
        most = max(instance.params.num_spins for instance in family.pilots + family.held_out)
        check_room("their spins", 4 * most, replicas=config.replicas)
    return IsingPlan(config, families, table, notes)


def check_config(config: ConfigDict) -> list[Solver]:
    """The table of samplers, once every number and name is known to be usable.

    Raises:
      InputError: one is not; the message names it.
    """
    check_count(replicas=config.replicas, pilot_calls=config.pilot_calls, calls=config.calls)
    for name in ("levels", "wall_seconds"):
        if not config[name] or min(config[name]) <= 0:
            raise InputError(f"config.{name}: expected numbers above 0, got {config[name]}")
        if len(set(config[name])) < len(config[name]):
            raise InputError(f"config.{name}: expected each number once, got {config[name]}")
    if max(config.levels) > 1:
        raise InputError(f"config.levels: expected fractions up to 1, got {config.levels}")
    check_families(config)
    reference = config.reference
    check_count(products=reference.products, replicas=reference.replicas)
    if reference.sampler not in config.samplers:
        labels = ", ".join(config.samplers)
        raise InputError(f"config.reference.sampler: {reference.sampler!r} is none of {labels}")
    return entries(config)


def pieces(plan: IsingPlan, stop: StopRequest) -> Iterable[Work]:
    """All settings on all pilots, and the long runs that find references.

    A piece takes seconds, so a signal interrupts at once.
    """
    del stop
    config = plan.config
    calls = Calls(config.replicas, config.pilot_calls, key_of(config.seed, "pilot runs"))
    found: dict[tuple[str, ...], Work] = {}  # families may share pilots
    for family in plan.families:
        for instance in family.pilots:
            for work in references(plan, instance):
                found.setdefault((work.section, instance.name), work)
            for entry in family.suitable(plan.table):
                settings = [(p, v) for p in entry.lengths(family.products) for v in entry.grid]
                section = family.pilot_section
                work = work_on(section, instance, entry, settings, calls)
                found.setdefault((section, instance.name, entry.label), work)
    return found.values()


def then(plan: IsingPlan, measured: list[Piece], stop: StopRequest) -> Iterator[Work]:
    """The tuned settings on all held-out instances, with other keys than the pilots'."""
    del stop
    config, tuned = plan.config, tune_all(plan, measured)
    calls = Calls(config.replicas, config.calls, key_of(config.seed, "judged runs"))
    for family in plan.families:
        for instance in family.held_out:
            yield from references(plan, instance)
            for entry in family.suitable(plan.table):
                settings = list(tuned[family.name, entry.label].values.items())
                yield work_on(family.judged_section, instance, entry, settings, calls)


def references(plan: IsingPlan, instance: Instance) -> Iterator[Work]:
    """The long run for an instance without a best known value; nobody's time includes it.

    Where the reference sampler does not take the instance, the best of the others has to do.
    """
    reference = plan.config.reference
    (entry,) = (e for e in plan.table if e.label == reference.sampler)
    if instance.best_known is None and entry.takes(instance):
        settings = [(reference.products, reference.value)]
        calls = Calls(reference.replicas, 1, key_of(plan.config.seed, "reference runs"))
        yield work_on("reference", instance, entry, settings, calls)


def work_on(
    section: str,
    instance: Instance,
    entry: Solver,
    settings: list[tuple[int, float]],
    calls: Calls,
) -> Work:
    """A piece: a sampler on an instance; with other settings it is another."""
    names = {"instance": instance.name, "sampler": entry.label}
    compute = partial(measure, entry, instance, settings, calls)
    return Work(section, names, compute, {"settings": [list(setting) for setting in settings]})


def tables(plan: IsingPlan, pieces: list[Piece]) -> Tables:
    """A row a judged run; time to solution by family, sampler and level."""
    rng, judged = np.random.default_rng(plan.config.seed), judge(plan, pieces)
    rows = [row for one in judged for row in rows_of(one, plan.config)]
    solutions = [found for one in judged for found in solutions_of(one, plan.config, rng)]
    return Tables(columns(plan.config), rows, solutions)


def document(plan: IsingPlan, results: Results) -> Document:
    """Winners first, then tables and figures."""
    return ising_report.write(plan, judge(plan, results.pieces), results)
