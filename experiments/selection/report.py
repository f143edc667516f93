"""The report: whether greedy is as good, in its first line; then tables and figures."""

from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.kit.runner import Piece, Results
from experiments.selection.methods import METHODS
from experiments.selection.standings import COLUMNS, GREEDY, RANDOM, Standing, pooled, qubos
from qbm_jax.study.document import Document, number, table, with_interval, with_spread
from qbm_jax.study.estimates import Estimate, estimate
from qbm_jax.study.figures import NotDrawn, colours_of, draw_curve, panels, shared_legend, tidy

WITHOUT = "qubo_mmd_bifurcation"  # what the QUBOs with a utility are but for it
SKETCH = (
    "rare_recall",
    "types_found",
    "hausdorff",
    "covering",
    "mmd",
    "batch_imbalance",
    "seconds",
)


def write(results: Results, notes: list[str], simulated: list[str]) -> Document:
    """The report; its title is the verdict."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in results.rows]
    rows = [row for row in rows if row["value"] is not None]
    document = Document(results.workdir, verdict(rows), simulated)
    document.add(_explained(rows), pooled_table(rows), utility_answer(rows))
    by_set = {piece["dataset"]: piece for piece in results.pieces if piece["section"] == "audit"}
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        here = [standing for standing in results.summary if standing.dataset == dataset]
        document.add(f"## {dataset}")
        for task, metrics in (
            ("labels", ("rf_f1_macro", "trees_f1_macro", "rf_accuracy")), ("sketch", SKETCH),
            ("training", ("elbo", "total", "bio_conservation", "batch_correction")),
        ):  # fmt: skip
            document.add(*(_table(here, task, metric) for metric in metrics))
        document.figure(
            f"{dataset}-labels.png", partial(draw_curves, here),
            f"{dataset}: macro F1 on unseen cells, mean and standard error over seeds",
        )  # fmt: skip
        if dataset in by_set:
            document.add(_audit_table(by_set[dataset]), _correlation_table(by_set[dataset]))
            document.figure(
                f"{dataset}-audit.png", partial(draw_audit, by_set[dataset]),
                f"{dataset}: macro F1 of a random forest against the energy of feasible choices",
            )  # fmt: skip
    document.notes(notes)
    return document


def verdict(rows: list[dict[str, Any]]) -> str:
    """Whether a QUBO labels better than lazy greedy facility location, in a sentence."""
    found = {name: pooled(rows, name, GREEDY) for name in qubos(rows)}
    found = {name: gap for name, gap in found.items() if np.isfinite(gap.mean)}
    if not found:
        return "Whether greedy is as good cannot be said: not both were measured"
    best = max(found, key=lambda name: found[name].mean)
    gap = found[best]
    text = f"{gap.mean:+.3f} ({gap.low:+.3f}, {gap.high:+.3f}) macro F1"
    if gap.low > 0:
        return f"Greedy is not as good: {best} is above lazy greedy facility location by {text}"
    return (
        "Greedy is as good as far as this shows: no QUBO is shown to be above lazy greedy facility "
        f"location; the best, {best}, is at {text} to it"
    )


def _explained(rows: list[dict[str, Any]]) -> str:
    seeds = {(row["dataset"], row["seed"]) for row in rows if row["task"] == "labels"}
    return (
        "Differences are in macro F1 of all classifiers on cells that neither the embedding nor "
        f"the classifier saw, the mean over sets, budgets and spaces, paired over {len(seeds)} "
        "trainings; 95 % intervals by Student's t, not corrected for their number. Bold: the "
        "interval excludes 0. The first line takes the best of several QUBOs, which favours it. "
        "Seconds are those of a choice while another one is judged beside it."
    )


def pooled_table(rows: list[dict[str, Any]]) -> str:
    """Every method against random, greedy MMD and lazy greedy facility location."""
    there = {row["method"] for row in rows if row["task"] == "labels"}
    lines = []
    for name in (name for name in METHODS if name in there):
        gaps = [pooled(rows, name, rival) for rival in (RANDOM, "mmd_greedy", GREEDY)]
        lines.append([name, METHODS[name].kind, *map(_gap, gaps)])
    header = ["method", "kind", "to random", "to greedy MMD", "to lazy greedy facility location"]
    return table(header, lines) if lines else ""


def utility_answer(rows: list[dict[str, Any]]) -> str:
    """What each utility of the fitted model adds to the QUBO without one, in a sentence."""
    there = {row["method"] for row in rows if row["task"] == "labels"}
    gaps = {
        method.utility: pooled(rows, name, WITHOUT)
        for name, method in METHODS.items()
        if method.utility and name in there and WITHOUT in there
    }
    if not gaps:
        return ""
    told = "; ".join(f"{name} {_gap(gap)}" for name, gap in gaps.items())
    return f"With a utility of the fitted model, against the same QUBO without ({WITHOUT}): {told}."


def _gap(gap: Estimate) -> str:
    return with_interval(gap.mean, gap.low, gap.high, 3)


def _table(here: list[Standing], task: str, metric: str) -> str:
    chosen = [each for each in here if (each.task, each.metric) == (task, metric)]
    if not chosen or not any(np.isfinite(each.mean) for each in chosen):
        return ""
    lines = [
        [each.method, each.setting, with_spread(each.mean, each.sd, 3),
         with_interval(each.to_random, each.to_random_low, each.to_random_high, 3),
         with_interval(each.to_best, each.to_best_low, each.to_best_high, 3), each.best]
        for each in chosen
    ]  # fmt: skip
    header = [
        "method",
        "space and number",
        f"{task}: {metric}",
        "to random",
        "to the best",
        "which",
    ]
    return table(header, lines)


def _audit_table(piece: Piece) -> str:
    """Mean lost of the way to the optimum, how often it is reached, and of the way to the bound."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for name, _, _, metric, _, value in piece["rows"]:
        values[name, metric].append(float("nan") if value is None else value)
    names = dict.fromkeys(name for name, metric in values if metric in ("lost", "of_bound"))
    metrics = ("lost", "optimal", "of_bound", "gap_to_greedy")
    lines = []
    for name in names:
        found = {metric: estimate(values.get((name, metric), [])) for metric in metrics}
        lines.append([name, *(number(found[metric].mean) for metric in metrics)])
    header = [
        "solver", "small: share of the way to the optimum that is lost", "small: optimum found",
        "large: share of the way to the bound", "large: to greedy, share of that way",
    ]  # fmt: skip
    return table(header, lines)


