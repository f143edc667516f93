"""Tables of labels, sketches and training sets; each says what its intervals are."""

from typing import Any

import numpy as np

from experiments.selection.intervals import OVER, WITHIN, within_set
from experiments.selection.standings import (
    GREEDY,
    RANDOM,
    Row,
    Standing,
    by_setting,
    gap,
    gap_in_set,
    methods_of,
)
from qbm_jax.selection.methods import METHODS
from qbm_jax.study.document import number, table, with_interval, with_spread
from qbm_jax.study.escape import Markdown, bold, markdown
from qbm_jax.study.estimates import Estimate, over_sets

SKETCH = (
    *("rare_recall", "types_found", "hausdorff", "covering", "mmd", "batch_imbalance"),
    "seconds",
)
LEAK = "disagreement"
LEAKS = (
    "† The disagreement is between the models of all seeds. All but this seed's were trained on "
    "counts, though on no types, of cells of the fold that judges."
)


def shown(name: str) -> str:
    """A method's or objective's name, marked where models that saw cells that judge are behind."""
    return f"{name}†" if LEAK in name else name


def told(found: str, *words: str) -> list[str]:
    """A table, what is said of it, and what its marks mean; nothing where there is no table."""
    if not found:
        return []
    return [found, " ".join([*words, *([LEAKS] if "†" in found else [])])]


def gap_cell(gap: Estimate, digits: int = 3) -> Markdown:
    """A difference with its interval."""
    return with_interval(gap.mean, gap.low, gap.high, digits)


def standing_cell(standing: Standing, column: str, digits: int = 3) -> Markdown:
    """A difference of a standing with its interval."""
    mean, low, high = (getattr(standing, f"{column}{end}") for end in ("", "_low", "_high"))
    return with_interval(mean, low, high, digits)


def pooled_table(found: list[Standing], title: str, metric: str) -> list[str]:
    """Every method against random, the greedy ones and the best baseline, over all settings."""
    here = [each for each in found if (each.dataset, each.metric) == (title, metric)]
    columns = ("to_random", "to_greedy", "to_mmd_greedy", "to_best")
    lines = [
        [shown(each.method), METHODS[each.method].kind, *(standing_cell(each, c) for c in columns)]
        for each in here
    ]
    header = [
        "method", "kind", "to random", "to lazy greedy facility location", "to greedy MMD",
        "to the best baseline",
    ]  # fmt: skip
    if not lines:
        return []
    one = next((each for each in here if METHODS[each.method].kind == "qubo"), here[0])
    best = f"The best baseline (for itself, the next one): {one.best or 'none'}."
    return told(table(header, lines), f"Differences in {metric}.", OVER, best)


def by_set_table(rows: list[Row], metric: str) -> list[str]:
    """Every method against lazy greedy facility location, set by set."""
    sets = by_setting(rows, metric_end=metric)
    lines = [
        [shown(name), *(gap_cell(gap_in_set(own, name, GREEDY)) for own in sets.values())]
        for name in methods_of(sets)
        if name != GREEDY
    ]
    words = f"Differences in {metric} to lazy greedy facility location."
    return told(table(["method", *sets], lines), words, WITHIN) if lines else []


def sketch_table(rows: list[Row], setting: str) -> list[str]:
    """What chosen cells are as a sketch, the mean over the sets that have this setting."""
    found = {metric: by_setting(rows, "sketch", metric, setting) for metric in SKETCH}
    names = methods_of(found["hausdorff"])
    lines = [[shown(name), *(_sketch_cell(own, name) for own in found.values())] for name in names]
    sets = ", ".join(found["hausdorff"])
    words = (
        f"Cells chosen: {setting}; means over {sets}; in brackets the interval of the difference "
        "to random."
    )
    return told(table(["method", *SKETCH], lines), words, OVER) if lines else []


def _sketch_cell(sets: dict[str, Any], name: str) -> Markdown:
    """The mean over sets and the interval of the difference to random, in bold where it is one."""
    own = over_sets(
        within_set(group[name].values())
        for settings in sets.values()
        for group in settings.values()
        if name in group
    )
    apart = gap(sets, name, RANDOM)
    if not np.isfinite(apart.half_width):
        return markdown(number(own.mean))
    text = f"{number(own.mean)} ({number(apart.low)}, {number(apart.high)})"
    return bold(text) if apart.is_shown else markdown(text)


def labels_table(here: list[Standing], metric: str) -> list[str]:
    """One metric of the labels in one set, method by method and setting by setting."""
    chosen = _of(here, "labels", metric)
    lines = [
        [shown(each.method), each.setting, with_spread(each.mean, each.sd, 3),
         *(standing_cell(each, column) for column in ("to_random", "to_greedy", "to_best")),
         each.best]
        for each in chosen
    ]  # fmt: skip
    header = [
        "method", "space and number", f"labels: {metric}", "to random",
        "to lazy greedy facility location", "to the best baseline", "which",
    ]  # fmt: skip
    return told(table(header, lines), WITHIN) if lines else []


def set_sketch_table(here: list[Standing]) -> list[str]:
    """All scores of sketches of one set; bold where they differ from those of random choices."""
    found: dict[tuple[str, str], dict[str, Standing]] = {}
    for each in here:
        if each.task == "sketch":
            found.setdefault((each.setting, each.method), {})[each.metric] = each
    lines = [
        [shown(name), setting, *(_plain_cell(own.get(metric)) for metric in SKETCH)]
        for (setting, name), own in found.items()
    ]
    words = "Bold: the interval of the difference to random excludes 0, which stands in summary.csv"
    said = f"{words}: {WITHIN.removesuffix(' Bold: 0 is outside.')}"
    return told(table(["method", "space and number", *SKETCH], lines), said) if lines else []


def _plain_cell(standing: Standing | None) -> Markdown:
    text = number(None if standing is None else standing.mean)
    if standing is not None and (standing.to_random_low > 0 or standing.to_random_high < 0):
        return bold(text)
    return markdown(text)


def training_table(here: list[Standing], metric: str) -> list[str]:
    """Models of chosen cells: to those of as many random ones, and to the model of the pool."""
    digits = 1 if metric == "elbo" else 3
    lines = [
        [shown(each.method), each.setting, with_spread(each.mean, each.sd, digits),
         *(standing_cell(each, column, digits) for column in ("to_random", "to_all"))]
        for each in _of(here, "training", metric)
    ]  # fmt: skip
    header = [
        "trained on", "space and number", f"training: {metric}", "to random cells of as many",
        "to all of the pool",
    ]  # fmt: skip
    return told(table(header, lines), WITHIN) if lines else []


def _of(here: list[Standing], task: str, metric: str) -> list[Standing]:
    chosen = [each for each in here if (each.task, each.metric) == (task, metric)]
    return chosen if any(np.isfinite(each.mean) for each in chosen) else []
