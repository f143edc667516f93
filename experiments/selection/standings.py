"""From rows to means and paired differences: to random, to greedy ones, to the best baseline."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from experiments.selection.intervals import within_set
from qbm_jax.selection.methods import ACTIVE, BASELINE, GREEDILY, METHODS, QUBO
from qbm_jax.study.estimates import Estimate, by_seed, differences, estimate, over_sets

COLUMNS = ("dataset", "method", "setting", "task", "metric", "seed", "value")
RANDOM, GREEDY, MMD_GREEDY = "random", "facility_greedy", "mmd_greedy"
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


class Standing(NamedTuple):
    """Where a method stands: its mean over seeds, and paired differences with 95 % intervals.

    `best` is the baseline (greedy ones and those that ask for labels included) with the best mean
    there, other than itself. `to_all` is to what was trained on the whole pool. Rows over all
    settings, and all sets of cells, have differences alone.
    """

    dataset: str
    setting: str
    task: str
    metric: str
    method: str
    num_seeds: int
    mean: float
    sd: float
    to_random: float
    to_random_low: float
    to_random_high: float
    to_greedy: float
    to_greedy_low: float
    to_greedy_high: float
    to_mmd_greedy: float
    to_mmd_greedy_low: float
    to_mmd_greedy_high: float
    best: str
    to_best: float
    to_best_low: float
    to_best_high: float
    to_all: float
    to_all_low: float
    to_all_high: float


def standings(rows: list[Row]) -> list[Standing]:
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
    for key, group in groups.items():
        entire = whole.get((key[0], key[2], key[3]), {})
        for name, values in group.items():
            own, best = within_set(values.values()), best_baseline(group, name, key[3])
            gaps = _ends("to_all", paired(values if name != ALL else {}, entire))
            for title, rival in _rivals(best).items():
                gaps |= _ends(title, difference(group, name, rival))
            found.append(Standing(*key, name, own.num_seeds, own.mean, own.sd, best=best, **gaps))
    return found + pooled_standings(rows)


def pooled_standings(rows: list[Row]) -> list[Standing]:
    """Differences over all settings and classifiers, of all sets of cells and of images."""
    found = []
    for title, of_images in ((CELLS_TOGETHER, False), (IMAGES_TOGETHER, True)):
        here = [row for row in rows if (row["dataset"] == IMAGES) == of_images]
        for metric in ("f1_macro", "accuracy"):
            sets = by_setting(here, metric_end=metric)
            for name in methods_of(sets):
                best = best_in_sets(sets, name)
                gaps = _ends("to_all", estimate([]))
                for column, rival in _rivals(best).items():
                    gaps |= _ends(column, gap(sets, name, rival))
                number = sum(_num_seeds(settings, name) for settings in sets.values())
                told = "; ".join(f"{dataset}: {rival}" for dataset, rival in best.items() if rival)
                nothing = float("nan")
                key = title, "all", "labels", metric, name
                found.append(Standing(*key, number, nothing, nothing, best=told, **gaps))
    return found


def _rivals(best: Any) -> dict[str, Any]:
    """What a method is held against, by the name of the difference."""
    names = {"to_random": RANDOM, "to_greedy": GREEDY, "to_mmd_greedy": MMD_GREEDY}
    return names | {"to_best": best}


def _ends(title: str, found: Estimate) -> dict[str, Any]:
    return {title: found.mean, f"{title}_low": found.low, f"{title}_high": found.high}


def paired(values: dict[int, float], rival: dict[int, float]) -> Estimate:
    """The difference of two methods of one set, seed by seed; NaN where either is empty."""
    return within_set(differences(*by_seed(values, rival)))


def difference(group: Methods, name: str, rival: str) -> Estimate:
    """The difference of a method to another; NaN where that is itself or was not measured."""
    return paired(group[name] if rival != name else {}, group.get(rival, {}))


def best_baseline(group: Methods, name: str, metric: str) -> str:
    """The baseline of the best mean, other than this one; "" for none."""
    sign = -1 if metric in SMALLER_IS_BETTER else 1
    means = {
        other: sign * float(np.mean(list(values.values())))
        for other, values in group.items()
        if other != name and is_baseline(other)
    }
    return max(means, key=means.__getitem__, default="")


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
