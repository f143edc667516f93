"""From rows to means and paired differences: to random, to greedy ones, to the best baseline."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from experiments.selection.intervals import within_set
from qbm_jax.fitted.tasks.study_set import FOLD_SHARE
from qbm_jax.selection.methods import ACTIVE, BASELINE, GREEDILY, METHODS, QUBO
from qbm_jax.study.estimates import Estimate, difference_by_seed, estimate, over_sets
from qbm_jax.study.standing import MEAN, Standing

NAMED = RANDOM, GREEDY, MMD_GREEDY = "random", "facility_greedy", "mmd_greedy"
ALL = "all"  # what trained on the whole pool is called
IMAGES = "mnist"
CELLS_TOGETHER, IMAGES_TOGETHER = "all sets of cells", "images at all numbers"
SMALLER_IS_BETTER = ("hausdorff", "covering", "mmd", "batch_imbalance", "seconds")
COMPARED = ("labels", "sketch", "training")

Row = dict[str, Any]
Methods = dict[str, dict[int, float]]
"""Values by method and seed."""
Settings = dict[tuple[str, str], Methods]
"""Of one set, by setting and metric."""


class Rivals(NamedTuple):
    """A method in a metric, against all that it is held against; `own` is the same in all of them.

    `to_best` is against the baseline (greedy ones and those that ask for labels included) with the
    best mean there, other than itself; `to_all` against what was trained on the whole pool. Over
    all settings, and all sets of cells, there are differences alone.
    """

    to_random: Standing
    to_greedy: Standing
    to_mmd_greedy: Standing
    to_best: Standing
    to_all: Standing


def _ends(title: str) -> dict[str, str]:
    """The columns of a difference."""
    ends = {"": "mean", "_low": "low", "_high": "high"}
    return {f"{title}{end}": f"{title}.gap.{part}" for end, part in ends.items()}


SUMMARY = {
    **{name: f"to_best.{name}" for name in ("dataset", "setting", "task", "metric", "method")},
    **{name: f"to_best.{path}" for name, path in MEAN.items()},
    **_ends("to_random"), **_ends("to_greedy"), **_ends("to_mmd_greedy"),
    "best": "to_best.baseline", **_ends("to_best"), **_ends("to_all"),
}  # fmt: skip


def standings(rows: list[Row]) -> list[Rivals]:
    """Standings in all compared metrics, then over all settings; intervals: `intervals`."""
    groups: dict[tuple, Methods] = defaultdict(lambda: defaultdict(dict))
    whole: dict[tuple, dict[int, float]] = defaultdict(dict)
    for row in rows:
        if row["task"] in COMPARED and row["value"] is not None:
            key = row["dataset"], row["setting"], row["task"], row["metric"]
            groups[key][row["method"]][int(row["seed"])] = float(row["value"])
            if row["method"] == ALL:
                whole[key[0], key[2], key[3]][int(row["seed"])] = float(row["value"])
    found = []
    for (dataset, setting, task, metric), group in groups.items():
        entire = whole.get((dataset, task, metric), {})
        for name, values in group.items():
            what = dataset, name, setting, task, metric, within_set(values.values())
            best = best_baseline(group, name, metric)
            gaps = [(difference(group, name, rival), rival) for rival in (*NAMED, best)]
            gaps.append((paired(values if name != ALL else {}, entire), ALL))
            sign = sign_of(metric)
            found.append(Rivals(*(Standing(*what, *each, sign=sign) for each in gaps)))
    return found + pooled_standings(rows)


def pooled_standings(rows: list[Row]) -> list[Rivals]:
    """Differences over all settings and classifiers, of all sets of cells and of images."""
    found = []
    for title, of_images in ((CELLS_TOGETHER, False), (IMAGES_TOGETHER, True)):
        here = [row for row in rows if (row["dataset"] == IMAGES) == of_images]
        for metric in ("f1_macro", "accuracy"):
            sets = by_setting(here, metric_end=metric)
            for name in methods_of(sets):
                best = best_in_sets(sets, name)
                number = sum(_num_seeds(settings, name) for settings in sets.values())
                what = title, name, "all", "labels", metric, estimate([])._replace(num_seeds=number)
                told = "; ".join(f"{dataset}: {rival}" for dataset, rival in best.items() if rival)
                gaps = [(gap(sets, name, rival), rival) for rival in NAMED]
                gaps += [(gap(sets, name, best), told), (estimate([]), ALL)]
                found.append(Rivals(*(Standing(*what, *each) for each in gaps)))
    return found


def paired(values: dict[int, float], rival: dict[int, float]) -> Estimate:
    """The difference of two methods of one set, seed by seed; NaN where either is empty."""
    return difference_by_seed(values, rival, FOLD_SHARE)


def difference(group: Methods, name: str, rival: str) -> Estimate:
    """The difference of a method to another; NaN where that is itself or was not measured."""
    return paired(group[name] if rival != name else {}, group.get(rival, {}))


def best_baseline(group: Methods, name: str, metric: str) -> str:
    """The baseline of the best mean, other than this one; "" for none."""
    means = {
        other: sign_of(metric) * float(np.mean(list(values.values())))
        for other, values in group.items()
        if other != name and is_baseline(other)
    }
    return max(means, key=means.__getitem__, default="")


def sign_of(metric: str) -> int:
    """1 where more of a metric is better, else -1."""
    return -1 if metric in SMALLER_IS_BETTER else 1


def is_baseline(name: str) -> bool:
    """Whether QUBOs are to be held against it: whatever chooses and is no QUBO."""
    return name in METHODS and METHODS[name].kind in (BASELINE, GREEDILY, ACTIVE)


def by_setting(
    rows: Iterable[Row], task: str = "labels", metric_end: str = "f1_macro", setting: str = ""
) -> dict[str, Settings]:
    """Values by set, setting and metric, method and seed.

    Args:
      rows: of `results.csv`.
      task: whose rows enter.
      metric_end: what their metrics end with.
      setting: theirs; "": any.
    """
    found: dict[str, Settings] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for row in rows:
        asked = row["task"] == task and (not setting or row["setting"] == setting)
        if asked and row["metric"].endswith(metric_end) and row["value"] is not None:
            group = found[row["dataset"]][row["setting"], row["metric"]]
            group[row["method"]][int(row["seed"])] = float(row["value"])
    return found


def methods_of(sets: dict[str, Settings]) -> list[str]:
    """Ways to choose that were measured, in the order of `METHODS`."""
    groups = (group for settings in sets.values() for group in settings.values())
    there = {name for group in groups for name in group}
    return [name for name in METHODS if name in there]


def gap_in_set(settings: Settings, name: str, rival: str) -> Estimate:
    """The difference of two methods in one set: the mean of `gaps_by_training`."""
    return within_set(gaps_by_training(settings, name, rival))


def gaps_by_training(settings: Settings, name: str, rival: str) -> list[float]:
    """Differences [trainings] of two methods, each over the settings and metrics that have both."""
    by_training: dict[int, list[float]] = defaultdict(list)
    for group in settings.values() if name != rival else ():
        if name in group and rival in group:
            for seed in sorted(group[name].keys() & group[rival].keys()):
                by_training[seed].append(group[name][seed] - group[rival][seed])
    return [float(np.mean(each)) for each in by_training.values()]


def gap(sets: dict[str, Settings], name: str, rival: str | dict[str, str]) -> Estimate:
    """The mean over sets of `gap_in_set`; the rival is one, or one by set."""
    return over_sets(
        gap_in_set(settings, name, rival if isinstance(rival, str) else rival[dataset])
        for dataset, settings in sets.items()
    )


def pooled(rows: list[Row], name: str, rival: str, metric_end: str = "f1_macro") -> Estimate:
    """`gap` in the labels' metrics that end so, from rows."""
    return gap(by_setting(rows, metric_end=metric_end), name, rival)


def best_in_sets(sets: dict[str, Settings], name: str) -> dict[str, str]:
    """The baseline of the best mean by set, other than this one; "" for none.

    The mean is over the settings that all baselines have: some are not asked for many cells.
    """
    best = {}
    for dataset, settings in sets.items():
        there = {other for group in settings.values() for other in group if is_baseline(other)}
        shared = [group for group in settings.values() if there <= group.keys()]
        means = {
            other: float(np.mean([np.mean(list(group[other].values())) for group in shared]))
            for other in sorted(there - {name})
            if shared
        }
        best[dataset] = max(means, key=means.__getitem__, default="")
    return best


def qubos(rows: list[Row]) -> list[str]:
    """QUBO methods that have labels' rows, in the order of `METHODS`."""
    return [name for name in methods_of(by_setting(rows)) if METHODS[name].kind == QUBO]


def _num_seeds(settings: Settings, name: str) -> int:
    return len({seed for group in settings.values() for seed in group.get(name, {})})
