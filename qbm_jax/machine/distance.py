"""How far draws are from an enumerated law. Arrays in, numbers out."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from qbm_jax.errors import InputError


class TotalVariation(NamedTuple):
    """Distance of draws to a law, beside what exact draws of the same number would show.

    Attributes:
      value: half the sum over states of |frequency - probability|, in [0, 1].
      floor: its expectation for independent draws from the law itself.
    """

    value: float
    floor: float


def total_variation(spins: ArrayLike, log_weights: ArrayLike) -> TotalVariation:
    """Distance between the frequencies of drawn spins and an enumerated law.

    Args:
      spins: independent draws [draws, spins].
      log_weights: of all states [2^N], in the order of `enumeration.enumerate_spins`, up to a
        constant: as from `enumeration.log_weights`.

    Raises:
      InputError: shapes that do not belong together, or spins other than -1 and +1.
    """
    spins, log_weights = np.asarray(spins), np.asarray(log_weights, np.float64)
    if spins.ndim != 2 or log_weights.shape != (2 ** spins.shape[1],):
        raise InputError(
            f"expected spins [draws, N] and log weights [2^N], got {spins.shape} and "
            f"{log_weights.shape}"
        )
    if not np.all(np.abs(spins) == 1):
        raise InputError("expected spins -1 and +1, got other values; was the draw finite?")
    num_draws = len(spins)
    probabilities = np.exp(log_weights - log_weights.max())
    probabilities /= probabilities.sum()
    states = (spins > 0) @ (1 << np.arange(spins.shape[1]))
    counts = np.bincount(states, minlength=probabilities.size)
    value = 0.5 * np.abs(counts / num_draws - probabilities).sum()
    floor = 0.5 * sum(_mean_deviation(num_draws, p) for p in probabilities) / num_draws
    return TotalVariation(float(value), float(floor))


def _mean_deviation(n: int, p: float) -> float:
    """E|X - np| of X ~ Binomial(n, p), by de Moivre's formula."""
    if not 0 < p < 1:
        return 0.0
    k = math.floor(n * p) + 1
    if k > n:
        return 2 * n * (1 - p) * p**n
    log_choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return 2 * k * math.exp(log_choose + k * math.log(p) + (n - k + 1) * math.log1p(-p))
