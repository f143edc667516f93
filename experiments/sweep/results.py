"""The rows of a finished sweep: every metric of every setting, and means over replicates."""

import math
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from experiments.sweep.outcomes import Outcomes
from experiments.sweep.settings import Sweep, SweepSetting, bounds_compare, describe
from qbm_jax.study.estimates import Estimate, difference_by_seed, estimate
from qbm_jax.study.rows import as_rows
from qbm_jax.study.standing import GAP, MEAN, Standing

MAIN_METRICS = ("total", "bio_conservation", "batch_correction", "elbo", "log_z", "seconds")
SHARED = "seconds"  # the same for all settings of a job
SUMMARY = {  # columns behind the values of a level, and what they are of a standing
    "metric": "metric", **MEAN, "half_width": "own.half_width", "baseline": "baseline", **GAP,
    "num_pairs": "gap.num_seeds",
}  # fmt: skip
REPLICATES = "seed"  # the axis that is averaged over


class Level(NamedTuple):
    """One value of an axis (or one combination of values), and its settings' numbers."""

    values: dict[str, Any]
    settings: list[int]


class SweepResults:
    """What is finished of a sweep.

    Attributes:
      sweep: all settings.
      finished: what was measured, by setting.
      failures: error by setting.
      stopped: epoch and bound of those that successive halving stopped, by setting.
      columns: of `rows`.
      axes: the swept paths that settings are compared along: all but the seed, if there is more.
      shown: the main metrics that any finished setting has.
      goal: the metric that says which setting is best: the total score, without labels the bound.
      has_best: whether the goal can tell.
      has_pairs: whether levels are compared seed by seed.
    """

    def __init__(self, sweep: Sweep, workdir: Path):
        """Reads the outcomes there are."""
        outcomes, numbers = Outcomes(workdir), range(len(sweep.settings))
        self.sweep = sweep
        self.finished = outcomes.finished(numbers)
        self.failures = outcomes.failures(numbers)
        self.stopped = outcomes.stopped(numbers)
        self.columns = ("setting", *sweep.paths, "metric", "value")
        self.axes = [path for path in sweep.paths if path != REPLICATES] or sweep.paths
        known = {name for _, *_, name, value in self.rows() if value is not None}
        self.shown = [metric for metric in MAIN_METRICS if metric in known]
        self.goal = "total" if "total" in known else "elbo"
        self.has_best = self.goal != "elbo" or self.bounds_compare
        self.has_pairs = REPLICATES in sweep.paths and self.axes != [REPLICATES]

    def setting(self, number: int) -> SweepSetting:
        """The setting of this number."""
        return self.sweep.settings[number]

    def name(self, number: int) -> str:
        """A setting in words."""
        return f"Setting {number} ({describe(self.setting(number).values)})"

    def metrics(self, number: int) -> dict[str, float | None]:
        """All metrics of a finished setting by name; None for what is not defined."""
        piece = self.finished[number]
        bound = {name: piece["bound"][name] for name in ("elbo", "log_z")}
        return piece["scores"] | bound | {"seconds": piece["seconds"]}

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """One for each finished setting and metric."""
        for number in sorted(self.finished):
            for metric, value in self.metrics(number).items():
                yield number, *self.setting(number).values.values(), metric, value

    def levels(self, paths: Iterable[str]) -> list[Level]:
        """The combinations of values that these paths take, in order, with all their settings."""
        levels: dict[str, Level] = {}
        for setting in self.sweep.settings:
            values = {path: setting.values[path] for path in paths}
            levels.setdefault(str(values), Level(values, [])).settings.append(setting.number)
        return sorted(levels.values(), key=lambda level: _order(level.values))

    def values(self, level: Level, metric: str) -> list[float | None]:
        """A metric of the finished settings of a level."""
        numbers = [number for number in level.settings if number in self.finished]
        return [self.metrics(number).get(metric) for number in numbers]

    def over(self, level: Level, metric: str) -> Estimate:
        """Mean of a metric over the seeds of a level, with its 95 % interval.

        Settings of one seed share the split and the cells' order, so that each seed is one number:
        the mean over what else is swept. Seconds are shares of a job's time, without an interval.
        """
        found = estimate(self._by_seed(level, metric).values())
        if metric != SHARED:
            return found
        return found._replace(sd=math.nan, standard_error=math.nan, half_width=math.nan)

    def ranked(self) -> list[Level]:
        """The combinations of values but for the seed, best mean first.

        A mean over fewer settings than another one has may be of the lucky seeds: those come last.
        """
        most = max(found.num_seeds for _, found in self._compared)

        def rank(pair: tuple[Level, Estimate]) -> tuple[bool, float]:
            mean = pair[1].mean
            return pair[1].num_seeds < most, -mean if math.isfinite(mean) else math.inf

        return [level for level, _ in sorted(self._compared, key=rank)]

    def uneven(self) -> bool:
        """Whether some combinations of values have fewer finished settings than others."""
        return len({found.num_seeds for _, found in self._compared}) > 1

    def behind(self, level: Level, best: Level, metric: str) -> Estimate:
        """A metric of a level minus that of the best one, seed by seed, with its 95 % interval."""
        return difference_by_seed(self._by_seed(level, metric), self._by_seed(best, metric))

    def summary(self) -> list[dict[str, Any]]:
        """The rows of `summary.csv`: every metric of every level, held against the best level.

        There is no difference without replicates, or of bounds of different quantities.
        """
        metrics = dict.fromkeys(name for n in sorted(self.finished) for name in self.metrics(n))
        levels = self.ranked()
        held = levels[1:] if self.has_pairs and self.has_best else []
        rows = []
        for level in levels:
            for metric in metrics:
                name, own = describe(level.values), self.over(level, metric)
                standing = Standing("", name, "", "", metric, own)
                paired = metric != SHARED and (metric != "elbo" or self.bounds_compare)
                if level in held and paired:
                    gap = self.behind(level, levels[0], metric)
                    standing = standing._replace(gap=gap, baseline=describe(levels[0].values))
                rows += [level.values | row for row in as_rows([standing], SUMMARY)]
        return rows

    @cached_property
    def bounds_compare(self) -> bool:
        """Whether the settings' bounds are of one quantity."""
        return bounds_compare(self.sweep.settings)

    @cached_property
    def _compared(self) -> list[tuple[Level, Estimate]]:
        return [(level, self.over(level, self.goal)) for level in self.levels(self.axes)]

    def _by_seed(self, level: Level, metric: str) -> dict[int, float | None]:
        found: dict[int, list[float | None]] = {}
        for number in level.settings:
            if number in self.finished:
                values = found.setdefault(self.setting(number).seed, [])
                values.append(self.metrics(number).get(metric))
        return {seed: estimate(values).mean for seed, values in found.items()}


def _order(values: dict[str, Any]) -> list[tuple[bool, float, str]]:
    """Numbers by size, then all else by name."""
    numbers = [isinstance(value, int | float) for value in values.values()]
    return [
        (not number, float(value) if number else 0.0, str(value))
        for number, value in zip(numbers, values.values(), strict=True)
    ]
