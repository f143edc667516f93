"""Figures of single tasks, from what the pieces recorded."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.comparison.drawing import WIN, Pieces, panels_of, pictures_of
from experiments.comparison.embedding_tasks import RECALL
from experiments.comparison.methods import UNTRAINED
from experiments.comparison.summary import BEST, GAUSSIAN, MAIN, Cell, comparable
from experiments.comparison.titles import title_of
from qbm_jax.report.escape import figure_text
from qbm_jax.report.style import tidy, type_colours

WEAKEST_LINK = 0.05  # connectivity, of 0 to 1, below which no line is drawn


def confusion(pieces: Pieces, names: dict[str, str]) -> Figure | None:
    """A panel a set: confusion of types by QBM-VAE, shares of the true type."""
    found = pictures_of(pieces, "fold_confusion", names)
    if not found:
        return None
    figure, panels = panels_of(list(found), 4.6, 4.2)
    for panel, (name, picture) in zip(panels, found.items(), strict=True):
        counts = np.array(picture["confusion"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.argwhere(counts > 0):
            colour = "white" if shares[i, j] > 0.6 else "black"
            panel.text(j, i, counts[i, j], ha="center", va="center", fontsize=6, color=colour)
        titles = [figure_text(title, 20) for title in picture["names"]]
        panel.set_xticks(range(len(titles)), titles, rotation=60, ha="right")
        panel.set_yticks(range(len(titles)), titles)
        tidy(panel, "found", "true", names[name])
    return figure


def trajectory(pieces: Pieces, names: dict[str, str]) -> Figure | None:
    """A panel a set: pseudotime against reference."""
    found = pictures_of(pieces, "pseudotime", names)
    if not found:
        return None
    figure, panels = panels_of(list(found), 4.2, 3.6)
    for panel, (name, picture) in zip(panels, found.items(), strict=True):
        reference = np.array(picture["reference"], float)
        time = np.array(picture["pseudotime"], float)
        known = np.isfinite(reference)
        panel.plot(reference[known], time[known], ".", markersize=2, alpha=0.5, color=WIN)
        tidy(panel, "reference order", "pseudotime on the embedding", names[name])
    return figure


def paga(pieces: Pieces, cells: list[Cell], names: dict[str, str]) -> Figure | None:
    """Two panels a set: the types' graph for QBM-VAE and for the best Gaussian prior."""
    pictures = {
        (name, who): piece["pictures"]["paga"]
        for name in names
        for who in (MAIN, _best_trajectory(cells, name))
        for piece in pieces
        if (piece["dataset"], piece["method"], piece["setting"]) == (name, *(who or ()))
        and "paga" in piece["pictures"]
    }
    if not pictures:
        return None
    figure, panels = panels_of(pictures, 5.0, 4.4)
    for panel, ((name, who), picture) in zip(panels, pictures.items(), strict=True):
        _draw_graph(panel, picture)
        tidy(panel, "", "", f"{names[name]}: {title_of(*who)}")
        panel.set_axis_off()
    return figure


def _best_trajectory(cells: list[Cell], name: str) -> tuple[str, str] | None:
    """The Gaussian-prior model that conserves the trajectory of this set best."""
    found = [
        c for c in cells
        if c.dataset == name and c.metric == "conservation" and c.method in GAUSSIAN
        and comparable(c) and np.isfinite(c.mean)
    ]  # fmt: skip
    return _who(max(found, key=lambda c: c.mean)) if found else None


def _draw_graph(panel: Axes, picture: dict[str, Any]) -> None:
    """Nodes at their places, with names; edges as wide as types are connected."""
    points, links = np.array(picture["positions"], float), np.array(picture["connectivities"])
    for i, j in np.argwhere(np.triu(links, 1) > WEAKEST_LINK):
        panel.plot(*points[[i, j]].T, color="#BBBBBB", linewidth=6 * links[i, j], zorder=1)
    times, sizes = np.array(picture["times"], float), np.array(picture["sizes"], float)
    known = np.isfinite(times)
    area = 30 + 500 * sizes / sizes.max()
    panel.scatter(*points[~known].T, s=area[~known], color="#DDDDDD", edgecolor="k", zorder=2)
    drawn = panel.scatter(
        *points[known].T, s=area[known], c=times[known], cmap="viridis", edgecolor="k", zorder=2
    )
    panel.figure.colorbar(drawn, ax=panel, shrink=0.6, label="reference order")
    for name, point, size in zip(picture["names"], points, area, strict=True):
        panel.annotate(
            figure_text(name, 20), point, xytext=(0, 3 + size**0.5 / 2), textcoords="offset points",
            fontsize=7, ha="center", zorder=3,
        )  # fmt: skip
    panel.margins(0.18)


