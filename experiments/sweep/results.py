"""The rows of a finished sweep: every metric of every setting, and means over replicates."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from experiments.sweep.outcomes import Outcomes
from experiments.sweep.settings import Sweep
from qbm_jax.study.estimates import Estimate, by_seed, estimate, paired_difference
from qbm_jax.study.rows import write_table

MAIN_METRICS = ("total", "bio_conservation", "batch_correction", "elbo", "log_z", "seconds")
REPLICATES = "seed"  # the axis that is averaged over


class Level(NamedTuple):
    """One value of an axis (or one combination of values), and its settings' numbers."""

    values: dict[str, Any]
    settings: list[int]


class Results:
    """What is finished of a sweep.

    Attributes:
      sweep: all settings.
      finished: what was measured, by setting.
      failures: error by setting.
      stopped: epoch and bound of those that successive halving stopped, by setting.
    """

    def __init__(self, sweep: Sweep, workdir: Path):
        """Reads the outcomes there are."""
        outcomes, numbers = Outcomes(workdir), range(len(sweep.settings))
        self.sweep = sweep
        self.finished = outcomes.finished(numbers)
        self.failures = outcomes.failures(numbers)
        self.stopped = outcomes.stopped(numbers)

    @property
    def axes(self) -> list[str]:
        """The swept paths that settings are compared along: all but the seed, if there is more."""
        return [path for path in self.sweep.paths if path != REPLICATES] or self.sweep.paths

    def metrics(self, number: int) -> dict[str, float | None]:
        """All metrics of a finished setting by name; None for what is not defined."""
        piece = self.finished[number]
        bound = {name: piece["bound"][name] for name in ("elbo", "log_z")}
        return piece["scores"] | bound | {"seconds": piece["seconds"]}

    def has(self, metric: str) -> bool:
        """Whether any finished setting has the metric."""
        return any(self.metrics(number).get(metric) is not None for number in self.finished)

    def levels(self, paths: Iterable[str]) -> list[Level]:
        """The combinations of values that these paths take, in order, with all their settings."""
        levels: dict[str, Level] = {}
        for setting in self.sweep.settings:
            values = {path: setting.values[path] for path in paths}
            levels.setdefault(str(values), Level(values, [])).settings.append(setting.number)
        return sorted(levels.values(), key=lambda level: _order(level.values))

    def over(self, level: Level, metric: str) -> Estimate:
        """Mean of a metric over the finished settings of a level, with its 95 % interval."""
        numbers = [number for number in level.settings if number in self.finished]
        return estimate([self.metrics(number).get(metric) for number in numbers])

    def goal(self) -> str:
        """The metric that says which setting is best: the total score, without labels the bound."""
        return "total" if self.has("total") else "elbo"

    def ranked(self) -> list[Level]:
        """The combinations of values but for the seed, best mean first.

        A mean over fewer settings than another one has may be of the lucky seeds: those come last.
        """
        goal = self.goal()
        found = [(level, self.over(level, goal)) for level in self.levels(self.axes)]
        most = max(estimate.num_seeds for _, estimate in found)

        def rank(pair: tuple[Level, Estimate]) -> tuple[bool, float]:
            mean = pair[1].mean
            return pair[1].num_seeds < most, -mean if math.isfinite(mean) else math.inf

        return [level for level, _ in sorted(found, key=rank)]

    def uneven(self) -> bool:
        """Whether some combinations of values have fewer finished settings than others."""
        levels, goal = self.levels(self.axes), self.goal()
        return len({self.over(level, goal).num_seeds for level in levels}) > 1

    def best(self) -> tuple[Level, Estimate] | None:
        """The first of `ranked` and its mean; None if no mean is known."""
        level = self.ranked()[0]
        found = self.over(level, self.goal())
        return (level, found) if math.isfinite(found.mean) else None

    def behind(self, level: Level, best: Level) -> Estimate:
        """The goal of a level minus that of the best one, seed by seed, with its 95 % interval."""
        return paired_difference(*by_seed(self._by_seed(level), self._by_seed(best)))

    def _by_seed(self, level: Level) -> dict[int, float | None]:
        goal, settings = self.goal(), self.sweep.settings
        done = [number for number in level.settings if number in self.finished]
        return {settings[n].config.seed: self.metrics(n).get(goal) for n in done}

    def write_csv(self, path: Path) -> None:
        """One row for each finished setting and metric."""
        rows = [
            (number, *self.sweep.settings[number].values.values(), metric, value)
            for number in sorted(self.finished)
            for metric, value in self.metrics(number).items()
        ]
        write_table(path, ("setting", *self.sweep.paths, "metric", "value"), rows)


def _order(values: dict[str, Any]) -> list[tuple[bool, float, str]]:
    """Numbers by size, then all else by name."""
    numbers = [isinstance(value, int | float) for value in values.values()]
    return [
        (not number, float(value) if number else 0.0, str(value))
        for number, value in zip(numbers, values.values(), strict=True)
    ]
