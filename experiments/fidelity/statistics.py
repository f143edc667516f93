"""How far counted states are from an enumerated law, and what exact draws would show."""

from typing import NamedTuple

import numpy as np

FEWEST_COUNTS = 20  # of a state in one half of the draws, for its log frequency to be regressed
FEWEST_STATES = 10  # for a slope to be given


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


def total_variation(counts: np.ndarray, log_p: np.ndarray) -> float:
    """Half the sum over states of |frequency - probability|."""
    return float(0.5 * np.abs(counts / counts.sum() - np.exp(log_p)).sum())


def kullback_leibler(counts: np.ndarray, log_p: np.ndarray) -> float:
    """KL divergence of the frequencies (plug-in) from the law, in nats.

    For exact draws it is not zero but about (states - 1) / (2 draws): compare with `exact_band`.
    """
    seen = counts > 0
    frequencies = counts[seen] / counts.sum()
    return float(np.sum(frequencies * (np.log(frequencies) - log_p[seen])))


def exact_band(log_p: np.ndarray, num_draws: int, num_sets: int, seed: int) -> dict[str, Band]:
    """What `total_variation` and `kullback_leibler` are for exact draws, from `num_sets` sets."""
    draw = np.random.default_rng(seed)
    probabilities = np.exp(log_p)
    probabilities /= probabilities.sum()
    sets = [draw.multinomial(num_draws, probabilities) for _ in range(num_sets)]
    distances = {"total_variation": total_variation, "kullback_leibler": kullback_leibler}
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
    count is one over the count); the other half gives the frequencies. Were they the same half,
    rare states would be there only when counted too often, and the line would be too flat.

    Args:
      first: counts of all states [states] in one half of the draws.
      second: counts in the other.
      energies: of all states, in units of kT.

    Returns:
      The line, of NaNs where fewer than ten states occur often enough, and which states are on it.
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
