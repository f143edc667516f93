"""The benchmark's verdict in words: what QBM-VAE reaches, and where it does not."""

import numpy as np

from experiments.comparison.plan import ComparisonPlan
from experiments.comparison.summary import (
    BEST_GAUSSIAN,
    HEADLINE,
    MAIN,
    PAIR,
    Standing,
    comparable,
)
from experiments.comparison.titles import metric_title
from experiments.comparison.wins import LOSS, WIN, outcome
from qbm_jax.study.escape import bullets, markdown

# Metrics that QBM-VAE is held to the best Gaussian-prior model in, in the first lines.
TARGETS = (
    ("integration", "total"),
    ("classification", "donor_f1_macro"),
    ("rare", "rare_f1"),
    ("trajectory", "conservation"),
    ("integration", "scgraph_correlation"),
)
BOUND = ("bound", "importance_weighted")


def verdict(plan: ComparisonPlan, standings: list[Standing]) -> str:
    """One paragraph: how often better, worse or level."""
    ours = [c for c in standings if c.who == MAIN and comparable(c) and np.isfinite(c.low)]
    better, worse = _won(ours, WIN), _won(ours, LOSS)
    text = (
        f"Over {len(plan.studies)} data set(s), {plan.config.num_seeds} seeds, QBM-VAE was held"
        " on each metric against the best method without a Boltzmann prior: better (95 % interval)"
        f" on {len(better)}, worse on {len(worse)}, and level on"
        f" {len(ours) - len(better) - len(worse)} of {len(ours)} pairs of set and metric."
    )
    if better:
        text += f" Better {markdown(_listed(better))}."
    if worse:
        text += f" Worse {markdown(_listed(worse))}."
    return text


def targets(standings: list[Standing], names: list[str]) -> str:
    """Metric by metric: on how many sets QBM-VAE reaches the best Gaussian prior, and J = 0."""
    lines = [
        _reached(standings, names, key, BEST_GAUSSIAN, "the best Gaussian-prior model")
        for key in TARGETS
    ]
    for rival, title in (("bernoulli_vae (", "J = 0"), ("gaussian_vae (", "the Gaussian prior")):
        lines.append(_reached(standings, names, BOUND, PAIR, title, rival))
    return bullets(line for line in lines if line)


def _reached(
    standings: list[Standing],
    names: list[str],
    key: tuple[str, str],
    against: str,
    title: str,
    baseline: str = "",
) -> str:
    """One sentence on one metric; "" where it was not measured."""
    found = [
        c
        for c in standings
        if (c.task, c.metric) == key and c.who == MAIN and c.dataset in names
        and c.against == against and c.baseline.startswith(baseline) and np.isfinite(c.difference)
    ]  # fmt: skip
    if not found:
        return ""
    sign = HEADLINE[key]
    reached = [c for c in found if sign * c.difference >= 0]
    text = f"{metric_title(*key)}: at or above {title} on {len(reached)} of {len(found)} set(s)"
    for word, kind in (("above", WIN), ("below", LOSS)):
        if sets_ := [c.dataset for c in _won(found, kind)]:
            text += f"; significantly {word} on {', '.join(sets_)}"
    return text + "."


def _won(standings: list[Standing], kind: str) -> list[Standing]:
    """Those of one outcome."""
    signed = ((HEADLINE[c.task, c.metric], c) for c in standings)
    return [c for sign, c in signed if outcome(sign, c.low, c.high) == kind]


def _listed(standings: list[Standing]) -> str:
    """Metrics by set."""
    by_set: dict[str, list[str]] = {}
    for standing in standings:
        by_set.setdefault(standing.dataset, []).append(metric_title(standing.task, standing.metric))
    return "; ".join(f"on {name}: {', '.join(titles)}" for name, titles in by_set.items())
