"""Cells on a layout: points in the colours of their groups or numbers, and the legend."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D

from qbm_jax.study.escape import figure_text
from qbm_jax.study.figures import PALE

LEGEND_ROWS = 10  # entries per legend column
WEAKEST_LINK = 0.05  # connectivity, of 0 to 1, below which no line is drawn


def draw_points(
    axes: Axes, points: np.ndarray, values: np.ndarray, colours: dict[str, str] | None
) -> PathCollection:
    """Scatters the cells of one panel.

    Args:
      axes: the panel.
      points: of the layout [cells, 2].
      values: names of groups, or numbers [cells].
      colours: of the names; None: numbers on a scale.
    """
    size = float(np.clip(9000 / len(points), 0.3, 14))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if colours is not None:
        return axes.scatter(
            points[:, 0], points[:, 1], s=size, c=[colours[value] for value in values], lw=0
        )
    low, high = np.percentile(values, [1, 99])  # a few extreme cells must not take the scale
    return axes.scatter(
        points[:, 0],
        points[:, 1],
        s=size,
        c=values,
        cmap="viridis",
        vmin=low,
        vmax=max(high, low + 1e-9),
        lw=0,
    )


def draw_types(axes: Axes, colours: dict[str, str]) -> None:
    """The legend of groups, in as many columns as it needs."""
    num_columns = -(-len(colours) // LEGEND_ROWS)
    length = {1: 34, 2: 18}.get(num_columns, 11)
    handles = [
        Line2D([], [], marker="o", ls="", ms=6, color=colour, label=figure_text(name, length))
        for name, colour in colours.items()
    ]
    axes.legend(handles=handles, loc="upper center", ncols=num_columns, fontsize=8, frameon=False)


def draw_type_graph(panel: Axes, picture: Mapping[str, Any]) -> None:
    """A graph of types: nodes at their places, edges as wide as types are connected.

    Args:
      panel: where it is drawn.
      picture: "names", "sizes" and "times" [types] (None: unknown), "positions" [types, 2] and
        "connectivities" [types, types] in [0, 1].
    """
    points, links = np.array(picture["positions"], float), np.array(picture["connectivities"])
    for i, j in np.argwhere(np.triu(links, 1) > WEAKEST_LINK):
        panel.plot(*points[[i, j]].T, color=PALE, linewidth=6 * links[i, j], zorder=1)
    times, sizes = np.array(picture["times"], float), np.array(picture["sizes"], float)
    known = np.isfinite(times)
    area = 30 + 500 * sizes / sizes.max()
    x, y = points.T
    panel.scatter(x[~known], y[~known], s=area[~known], color=PALE, edgecolor="k", zorder=2)
    drawn = panel.scatter(
        x[known], y[known], s=area[known], c=times[known], cmap="viridis", edgecolor="k", zorder=2
    )
    panel.figure.colorbar(drawn, ax=panel, shrink=0.6, label="reference order")
    for name, point, size in zip(picture["names"], points, area, strict=True):
        panel.annotate(
            figure_text(name, 20), point, xytext=(0, 3 + size**0.5 / 2), textcoords="offset points",
            fontsize=7, ha="center", zorder=3,
        )  # fmt: skip
    panel.margins(0.18)
