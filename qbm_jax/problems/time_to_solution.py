"""Success probabilities with their intervals, and the time to solution they stand for."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import check, finite, fraction, positive, shown, whole

RESAMPLES = 2000  # of the bootstrap over instances
FEWEST_INSTANCES = 5  # that tell of others of their kind: intervals of fewer are too narrow


class Estimate(NamedTuple):
    """A value with its interval; infinity where there is no bound."""

    value: float
    low: float
    high: float


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a success probability: sound at 0 and at all successes too.

    Raises:
      InputError: no trials, successes that are no whole number from 0 to trials, or a confidence
        outside 0 to 1.

    Source: Wilson 1927; Brown, Cai and DasGupta 2001, Statistical Science 16, 101, equation 4.
    """
    counts = {"trials": trials, "successes": successes}
    trials, successes = (check(name, value, whole(0)) for name, value in counts.items())
    if trials < 1 or successes > trials:
        raise InputError(f"expected 0 <= successes <= trials >= 1, got {successes} of {trials}")
    confidence = _confidence(confidence)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    # Exact at the ends, where rounding would leave 1e-17.
    low = 0.0 if successes == 0 else max(centre - half, 0.0)
    return low, 1.0 if successes == trials else min(centre + half, 1.0)


def success_of_call(probability: float, num_replicas: int) -> float:
    """Chance that at least one of independent replicas succeeds, 1 - (1 - p)^R.

    Raises:
      InputError: a probability outside 0 to 1, or no replica.
    """
    probability = check("probability", probability, fraction())
    num_replicas = check("num_replicas", num_replicas, whole(1))
    if probability >= 1:
        return 1.0
    return -math.expm1(num_replicas * math.log1p(-probability))


def num_runs(probability: float, confidence: float = 0.99) -> float:
    """Runs until one has succeeded with the given confidence, ln(1 - c) / ln(1 - p), at least 1.

    Infinite where p is 0. A run cannot be split: where p exceeds the confidence, one is needed.

    Raises:
      InputError: a probability or a confidence outside 0 to 1.

    Source: Ronnow et al. 2014, Science 345, 420.
    """
    probability = check("probability", probability, fraction())
    confidence = _confidence(confidence)
    if probability <= 0:
        return math.inf
    if probability >= confidence:
        return 1.0
    return math.log1p(-confidence) / math.log1p(-probability)


def to_solution(
    cost: float, successes: int, trials: int, num_replicas: int = 1, confidence: float = 0.99
) -> Estimate:
    """Cost until a success has been seen with the given confidence, and its 95 % interval.

    The interval is that of `wilson_interval`, carried through: without a success it has a lower end
    only. The cost of a run is taken as known.

    Args:
      cost: of one call that runs `num_replicas` replicas at once (seconds, products, ...).
      successes: replicas that succeeded.
      trials: replicas in all, over all calls.
      num_replicas: independent replicas of a call; its success is that of any of them.
      confidence: that at least one replica of all calls succeeds.

    Raises:
      InputError: a cost that is not above 0, no replica, or what `wilson_interval` raises.
    """
    cost = check("cost", cost, positive())
    low, high = wilson_interval(successes, trials)
    rates = (successes / trials, high, low)
    return Estimate(*(cost * num_runs(success_of_call(p, num_replicas), confidence) for p in rates))


def median_to_solution(
    costs: Sequence[float],
    successes: Sequence[int],
    trials: Sequence[int],
    num_replicas: Sequence[int],
    rng: np.random.Generator,
) -> Estimate:
    """Median of `to_solution` over instances of one kind.

    One instance keeps its own interval. Of several, each has success probabilities drawn from its
    Jeffreys posterior, and from `FEWEST_INSTANCES` on the instances are resampled as well: the
    interval is then of the median over all of their kind, else of the median of these alone.

    Args:
      costs: of a call on each instance, [instances].
      successes: replicas that succeeded on each.
      trials: replicas in all on each.
      num_replicas: independent replicas of a call on each.
      rng: of the resampling.

    Raises:
      InputError: no instance, other numbers of them, or what `to_solution` raises.
    """
    shapes = [np.shape(given) for given in (costs, successes, trials, num_replicas)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1 or shapes[0] == (0,):
        raise InputError(
            "expected costs, successes, trials and num_replicas, one of each an instance, got "
            f"shapes {', '.join(map(str, shapes))}"
        )
    each = [*map(to_solution, costs, successes, trials, num_replicas)]
    if len(each) == 1:
        return each[0]
    medians, places = [], list(range(len(each)))
    for _ in range(RESAMPLES):
        drawn = []
        if len(each) >= FEWEST_INSTANCES:
            places = rng.integers(len(each), size=len(each)).tolist()
        for place in places:
            failures = trials[place] - successes[place]
            p = rng.beta(successes[place] + 0.5, failures + 0.5)
            drawn.append(costs[place] * num_runs(success_of_call(p, num_replicas[place])))
        medians.append(np.median(drawn))
    value = float(np.median([estimate.value for estimate in each]))
    low = float(np.quantile(medians, 0.025, method="lower"))
    high = float(np.quantile(medians, 0.975, method="higher"))
    return Estimate(value, low, high if math.isfinite(value) else math.inf)


def expected_best(values: np.ndarray, number: int) -> float:
    """Mean of the largest of `number` values drawn with replacement; -inf where there is none.

    Draws that are not finite, diverged replicas, are draws: the mean is over those sets of draws
    that have a finite one.

    Args:
      values: of replicas, any shape; some may not be finite.
      number: of draws.

    Raises:
      InputError: a number of draws that is no whole number of at least 0.
    """
    number, values = check("number", number, whole(0)), np.asarray(values, np.float64).ravel()
    ordered = np.sort(values[np.isfinite(values)])
    if not (number and ordered.size):
        return -math.inf
    # P(all draws are among those that are not finite and the k smallest)
    below = (np.arange(values.size - ordered.size, values.size + 1) / values.size) ** number
    return float(ordered @ np.diff(below) / (1 - below[0]))


def _confidence(value: float) -> float:
    value = check("confidence", value, finite())
    if not 0 < value < 1:
        raise InputError(f"expected a confidence between 0 and 1, got {shown(value)}; 95 % is 0.95")
    return value
