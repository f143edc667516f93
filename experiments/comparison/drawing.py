"""What the comparison's figures share: pages of panels, colours, recorded pictures."""

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.comparison.summary import MAIN

Pieces = list[dict[str, Any]]
PAGE_WIDTH = 15.0  # inches
WIN, LOSS, EVEN = "#0072B2", "#D55E00", "#777777"


def panels_of(names: Iterable[str], width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with a panel a name, as many in a row as a page is wide."""
    count = len(list(names))
    columns = max(1, min(count, int(PAGE_WIDTH / width)))
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def pictures_of(pieces: Pieces, key: str, names: dict[str, str]) -> dict[str, Any]:
    """What QBM-VAE's pieces recorded under `key`, by set."""
    return {
        piece["dataset"]: piece["pictures"][key]
        for piece in pieces
        if (piece["method"], piece["setting"]) == MAIN
        and key in piece["pictures"]
        and piece["dataset"] in names
    }
