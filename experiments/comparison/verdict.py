"""The benchmark's verdict in words: what QBM-VAE reaches, and where it does not."""

import numpy as np

from experiments.comparison.plan import ComparisonPlan
from experiments.comparison.summary import (
    BEST_GAUSSIAN,
    GAUSSIAN,
    HEADLINE,
    MAIN,
    PAIR,
    baselines,
    comparable,
)
from experiments.comparison.titles import metric_title, title_of
from qbm_jax.study.escape import bullets, markdown
from qbm_jax.study.standing import Standing

# Metrics that QBM-VAE is held to the best Gaussian-prior model in, in the first lines.
TARGETS = (
    ("integration", "total"),
    ("classification", "donor_f1_macro"),
    ("rare", "rare_f1"),
    ("trajectory", "conservation"),
    ("integration", "scgraph_correlation"),
)
NESTED = "bernoulli_vae"  # J = 0
NAMED_TARGETS = (  # metric, how the baseline begins, its title
    (("integration", "total"), "harmony (", "Harmony"),
    (("integration", "total"), "scanorama (", "Scanorama"),
    (("integration", "total"), f"{NESTED} (", "J = 0"),
    (("bound", "importance_weighted"), f"{NESTED} (", "J = 0"),
    (("bound", "importance_weighted"), "gaussian_vae (", "the Gaussian prior"),
)
KINDS = {False: "kept aside", True: "that settings were chosen on, or simulated"}  # by tuned_on


def verdict(plan: ComparisonPlan, standings: list[Standing]) -> str:
    """A paragraph for each kind of sets: how often better, worse or level."""
    parts = []
    for tuned_on, kind in KINDS.items():
        if names := [study.name for study in plan.studies if study.tuned_on == tuned_on]:
            here = [c for c in standings if c.dataset in names]
            title = f"Over {len(names)} data set(s) {kind}, {plan.config.num_seeds} seeds"
            parts.append(_counted(title, here))
    return "\n\n".join(parts)


def _counted(title: str, standings: list[Standing]) -> str:
    ours = [c for c in standings if c.who == MAIN and comparable(c) and np.isfinite(c.gap.low)]
    nested = [c for c in ours if _rivals(standings, c) == {NESTED}]
    ours = [c for c in ours if c not in nested]
    if not ours and not nested:
        return f"{title}, QBM-VAE was held against no method without a Boltzmann prior."
    better, worse = _shown(ours, "better"), _shown(ours, "worse")
    text = (
        f"{title}, QBM-VAE was held"
        " on each metric against the best method without a Boltzmann prior: better (95 % interval)"
        f" on {len(better)}, worse on {len(worse)}, and level on"
        f" {len(ours) - len(better) - len(worse)} of {len(ours)} pairs of set and metric."
    )
    if better:
        text += f" Better {markdown(_listed(better))}."
    if worse:
        text += f" Worse {markdown(_listed(worse))}."
    if nested:
        text += f" Not counted, since J = 0 is the only rival: {markdown(_listed(nested))}."
    return text


def _rivals(standings: list[Standing], ours: Standing) -> set[str]:
    """Methods that QBM-VAE is held against in a metric of a set, and that have it."""
    what = (ours.dataset, ours.task, ours.metric)
    here = {c.method for c in standings if (c.dataset, c.task, c.metric) == what}
    return here & set(baselines(ours.task, ours.metric))


def targets(standings: list[Standing]) -> str:
    """Metric by metric and kind of sets: on how many QBM-VAE reaches those it is held against."""
    lines = []
    for tuned_on, kind in KINDS.items():
        here = [c for c in standings if c.tuned_on == tuned_on]
        for key in TARGETS:
            title = f"the best of {len(_gaussian(here, key))} model(s) with a Gaussian prior"
            lines.append(_reached(here, kind, key, BEST_GAUSSIAN, title))
        for key, rival, title in NAMED_TARGETS:
            lines.append(_reached(here, kind, key, PAIR, title, rival))
    lines = [line for line in lines if line]
    return bullets(lines) if lines else ""


def took_part(standings: list[Standing]) -> str:
    """Which models "the best model with a Gaussian prior" is the best of, by metric."""
    by_models: dict[tuple[str, ...], list[str]] = {}
    for key in HEADLINE:
        if among := _gaussian(standings, key):
            by_models.setdefault(among, []).append(metric_title(*key))
    lines = [f"{'; '.join(keys)}: {'; '.join(models)}" for models, keys in by_models.items()]
    return f"The best of these models, by metric:\n\n{bullets(lines)}" if lines else ""


def _gaussian(standings: list[Standing], key: tuple[str, str]) -> tuple[str, ...]:
    """Names of the models with a Gaussian prior that have a metric and may be its baseline."""
    allowed = set(GAUSSIAN) & set(baselines(*key))
    found = (c.who for c in standings if (c.task, c.metric) == key and c.method in allowed)
    return tuple(title_of(*who) for who in dict.fromkeys(found))


def _reached(
    standings: list[Standing],
    kind: str,
    key: tuple[str, str],
    against: str,
    title: str,
    baseline: str = "",
) -> str:
    """One sentence on one metric; "" where it was not measured."""
    found = [
        c
        for c in standings
        if (c.task, c.metric) == key and c.who == MAIN
        and c.against == against and c.baseline.startswith(baseline) and np.isfinite(c.gap.mean)
    ]  # fmt: skip
    if not found:
        return ""
    reached = [c for c in found if c.sign * c.gap.mean >= 0]
    text = f"{metric_title(*key)}: at or above {title} on {len(reached)} of {len(found)} set(s)"
    text += f" {kind}"
    for word, end in (("above", "better"), ("below", "worse")):
        sets = ", ".join(c.dataset for c in _shown(found, end)) or "none"
        text += f"; significantly {word} on {sets}"
    return text + "."


def _shown(standings: list[Standing], verdict: str) -> list[Standing]:
    """Those of one verdict."""
    return [c for c in standings if c.verdict == verdict]


def _listed(standings: list[Standing]) -> str:
    """Metrics by set."""
    by_set: dict[str, list[str]] = {}
    for standing in standings:
        by_set.setdefault(standing.dataset, []).append(metric_title(standing.task, standing.metric))
    return "; ".join(f"on {name}: {', '.join(titles)}" for name, titles in by_set.items())
