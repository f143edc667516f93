"""Cells on a layout: points in the colours of their groups or numbers, and the legend."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D

from qbm_jax.study.escape import figure_text

LEGEND_ROWS = 10  # entries per legend column


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
