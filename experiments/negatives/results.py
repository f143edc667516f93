"""What the trainings found: the shape of it, and comparisons paired by seed."""

import math
from typing import Any, NamedTuple

from qbm_jax.study.estimates import Estimate, paired_difference

# size -> phase -> metrics of each seed; `fault` is "" where the training was finite throughout.
Results = dict[str, dict[str, list[dict[str, Any]]]]


class Facts(NamedTuple):
    """What a report says of cells and settings.

    Attributes:
      source: where the cells come from.
      simulated: whether they are.
      num_cells: cells in all.
      num_genes: genes modelled.
      num_epochs: of each training.
      num_seeds: trainings of each phase.
      num_latents: size -> spins N.
      enumerated: size -> whether log Z and moments are sums over all states.
      phases: phase -> its fields in the config.
      num_draws: size -> draws of all chains behind each measured error.
      notes: remarks on the cells.
      versions: of Python and packages.
      commit: of the code.
    """

    source: str
    simulated: bool
    num_cells: int
    num_genes: int
    num_epochs: int
    num_seeds: int
    num_latents: dict[str, int]
    enumerated: dict[str, bool]
    phases: dict[str, dict[str, Any]]
    num_draws: dict[str, int]
    notes: tuple[str, ...]
    versions: dict[str, str]
    commit: str


def metric(seeds: list[dict[str, Any]], name: str) -> list[float]:
    """One metric of each seed; NaN where it was not measured or the training had a fault."""
    values = [seed.get(name) for seed in seeds]
    return [math.nan if value is None else float(value) for value in values]


def cost(phases: dict[str, list[dict[str, Any]]], name: str) -> Estimate:
    """Nats per cell by which a phase's bound lies below that of the first phase."""
    reference = next(iter(phases))
    return paired_difference(metric(phases[reference], "elbo"), metric(phases[name], "elbo"))
