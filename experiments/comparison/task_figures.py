"""Figures of single tasks, a panel a set, from what the pieces recorded."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.comparison.methods import SETTINGS, UNTRAINED
from experiments.comparison.summary import BEST, GAUSSIAN, MAIN, Who, comparable
from experiments.comparison.titles import title_of
from qbm_jax.fitted.tasks.measured import RECALL
from qbm_jax.study.cell_figures import draw_type_graph
from qbm_jax.study.escape import figure_text
from qbm_jax.study.figures import (
    BETTER,
    batch_colours,
    colours_of,
    draw_boxes,
    draw_heat_map,
    each,
    tidy,
)
from qbm_jax.study.standing import Standing

Pieces = list[dict[str, Any]]
Picture = dict[str, Any]


def pictures_of(
    pieces: Pieces, key: str, names: dict[str, str], who: tuple[str, str] = MAIN
) -> dict[str, Picture]:
    """What a method's pieces recorded under `key`, by set."""
    return {
        piece["dataset"]: piece["pictures"][key]
        for piece in pieces
        if (piece["method"], piece["setting"]) == who
        and key in piece["pictures"]
        and piece["dataset"] in names
    }


def confusion(pieces: Pieces, standings: list[Standing], names: dict[str, str]) -> Figure:
    """Confusion of types by QBM-VAE, shares of the true type."""
    del standings

    def draw(panel: Axes, name: str, picture: Picture) -> None:
        counts = np.array(picture["confusion"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        texts = [[str(count) if count else "" for count in row] for row in counts]
        titles = [figure_text(title, 20) for title in picture["names"]]
        draw_heat_map(panel, shares, texts, titles, titles, 0.6, aspect="equal", vmin=0, vmax=1)
        tidy(panel, "found", "true", names[name])

    return each(pictures_of(pieces, "fold_confusion", names), 4.6, 4.2, draw)


def held_out_donor(pieces: Pieces, standings: list[Standing], names: dict[str, str]) -> Figure:
    """UMAPs of a donor's cells that training never saw, by batch and by type, method by method."""
    drawn = dict.fromkeys((piece["method"], piece["setting"]) for piece in pieces)
    pictures = {
        f"{names[name]}: {title_of(*who)}, by {kind}": (picture, kind)
        for name in names
        for who in drawn
        for picture in pictures_of(pieces, "donor_layout", {name: ""}, who).values()
        for kind in ("batch", "type")
    }

    def draw(panel: Axes, title: str, item: tuple[Picture, str]) -> None:
        picture, kind = item
        points = np.array([picture["x"], picture["y"]])
        values = np.array(picture["batch" if kind == "batch" else "labels"])
        new = np.array(picture["held_out"])
        colours = (batch_colours if kind == "batch" else colours_of)(values)
        for name, colour in colours.items():
            mine = values == name
            panel.plot(*points[:, mine & ~new], ".", markersize=1.5, alpha=0.5, color=colour)
            panel.plot(
                *points[:, mine & new], "o", markersize=3, markeredgewidth=0.3,
                markeredgecolor="k", color=colour, label=figure_text(name, 20),
            )  # fmt: skip
        panel.legend(fontsize=5, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        panel.set_xticks([])
        panel.set_yticks([])
        tidy(panel, "", "", title)

    return each(pictures, 5.2, 3.8, draw)


def trajectory(pieces: Pieces, standings: list[Standing], names: dict[str, str]) -> Figure:
    """Pseudotime against reference."""
    del standings

    def draw(panel: Axes, name: str, picture: Picture) -> None:
        reference, time = (np.array(picture[key], float) for key in ("reference", "pseudotime"))
        known = np.isfinite(reference)
        panel.plot(reference[known], time[known], ".", markersize=2, alpha=0.5, color=BETTER)
        tidy(panel, "reference order", "pseudotime on the embedding", names[name])

    return each(pictures_of(pieces, "pseudotime", names), 4.2, 3.6, draw)


def paga(pieces: Pieces, standings: list[Standing], names: dict[str, str]) -> Figure:
    """Two panels a set: the types' graph for QBM-VAE and for the best Gaussian prior."""
    pictures = {
        f"{names[name]}: {title_of(*who)}": picture
        for name in names
        for who in (MAIN, _best_trajectory(standings, name))
        if who is not None
        for picture in pictures_of(pieces, "paga", {name: ""}, who).values()
    }

    def draw(panel: Axes, title: str, picture: Picture) -> None:
        draw_type_graph(panel, picture)
        tidy(panel, "", "", title)
        panel.set_axis_off()

    return each(pictures, 5.0, 4.4, draw)


def _best_trajectory(standings: list[Standing], name: str) -> tuple[str, str] | None:
    """The Gaussian-prior model that conserves the trajectory of this set best."""
    found = [
        c for c in standings
        if c.dataset == name and c.metric == "conservation" and c.method in GAUSSIAN
        and comparable(c) and np.isfinite(c.own.mean)
    ]  # fmt: skip
    return max(found, key=lambda c: c.own.mean).who if found else None


def recalls(pieces: Pieces, standings: list[Standing], names: dict[str, str]) -> Figure:
    """Recall of rare types by abundance, a line a method."""
    del pieces
    shown = {name: recalls_of(standings, name) for name in names}

    def draw(panel: Axes, name: str, found: dict[tuple[str, str], dict[float, Standing]]) -> None:
        lines = {who: _line_of(who) for who in found}
        # the first colour is QBM-VAE's
        colours = {MAIN[0]: BETTER} | colours_of(["", *{*lines.values()} - {MAIN[0]}])
        for number, (who, by_share) in enumerate(found.items()):
            shift = 1 + 0.015 * (number - len(found) / 2)
            shares = np.array(list(by_share)) * shift
            means = [c.own.mean for c in by_share.values()]
            main = who == MAIN
            errors = [c.own.standard_error for c in by_share.values()] if main else None
            panel.errorbar(
                shares, means, errors, label=title_of(*who), marker="o", capsize=2,
                color=colours[lines[who]], zorder=3 if main else 2,
                linewidth=2.4 if main else 1, markersize=5 if main else 3,
                linestyle="--" if who[1] == "default" and who[0] not in UNTRAINED else "-",
            )  # fmt: skip
        ticks = list(next(iter(found.values())))
        panel.set_xscale("log")
        panel.set_xticks(ticks, [f"{share:g} %" for share in ticks])
        panel.set_xticks([], minor=True)
        panel.set_ylim(-0.03, 1.03)
        panel.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        tidy(panel, "expected share of all cells", "recall of unseen cells", names[name])

    return each({name: found for name, found in shown.items() if found}, 7.4, 4.4, draw)


def _line_of(who: Who) -> str:
    """What has a colour of its own: a method, or one under a setting that is no default."""
    return who[0] if who[1] in SETTINGS else " ".join(who)


def recalls_of(standings: list[Standing], name: str) -> dict[Who, dict[float, Standing]]:
    """Recall on one set by method and abundance in per cent, rarest first."""
    found: dict[Who, dict[float, Standing]] = {}
    for one in standings:
        if one.dataset == name and one.against == BEST and one.metric.startswith(RECALL):
            share = float(one.metric.removeprefix(RECALL).removesuffix("%"))
            found.setdefault(one.who, {})[share] = one
    return {who: dict(sorted(by_share.items())) for who, by_share in found.items()}


def energies(pieces: Pieces, standings: list[Standing], names: dict[str, str]) -> Figure:
    """Energy by type."""
    del standings

    def draw(panel: Axes, name: str, picture: Picture) -> None:
        labels, values = np.array(picture["labels"]), np.array(picture["energy"], float)
        draw_boxes(panel, {kind: values[labels == kind] for kind in set(labels)})
        tidy(panel, "energy, nats", "", names[name])

    return each(pictures_of(pieces, "energy", names), 4.8, 3.8, draw)


def generation(pieces: Pieces, standings: list[Standing], names: dict[str, str]) -> Figure:
    """Mean counts of generated and of held-out cells."""
    del standings

    def draw(panel: Axes, name: str, picture: Picture) -> None:
        ours, theirs = picture["generated"], picture["held_out"]
        panel.plot(theirs, ours, ".", markersize=2, alpha=0.5, color=BETTER)
        top = max(*ours, *theirs)
        panel.plot([0, top], [0, top], color="k", linewidth=0.8)
        tidy(panel, "held-out cells", "generated cells", names[name])

    return each(pictures_of(pieces, "generation", names), 3.8, 3.6, draw)
