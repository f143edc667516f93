"""Tables of the audit: solvers against the optimum and the bound, and energies against scores."""

import math
from collections import defaultdict

import numpy as np
from scipy.stats import norm

from experiments.kit.runner import Piece
from experiments.selection.tables import shown, told
from qbm_jax.selection.audit import GUARANTEE
from qbm_jax.study.document import number, table, with_interval
from qbm_jax.study.estimates import LEVEL, OVER_TRAININGS, Estimate, estimate

SMALL = (
    ("lost", "share of the way to the optimum that is lost"),
    ("optimal", "share of instances whose optimum is found"),
)
LARGE = (("of_bound", "share of the way to the bound"), ("gap_to_greedy", "to greedy, of that way"))
STUDENT = OVER_TRAININGS.removesuffix(" over trainings")
BOUNDED = (
    f"No choice can fall below `bound`, of a convex relaxation, nor below `{GUARANTEE}`, which the "
    "greedy choice alone promises: with a reward for each cell, which changes nothing at a fixed "
    "number, it has at least 1 - 1/e of the best gain."
)


def audit_tables(piece: Piece) -> list[str]:
    """Small instances that are enumerated, then the pool at the size of the study."""
    found, own = _values(piece), piece.get("utility", "")
    parts: list[str] = []
    for start, metrics in (("small-", SMALL), ("embedding-", LARGE)):
        for setting in (each for each in found if each.startswith(start)):
            with_utility = own and setting.endswith(f"-{own}")
            objective = f"MMD less the utility {own}" if with_utility else "MMD"
            lines = _lines(found[setting], [metric for metric, _ in metrics])
            header = ["solver", "energy", *(title for _, title in metrics)]
            parts += told(table(header, lines), f"{objective}, {_about(setting)}", BOUNDED)
    return parts


def _about(setting: str) -> str:
    """What a table of these instances is the mean of."""
    kind, first, second, *_ = f"{setting}-".split("-")
    intervals = f"with intervals of 95 % by {STUDENT}"
    if kind == "small":
        return f"{second} chosen of {first} cells, means over such random instances {intervals}."
    return (
        f"{first} chosen of the set's first pool, means over runs of a solver {intervals}; those "
        "without an interval ran once, or always end alike."
    )


Values = dict[str, dict[str, list[float]]]  # by solver and metric


def _values(piece: Piece) -> dict[str, Values]:
    """Values of solvers by setting."""
    found: dict[str, Values] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for name, setting, _, metric, _, value in piece["rows"]:
        if not metric.startswith("correlation_"):
            found[setting][name][metric].append(math.nan if value is None else value)
    return found


def _lines(found: Values, metrics: list[str]) -> list[list[str]]:
    return [
        [name, _cell(estimate(own.get("energy", [])), 6),
         *(_cell(estimate(own.get(metric, [])), 3, metric != "optimal") for metric in metrics)]
        for name, own in found.items()
    ]  # fmt: skip


def _cell(found: Estimate, digits: int, with_ends: bool = True) -> str:
    """A mean with its interval, where it has one of some width; shares of instances have none."""
    text = number(found.mean, digits)
    if not with_ends or not found.half_width > 0:  # NaN for one value
        return text
    return f"{text} ({number(found.low, digits)}, {number(found.high, digits)})"


def correlation_table(piece: Piece) -> list[str]:
    """Rank correlations of minus the energy with scores, with intervals over the choices."""
    sizes = [len(values) for name, values in piece["shown"].items() if name.startswith("energy_")]
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name, _, _, metric, _, value in piece["rows"]:
        if metric.startswith("correlation_"):
            size = sizes[0] if metric.endswith("_all") else -(-sizes[0] // 2)
            found[name][metric.removeprefix("correlation_")] = _correlation(value, size)
    if not found:
        return []
    metrics = list(next(iter(found.values())))
    lines = [[shown(name), *(own[metric] for metric in metrics)] for name, own in found.items()]
    words = (
        f"Over {sizes[0]} feasible choices of one pool, and over the random ones of them alone; "
        "intervals of 95 % over choices, by Fisher's transformation with the standard error of "
        "Bonett and Wright: they tell nothing of other pools. Bold: 0 is outside."
    )
    return told(table(["rank correlation of minus the energy of", *metrics], lines), words)


def _correlation(value: float | None, size: int) -> str:
    if value is None or size < 4:
        return number(value)
    middle = np.arctanh(np.clip(value, -0.999999, 0.999999))
    half = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt((1 + value**2 / 2) / (size - 3))
    low, high = np.tanh([middle - half, middle + half])
    return with_interval(value, float(low), float(high), 2)
