"""Figures: scores against the number of labels or training cells, and against the energy."""

from collections import defaultdict

import numpy as np
from matplotlib.figure import Figure

from experiments.kit.runner import Piece
from experiments.selection.standings import ALL, Rivals
from experiments.selection.tables import shown
from qbm_jax.study.estimates import Estimate
from qbm_jax.study.figures import NotDrawn, colours_of, draw_curve, panels, shared_legend, tidy
from qbm_jax.study.standing import Standing

TRAINING = {"elbo": "held-out bound, nats per cell", "total": "scIB total"}
Curves = dict[str, dict[int, Estimate]]  # by method and number of cells


def draw_labels(here: list[Rivals], metric_end: str) -> Figure:
    """A score of the labels against their number, a panel a space and classifier."""
    found: dict[tuple[str, str], Curves] = defaultdict(lambda: defaultdict(dict))
    for each, *_ in here:
        if each.task == "labels" and each.metric.endswith(metric_end):
            space, budget = _place(each)
            found[space, each.metric][each.method][budget] = each.own
    if not found:
        raise NotDrawn("no labels were measured")
    return _draw({(f"labels ({space})", metric): own for (space, metric), own in found.items()})


def draw_training(here: list[Rivals]) -> Figure:
    """The held-out bound and scIB against the number of cells trained on; dashed: of all."""
    found: dict[tuple[str, str], Curves] = defaultdict(lambda: defaultdict(dict))
    for metric, title in TRAINING.items():
        for each, *_ in here:
            if (each.task, each.metric) == ("training", metric):
                key = "cells trained on", title
                found[key][each.method][_place(each)[1]] = each.own
    if not found:
        raise NotDrawn("no model was trained on chosen cells")
    return _draw(found)


def _place(standing: Standing) -> tuple[str, int]:
    space, _, budget = standing.setting.rpartition("-")
    return space, int(budget)


def _draw(found: dict[tuple[str, str], Curves]) -> Figure:
    """A panel an item; what was trained on all cells is a line across."""
    figure, axes = panels(len(found), 4.5, 3.6, columns=2)
    colours = colours_of({name for own in found.values() for name in own})
    for panel, ((across, up), own) in zip(axes, found.items(), strict=True):
        for name, curve in own.items():
            if name == ALL:
                # Pools differ by a cell, so that there may be several.
                mean = float(np.mean([each.mean for each in curve.values()]))
                panel.axhline(mean, color=colours[name], linestyle="--", label="all of the pool")
            else:
                draw_curve(panel, curve, colours[name], shown(name))
        tidy(panel, across, up)
    shared_legend(figure, axes)
    return figure


def draw_audit(piece: Piece) -> Figure:
    """Score against energy, a panel an objective."""
    found = piece["shown"]
    names = [name for name in found if name.startswith("energy_")]
    figure, axes = panels(len(names), 3.4, 3.2)
    for panel, name in zip(axes, names, strict=True):
        panel.plot(found[name], found["rf_f1_macro"], ".", markersize=4)
        tidy(panel, shown(name).replace("_", " "), "macro F1, random forest")
    return figure
