"""From measured energies to what the report says: tuned settings, successes, time to solution."""

import math
from typing import Any, NamedTuple

import numpy as np

from experiments.ising.instances import Instance
from qbm_jax.problems import Estimate, num_runs, success_of_call, to_solution, wilson_interval

Run = dict[str, Any]
TUNING_QUANTILE = 0.9  # of the objective over replicas: what the good tenth of them reach
RESAMPLES = 2000  # of the bootstrap
ROUNDING = 1e-9  # of the best value: 99.5 % of an integer is not one in binary


class Tuned(NamedTuple):
    """What the pilots decided for one sampler.

    Attributes:
      values: tuned setting by budget of products.
      budgets: budget by success level, in the order of the levels.
      wall_budgets: budget by wall time, in the order of the times.
    """

    values: dict[int, float]
    budgets: tuple[int, ...]
    wall_budgets: tuple[int, ...]


class Pilot(NamedTuple):
    """A pilot instance, its best value, and all runs of one sampler on it."""

    instance: Instance
    best: float
    runs: list[Run]


def reached(values: np.ndarray, best: float, level: float) -> np.ndarray:
    """Which objectives reach the level, a fraction of the best; a diverged replica does not."""
    return values >= level * best - ROUNDING * abs(best)  # False for NaN


def counts(run: Run, instance: Instance, best: float, level: float) -> tuple[int, int]:
    """Successful replicas, and calls with at least one."""
    success = reached(instance.value(run["energies"]), best, level)
    return int(success.sum()), int(success.any(axis=1).sum())


def seconds_per_call(run: Run) -> float:
    """Median over calls, compile time excluded."""
    return float(np.median(run["seconds"]))


def solution(run: Run, instance: Instance, best: float, level: float) -> tuple[Estimate, Estimate]:
    """Seconds, and products of one replica after another, to solution on one instance."""
    energies = run["energies"]
    successes, _ = counts(run, instance, best, level)
    seconds = to_solution(seconds_per_call(run), successes, energies.size, energies.shape[1])
    return seconds, to_solution(run["products"], successes, energies.size)


def tune(pilots: list[Pilot], levels: tuple[float, ...], walls: tuple[float, ...]) -> Tuned:
    """Chooses a sampler's settings and run lengths on the pilots of a class.

    The setting of each budget is that with which the best tenth of replicas reach most; the budget
    of a level that with the least time to solution, the largest where none succeeds; the budget of
    a wall time that with the best value expected within it.
    """
    values = _best_settings(pilots)
    longest_first = sorted(values, reverse=True)

    def mean(measure, budget: int) -> float:
        return float(
            np.mean([
                measure(run, pilot.instance, pilot.best)
                for pilot in pilots
                for run in pilot.runs
                if (run["budget"], run["value"]) == (budget, values[budget])
            ])
        )  # fmt: skip

    def seconds(level: float) -> int:
        def measure(run, instance, best):
            return solution(run, instance, best, level)[0].value

        return min(longest_first, key=lambda budget: mean(measure, budget))

    def within(wall: float) -> int:
        def measure(run, instance, best):
            return best_within(run, instance, best, wall)

        return max(longest_first, key=lambda budget: mean(measure, budget))

    return Tuned(values, tuple(map(seconds, levels)), tuple(map(within, walls)))


def _best_settings(pilots: list[Pilot]) -> dict[int, float]:
    scores: dict[int, dict[float, list[float]]] = {}
    for instance, best, runs in pilots:
        for run in runs:
            values = np.nan_to_num(instance.value(run["energies"]) / best, nan=-math.inf)
            score = float(np.quantile(values, TUNING_QUANTILE, method="lower"))
            scores.setdefault(run["budget"], {}).setdefault(run["value"], []).append(score)
    return {
        budget: max(by_value, key=lambda value: float(np.mean(by_value[value])))
        for budget, by_value in scores.items()
    }


def summarise_run(
    run: Run, instance: Instance, best: float, levels: tuple[float, ...]
) -> dict[str, Any]:
    """A run on an instance as numbers for the tables."""
    values = instance.value(run["energies"]) / best
    finite = values[np.isfinite(values)]
    counted = [counts(run, instance, best, level) for level in levels]
    solutions = [solution(run, instance, best, level) for level in levels]
    return {
        "budget": run["budget"],
        "products": run["products"],
        "value": run["value"],
        "replicas": values.shape[1],
        "calls": values.shape[0],
        "diverged": int(values.size - finite.size),
        "seconds_per_call": seconds_per_call(run),
        "compile_seconds": run["compile_seconds"],
        "best": float(finite.max()) if finite.size else None,
        "median": float(np.median(finite)) if finite.size else None,
        "successes": [replicas for replicas, _ in counted],
        "success_intervals": [list(wilson_interval(k, values.size)) for k, _ in counted],
        "call_successes": [calls for _, calls in counted],
        "seconds_to_solution": [list(seconds) for seconds, _ in solutions],
        "products_to_solution": [list(products) for _, products in solutions],
    }


def over_instances(
    rows: list[dict[str, Any]], level: int, rng: np.random.Generator
) -> dict[str, list[float]]:
    """Median over a class's instances of the time and the products to solution at one level.

    One instance keeps its own interval. Several are resampled, each with a success probability
    from its Jeffreys posterior, so that the interval holds both spreads.
    """
    both: dict[str, list[float]] = {}
    for name, replicas in (("seconds", True), ("products", False)):
        each = [Estimate(*row[f"{name}_to_solution"][level]) for row in rows]
        if len(each) == 1:
            both[name] = list(each[0])
            continue
        costs = [row["seconds_per_call"] if replicas else row["products"] for row in rows]
        draws = _resample(rows, costs, level, replicas, rng)
        value = float(np.median([estimate.value for estimate in each]))
        low = float(np.quantile(draws, 0.025, method="lower"))
        high = float(np.quantile(draws, 0.975, method="higher"))
        both[name] = [value, low, high if math.isfinite(value) else math.inf]
    return both


def _resample(
    rows: list[dict[str, Any]],
    costs: list[float],
    level: int,
    replicas: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """Bootstrap draws of the median cost to solution."""
    medians = []
    for _ in range(RESAMPLES):
        costs_to_solution = []
        for place in rng.integers(len(rows), size=len(rows)):
            drawn = rows[place]
            trials, successes = drawn["replicas"] * drawn["calls"], drawn["successes"][level]
            p = rng.beta(successes + 0.5, trials - successes + 0.5)
            p = success_of_call(p, drawn["replicas"] if replicas else 1)
            costs_to_solution.append(costs[place] * num_runs(p))
        medians.append(np.median(costs_to_solution))
    return np.array(medians)


def expected_best(values: np.ndarray, number: int) -> float:
    """Mean of the largest of `number` values drawn with replacement; -inf where there is none."""
    ordered = np.sort(values[np.isfinite(values)])
    if not (number and ordered.size):
        return -math.inf
    below = (np.arange(ordered.size + 1) / ordered.size) ** number
    return float(ordered @ np.diff(below))


def best_within(run: Run, instance: Instance, best: float, seconds: float) -> float:
    """Expected best value, a fraction of the best known, of the calls that fit in a wall time.

    -inf where not one does.
    """
    values = instance.value(run["energies"]) / best
    calls = int(seconds / seconds_per_call(run))
    return expected_best(values.ravel(), calls * values.shape[1])