def recalls(cells: list[Cell], names: dict[str, str]) -> Figure | None:
    """A panel a set: recall of rare types by abundance, a line a method."""
    shown = {name: recalls_of(cells, name) for name in names}
    shown = {name: found for name, found in shown.items() if found}
    if not shown:
        return None
    figure, panels = panels_of(shown, 7.4, 4.4)
    for panel, (name, found) in zip(panels, shown.items(), strict=True):
        others = {method for method, _ in found} - {MAIN[0]}
        colours = type_colours(np.array(["", *others]))  # the first colour is QBM-VAE's
        for number, (who, by_share) in enumerate(found.items()):
            shift = 1 + 0.015 * (number - len(found) / 2)
            shares = np.array(list(by_share)) * shift
            means = [c.mean for c in by_share.values()]
            main = who == MAIN
            errors = [c.sd / np.sqrt(c.num_seeds) for c in by_share.values()] if main else None
            panel.errorbar(
                shares, means, errors, label=title_of(*who), marker="o", capsize=2,
                color=WIN if main else colours[who[0]], zorder=3 if main else 2,
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
    return figure


def recalls_of(cells: list[Cell], name: str) -> dict[tuple[str, str], dict[float, Cell]]:
    """Recall on one set by method and abundance in per cent, rarest first."""
    found: dict[tuple[str, str], dict[float, Cell]] = {}
    for cell in cells:
        if cell.dataset == name and cell.against == BEST and cell.metric.startswith(RECALL):
            share = float(cell.metric.removeprefix(RECALL).removesuffix("%"))
            found.setdefault(_who(cell), {})[share] = cell
    return {who: dict(sorted(by_share.items())) for who, by_share in found.items()}


def energies(pieces: Pieces, names: dict[str, str]) -> Figure | None:
    """A panel a set: energy by type."""
    found = pictures_of(pieces, "energy", names)
    if not found:
        return None
    figure, panels = panels_of(list(found), 4.8, 3.8)
    for panel, (name, picture) in zip(panels, found.items(), strict=True):
        labels, values = np.array(picture["labels"]), np.array(picture["energy"], float)
        kinds = sorted(set(labels), key=lambda kind: np.median(values[labels == kind]))
        colours = type_colours(labels)
        boxes = panel.boxplot(
            [values[labels == kind] for kind in kinds], orientation="horizontal", showfliers=False,
            patch_artist=True, widths=0.7, medianprops={"color": "k"},
        )  # fmt: skip
        for box, kind in zip(boxes["boxes"], kinds, strict=True):
            box.set_facecolor(colours[kind])
        panel.set_yticks(range(1, len(kinds) + 1), [figure_text(kind, 22) for kind in kinds])
        tidy(panel, "energy, nats", "", names[name])
    return figure


def generation(pieces: Pieces, names: dict[str, str]) -> Figure | None:
    """A panel a set: mean counts of generated and of held-out cells."""
    found = pictures_of(pieces, "generation", names)
    if not found:
        return None
    figure, panels = panels_of(list(found), 3.8, 3.6)
    for panel, (name, picture) in zip(panels, found.items(), strict=True):
        ours, theirs = picture["generated"], picture["held_out"]
        panel.plot(theirs, ours, ".", markersize=2, alpha=0.5, color=WIN)
        top = max(*ours, *theirs)
        panel.plot([0, top], [0, top], color="k", linewidth=0.8)
        tidy(panel, "held-out cells", "generated cells", names[name])
    return figure


def _who(cell: Cell) -> tuple[str, str]:
    return cell.method, cell.setting