def _correlation_table(piece: Piece) -> str:
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for name, _, _, metric, _, value in piece["rows"]:
        if metric.startswith("correlation_"):
            found[name][metric.removeprefix("correlation_")] = value
    if not found:
        return ""
    metrics = list(next(iter(found.values())))
    lines = [[name, *(number(own[metric]) for metric in metrics)] for name, own in found.items()]
    return table(["rank correlation of minus the energy of", *metrics], lines)


def draw_curves(here: list[Standing]) -> Figure:
    """Macro F1 against the number of labels, a panel a space and classifier."""
    found: dict[tuple[str, str], dict[str, dict[int, Estimate]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for each in here:
        if each.task == "labels" and each.metric.endswith("f1_macro"):
            space, _, budget = each.setting.rpartition("-")
            error = each.sd / each.num_seeds**0.5
            found[space, each.metric][each.method][int(budget)] = Estimate(
                each.mean, each.sd, error, float("nan"), each.num_seeds
            )
    if not found:
        raise NotDrawn("no labels were measured")
    figure, axes = panels(len(found), 4.5, 3.6, columns=2)
    colours = colours_of({name for own in found.values() for name in own})
    for panel, ((space, metric), own) in zip(axes, found.items(), strict=True):
        for name, curve in own.items():
            draw_curve(panel, curve, colours[name], name)
        tidy(panel, f"labels ({space})", metric)
    shared_legend(figure, axes)
    return figure


def draw_audit(piece: Piece) -> Figure:
    """Score against energy, a panel an objective."""
    shown = piece["shown"]
    names = [name for name in shown if name.startswith("energy_")]
    figure, axes = panels(len(names), 3.4, 3.2)
    for panel, name in zip(axes, names, strict=True):
        panel.plot(shown[name], shown["rf_f1_macro"], ".", markersize=4)
        tidy(panel, name.replace("_", " "), "macro F1, random forest")
    return figure
