"""Tables of labels, sketches and training sets; each says what its intervals are."""

from typing import Any

import numpy as np

from experiments.selection.intervals import OVER, WITHIN, within_set
from experiments.selection.standings import (
    GREEDY,
    RANDOM,
    Rivals,
    Row,
    by_setting,
    gap,
    gap_in_set,
    methods_of,
)
from qbm_jax.selection.methods import METHODS
from qbm_jax.study.document import gap_text, number, table, with_spread
from qbm_jax.study.escape import Markdown, bold, markdown
from qbm_jax.study.estimates import over_sets
from qbm_jax.study.standing import Standing

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


def pooled_table(found: list[Rivals], title: str, metric: str) -> list[str]:
    """Every method against random, the greedy ones and the best baseline, over all settings."""
    here = [each[:-1] for each in found if (each[0].dataset, each[0].metric) == (title, metric)]
    lines = [
        [shown(each[0].method), METHODS[each[0].method].kind, *(gap_text(one.gap) for one in each)]
        for each in here
    ]
    header = [
        "method", "kind", "to random", "to lazy greedy facility location", "to greedy MMD",
        "to the best baseline",
    ]  # fmt: skip
    if not lines:
        return []
    bests = [best for *_, best in here]
    one = next((each for each in bests if METHODS[each.method].kind == "qubo"), bests[0])
    best = f"The best baseline (for itself, the next one): {one.baseline or 'none'}."
    return told(table(header, lines), f"Differences in {metric}.", OVER, best)


def by_set_table(rows: list[Row], metric: str) -> list[str]:
    """Every method against lazy greedy facility location, set by set."""
    sets = by_setting(rows, metric_end=metric)
    lines = [
        [shown(name), *(gap_text(gap_in_set(own, name, GREEDY)) for own in sets.values())]
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


def labels_table(here: list[Rivals], metric: str) -> list[str]:
    """One metric of the labels in one set, method by method and setting by setting."""
    chosen = _of(here, "labels", metric)
    lines = [
        [*_own(each.to_best, 3),
         *(gap_text(one.gap) for one in (each.to_random, each.to_greedy, each.to_best)),
         each.to_best.baseline]
        for each in chosen
    ]  # fmt: skip
    header = [
        "method", "space and number", f"labels: {metric}", "to random",
        "to lazy greedy facility location", "to the best baseline", "which",
    ]  # fmt: skip
    return told(table(header, lines), WITHIN) if lines else []


def set_sketch_table(here: list[Rivals]) -> list[str]:
    """All scores of sketches of one set; bold where they differ from those of random choices."""
    found: dict[tuple[str, str], dict[str, Standing]] = {}
    for each in (each.to_random for each in here):
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
    text = number(None if standing is None else standing.own.mean)
    return bold(text) if standing is not None and standing.gap.is_shown else markdown(text)


def training_table(here: list[Rivals], metric: str) -> list[str]:
    """Models of chosen cells: to those of as many random ones, and to the model of the pool."""
    digits = 1 if metric == "elbo" else 3
    lines = [
        [*_own(each.to_all, digits),
         *(gap_text(one.gap, digits) for one in (each.to_random, each.to_all))]
        for each in _of(here, "training", metric)
    ]  # fmt: skip
    header = [
        "trained on", "space and number", f"training: {metric}", "to random cells of as many",
        "to all of the pool",
    ]  # fmt: skip
    return told(table(header, lines), WITHIN) if lines else []


def _of(here: list[Rivals], task: str, metric: str) -> list[Rivals]:
    chosen = [each for each in here if (each[0].task, each[0].metric) == (task, metric)]
    return chosen if any(np.isfinite(each[0].own.mean) for each in chosen) else []


def _own(standing: Standing, digits: int) -> list[str]:
    """What a line begins with."""
    own = with_spread(standing.own.mean, standing.own.sd, digits)
    return [shown(standing.method), standing.setting, own]
