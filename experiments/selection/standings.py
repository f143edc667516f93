"""From rows to means and paired differences: to random, to lazy greedy, to the best baseline."""

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from experiments.selection.methods import BASELINE, GREEDILY, METHODS, QUBO
from qbm_jax.fitted.tasks.study_set import FOLD_SHARE
from qbm_jax.study.estimates import Estimate, by_seed, differences, estimate

COLUMNS = ("dataset", "method", "setting", "task", "metric", "seed", "value")
RANDOM, GREEDY = "random", "facility_greedy"
SMALLER_IS_BETTER = ("hausdorff", "covering", "mmd", "batch_imbalance", "seconds")
COMPARED = ("labels", "sketch", "training")


class Standing(NamedTuple):
    """Where a method stands: its mean over seeds, and paired differences with 95 % intervals.

    `best` is the baseline (greedy ones included) with the best mean there, other than itself.
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
    best: str
    to_best: float
    to_best_low: float
    to_best_high: float


def standings(rows: list[dict[str, Any]]) -> list[Standing]:
    """Of all metrics that are compared; intervals of labels by the corrected resampled t."""
    groups: dict[tuple, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["task"] in COMPARED and row["value"] is not None:
            key = row["dataset"], row["setting"], row["task"], row["metric"]
            groups[key][row["method"]][int(row["seed"])] = float(row["value"])
    found = []
    for key, group in groups.items():
        for name, values in group.items():
            own = estimate(values.values())
            best = best_baseline(group, name, key[3])
            gaps: list[Any] = []
            for rival in (RANDOM, GREEDY, best):
                gap = difference(group, name, rival, key[2])
                part = [gap.mean, gap.low, gap.high]
                gaps += [best, *part] if rival == best and len(gaps) == 6 else part
            found.append(Standing(*key, name, own.num_seeds, own.mean, own.sd, *gaps))
    return found


def difference(group: dict[str, dict[int, float]], name: str, rival: str, task: str) -> Estimate:
    """Of a method to another, seed by seed; NaN where that is itself or was not measured."""
    share = FOLD_SHARE if task in ("labels", "training") else 0.0
    if rival == name or rival not in group:
        return estimate([])
    return estimate(differences(*by_seed(group[name], group[rival])), share=share)


def best_baseline(group: dict[str, dict[int, float]], name: str, metric: str) -> str:
    """The baseline or greedy method of the best mean, other than this one; "" for none."""
    sign = -1 if metric in SMALLER_IS_BETTER else 1
    means = {
        other: sign * float(np.mean(list(values.values())))
        for other, values in group.items()
        if other != name and other in METHODS and METHODS[other].kind in (BASELINE, GREEDILY)
    }
    return max(means, key=means.__getitem__, default="")


def pooled(
    rows: list[dict[str, Any]], name: str, rival: str, metric_end: str = "f1_macro"
) -> Estimate:
    """The difference of two methods in the labels' metrics, over all sets and settings.

    Within a seed and set differences are averaged first, so that the interval is over trainings.
    """
    values: dict[tuple, dict[str, float]] = defaultdict(dict)
    for row in rows if name != rival else ():
        if row["task"] == "labels" and row["metric"].endswith(metric_end):
            key = row["dataset"], row["seed"], row["setting"], row["metric"]
            values[key][row["method"]] = float(row["value"])
    by_training: dict[tuple, list[float]] = defaultdict(list)
    for key, both in values.items():
        if name in both and rival in both:
            by_training[key[:2]].append(both[name] - both[rival])
    return estimate([float(np.mean(each)) for each in by_training.values()], share=0.0)


def qubos(rows: list[dict[str, Any]]) -> list[str]:
    """QUBO methods that have labels' rows, in the order of `METHODS`."""
    there = {row["method"] for row in rows if row["task"] == "labels"}
    return [name for name, method in METHODS.items() if method.kind == QUBO and name in there]
