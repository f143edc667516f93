"""What the pilots decide: one setting for each run length, and run lengths for each aim."""

import math
from typing import NamedTuple

import numpy as np

from qbm_jax.problems.runs import SolverRun

TUNING_QUANTILE = 0.9  # of the objective over replicas: what the good tenth of them reach


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


def tune(runs: list[SolverRun], levels: tuple[float, ...], walls: tuple[float, ...]) -> Tuned:
    """Chooses a sampler's settings and run lengths by its runs on all pilots of a family.

    The setting of each budget is that with which the best tenth of replicas reach most; the budget
    of a level that with the least time to solution, the largest where none succeeds; the budget of
    a wall time that with the best value expected within it.
    """
    values = _best_settings(runs)
    chosen = {
        budget: [run for run in runs if (run.budget, run.value) == (budget, value)]
        for budget, value in values.items()
    }
    longest_first = sorted(values, reverse=True)

    def time_to(level: float, budget: int) -> float:
        return float(np.mean([run.solution(level)[0].value for run in chosen[budget]]))

    def best_within(seconds: float, budget: int) -> float:
        return float(np.mean([run.best_within(seconds) for run in chosen[budget]]))

    return Tuned(
        values,
        tuple(min(longest_first, key=lambda b: time_to(level, b)) for level in levels),
        tuple(max(longest_first, key=lambda b: best_within(wall, b)) for wall in walls),
    )


def _best_settings(runs: list[SolverRun]) -> dict[int, float]:
    scores: dict[int, dict[float, list[float]]] = {}
    for run in runs:
        shares = np.nan_to_num(run.shares, nan=-math.inf)
        score = float(np.quantile(shares, TUNING_QUANTILE, method="lower"))
        scores.setdefault(run.budget, {}).setdefault(run.value, []).append(score)
    return {
        budget: max(by_value, key=lambda value: float(np.mean(by_value[value])))
        for budget, by_value in scores.items()
    }
