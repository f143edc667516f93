"""What the trainings found: the shape of it, and comparisons paired by seed."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95

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


class Estimate(NamedTuple):
    """A mean over seeds.

    Attributes:
      mean: NaN without any seed.
      standard_error: of the mean; NaN with one seed.
      half_width: of the 95 % interval by Student's t; NaN with one seed.
      num_seeds: how many entered.
    """

    mean: float
    standard_error: float
    half_width: float
    num_seeds: int

    @property
    def is_shown(self) -> bool:
        """Whether the interval excludes 0."""
        return abs(self.mean) > self.half_width


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of the finite values, with its errors."""
    finite = np.array([v for v in values if v is not None and math.isfinite(v)], float)
    if finite.size == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    if finite.size == 1:
        return Estimate(float(finite[0]), math.nan, math.nan, 1)
    error = float(finite.std(ddof=1) / math.sqrt(finite.size))
    quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, finite.size - 1))
    return Estimate(float(finite.mean()), error, quantile * error, finite.size)


def paired_difference(values: Sequence[float], others: Sequence[float]) -> Estimate:
    """Mean of values minus others, seed by seed; a seed that lacks either does not enter."""
    pairs = zip(values, others, strict=True)
    return estimate([v - o for v, o in pairs if v is not None and o is not None])


def metric(seeds: list[dict[str, Any]], name: str) -> list[float]:
    """One metric of each seed; NaN where it was not measured or the training had a fault."""
    values = [seed.get(name) for seed in seeds]
    return [math.nan if value is None else float(value) for value in values]


def cost(phases: dict[str, list[dict[str, Any]]], name: str) -> Estimate:
    """Nats per cell by which a phase's bound lies below that of the first phase."""
    reference = next(iter(phases))
    return paired_difference(metric(phases[reference], "elbo"), metric(phases[name], "elbo"))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation of the finite pairs; NaN for fewer than three."""
    pairs = np.array([first, second], float).T
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    return float(stats.spearmanr(*pairs.T).statistic) if len(pairs) >= 3 else math.nan
