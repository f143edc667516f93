"""Differences over paired seeds, with intervals that hold for five of them.

The plain percentile bootstrap does not: with five normal differences its 95 % interval covers the
mean in 84 % of cases. Measured coverage at nominal 95 %, n = 5 (3,000 draws each, +- 1 %):

    law of the differences    Student t    bootstrap-t    percentile
    normal                         0.95           0.95          0.84
    t with 3 degrees               0.96           0.95          0.83
    uniform                        0.94           0.96          0.85
    exponential                    0.88           0.93          0.78

Student's t is the interval to quote: as good, and a quarter narrower than bootstrap-t, which stands
beside it because it adapts to skewed differences.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from qbm_jax.errors import InputError

NUM_RESAMPLES = 10_000


class PairedDifference(NamedTuple):
    """Mean of values minus baseline over seeds, and two intervals for it."""

    mean: float
    low: float  # Student's t
    high: float
    bootstrap_low: float  # bootstrap-t (Efron and Tibshirani 1993, section 12.5)
    bootstrap_high: float
    num_seeds: int


def paired_difference(
    values: np.ndarray, baseline: np.ndarray, level: float = 0.95, seed: int = 0
) -> PairedDifference:
    """Interval for the mean of `values - baseline`, both [seeds], paired by position.

    Seeds where either is NaN are left out. Differences that are all equal give an interval of
    width 0.

    Args:
      values: one number per seed.
      baseline: the numbers of the same seeds.
      level: nominal coverage.
      seed: of the resampling.

    Raises:
      InputError: different lengths, fewer than two complete pairs, or a level outside (0, 1).
    """
    values, baseline = np.asarray(values, float), np.asarray(baseline, float)
    if values.shape != baseline.shape or values.ndim != 1:
        raise InputError(f"expected paired values [seeds], got {values.shape} and {baseline.shape}")
    if not 0 < level < 1:
        raise InputError(f"expected a level in (0, 1), got {level}")
    differences = values - baseline
    differences = differences[~np.isnan(differences)]
    number = len(differences)
    if number < 2:
        raise InputError(f"expected at least two paired seeds for an interval, got {number}")
    mean = differences.mean()
    error = differences.std(ddof=1) / np.sqrt(number)
    student = stats.t.ppf((1 + level) / 2, number - 1)
    lower, upper = _studentised_quantiles(differences, level, seed)
    return PairedDifference(
        mean=float(mean),
        low=float(mean - student * error),
        high=float(mean + student * error),
        bootstrap_low=float(mean - upper * error),
        bootstrap_high=float(mean - lower * error),
        num_seeds=number,
    )


def _studentised_quantiles(differences: np.ndarray, level: float, seed: int) -> np.ndarray:
    """Quantiles (low, high) of the resampled t statistics; resamples of one value are left out."""
    rng = np.random.default_rng(seed)
    number = len(differences)
    drawn = differences[rng.integers(number, size=(NUM_RESAMPLES, number))]
    spread = drawn.std(axis=1, ddof=1)
    usable = spread > 1e-9 * np.abs(differences).max()
    if not usable.any():
        return np.zeros(2)
    excess = drawn[usable].mean(axis=1) - differences.mean()
    statistics = excess / (spread[usable] / np.sqrt(number))
    return np.quantile(statistics, [(1 - level) / 2, (1 + level) / 2])
