"""How far draws are from an enumerated law: functions of arrays that return numbers."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from qbm_jax.errors import InputError

FEWEST_COUNTS = 20  # of a state in one half of the draws, for its log frequency to be regressed
FEWEST_STATES = 10  # for a slope to be given


class TotalVariation(NamedTuple):
    """Distance of draws to a law, beside what exact draws of the same number would show.

    Attributes:
      value: half the sum over states of |frequency - probability|, in [0, 1].
      floor: its expectation for independent draws from the law itself.
    """

    value: float
    floor: float


class Band(NamedTuple):
    """Mean and standard deviation of a distance over sets of exact draws."""

    mean: float
    deviation: float

    def z(self, value: float) -> float:
        """By how many standard deviations `value` lies above the mean of exact draws."""
        return (value - self.mean) / self.deviation


class Line(NamedTuple):
    """Regression of log frequency on energy.

    Attributes:
      slope: -1 for draws at T = 1, -beta at inverse temperature beta.
      standard_error: of the slope, from the scatter about the line.
      correlation: of energy and log frequency; at any temperature near -1.
      num_states: states on the line.
    """

    slope: float
    standard_error: float
    correlation: float
    num_states: int


def count_states(spins: np.ndarray) -> np.ndarray:
    """How often each of the 2^N states occurs in spins [draws, N], in the order of enumeration."""
    num_spins = spins.shape[1]
    return np.bincount((spins > 0) @ (1 << np.arange(num_spins)), minlength=2**num_spins)


def normalise(log_weights: np.ndarray) -> np.ndarray:
    """Log probabilities in float64 from log weights [states]."""
    log_weights = np.asarray(log_weights, np.float64)
    return log_weights - np.logaddexp.reduce(log_weights)


def total_variation(spins: ArrayLike, log_weights: ArrayLike) -> TotalVariation:
    """Distance between the frequencies of drawn spins and an enumerated law.

    Args:
      spins: independent draws [draws, spins].
      log_weights: of all states [2^N], in the order of `enumeration.enumerate_spins`, up to a
        constant: as from `enumeration.log_weights`.

    Raises:
      InputError: no draw, shapes that do not belong together, log weights that are NaN, or a spin
        that is neither -1 nor +1.
    """
    spins, log_weights = np.asarray(spins), np.asarray(log_weights, np.float64)
    if spins.ndim != 2 or not len(spins) or log_weights.shape != (2 ** spins.shape[1],):
        raise InputError(
            f"expected spins [draws, N] and log weights [2^N], got {spins.shape} and "
            f"{log_weights.shape}"
        )
    if not np.all(np.abs(spins) == 1):
        raise InputError("expected spins -1 and +1, got other values; was the draw finite?")
    if not np.isfinite(log_weights.max()):
        raise InputError("expected log weights of a law, got NaN or infinity; check J and h")
    num_draws = len(spins)
    probabilities = np.exp(log_weights - log_weights.max())
    probabilities /= probabilities.sum()
    value = 0.5 * np.abs(count_states(spins) / num_draws - probabilities).sum()
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


def variation_of_counts(counts: np.ndarray, log_p: np.ndarray) -> float:
    """Half the sum over states of |frequency - probability|, both [states]."""
    return float(0.5 * np.abs(counts / counts.sum() - np.exp(log_p)).sum())


def kullback_leibler(counts: np.ndarray, log_p: np.ndarray) -> float:
    """KL divergence of the frequencies (plug-in) from the law, in nats; both arrays [states].

    For exact draws it is about (states - 1) / (2 draws), not zero: compare it with `exact_band`.
    """
    seen = counts > 0
    frequencies = counts[seen] / counts.sum()
    return float(np.sum(frequencies * (np.log(frequencies) - log_p[seen])))


def exact_band(log_p: np.ndarray, num_draws: int, num_sets: int, seed: int) -> dict[str, Band]:
    """The two distances of exact draws from their law, over `num_sets` sets.

    The distances are `variation_of_counts` and `kullback_leibler`; `log_p` is [states].
    """
    draw = np.random.default_rng(seed)
    probabilities = np.exp(log_p)
    probabilities /= probabilities.sum()
    sets = [draw.multinomial(num_draws, probabilities) for _ in range(num_sets)]
    distances = {"total_variation": variation_of_counts, "kullback_leibler": kullback_leibler}
    bands = {}
    for name, distance in distances.items():
        values = [distance(counts, log_p) for counts in sets]
        bands[name] = Band(float(np.mean(values)), float(np.std(values, ddof=1)))
    return bands


def log_frequency_line(
    first: np.ndarray, second: np.ndarray, energies: np.ndarray
) -> tuple[Line, np.ndarray]:
    """Regresses log frequency on energy, over states that occur often enough.

    One half of the draws chooses the states and weighs them by its counts (the variance of a log
    count is one over the count); the other half gives the frequencies. If one half did both, rare
    states would appear only when counted too often, and the line would be too flat.

    Args:
      first: counts of all states [states] in one half of the draws.
      second: counts in the other.
      energies: of all states, in units of kT.

    Returns:
      The line, and which states are on it; NaNs where fewer than ten states occur often enough.
    """
    chosen = np.flatnonzero(first >= FEWEST_COUNTS)
    x, weights = energies[chosen], first[chosen].astype(np.float64)
    if chosen.size < FEWEST_STATES or np.ptp(x) == 0:
        return Line(np.nan, np.nan, np.nan, chosen.size), chosen
    # With 1/2 added the log of a Poisson count has the log of its mean up to second order.
    y = np.log(second[chosen] + 0.5)
    centred = x - np.average(x, weights=weights)
    information = np.sum(weights * centred**2)
    slope = np.sum(weights * centred * y) / information
    residuals = y - np.average(y, weights=weights) - slope * centred
    # Sandwich form: right whether the scatter is that of counting or of a law that is no line.
    error = np.sqrt(np.sum((weights * centred * residuals) ** 2)) / information
    correlation = np.corrcoef(x, y)[0, 1]
    return Line(float(slope), float(error), float(correlation), chosen.size), chosen
