"""The figures of the comparison, from what the pieces recorded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.comparison.drawing import EVEN, LOSS, WIN, Pieces, panels_of
from experiments.comparison.summary import HEADLINE, MAIN, REAL_CELLS, Cell, comparable
from experiments.comparison.task_figures import (
    confusion,
    energies,
    generation,
    paga,
    recalls,
    trajectory,
)
from experiments.comparison.titles import metric_title, title_of
from qbm_jax.report.style import save, tidy


def save_all(
    folder: Path, pieces: Pieces, cells: list[Cell], titles: dict[str, str]
) -> dict[str, str]:
    """Draws every figure that there is data for; returns file name -> caption.

    `titles` gives the printed name of every set.
    """
    names = titles
    folder.mkdir(parents=True, exist_ok=True)
    captions = {}
    figures: dict[str, tuple[Callable[[], Figure | None], str]] = {
        "differences": (lambda: differences(cells, names), DIFFERENCES),
        "scores": (lambda: scores(cells, names), SCORES),
        "confusion": (lambda: confusion(pieces, names), CONFUSION),
        "recall": (lambda: recalls(cells, names), RECALLS),
        "trajectory": (lambda: trajectory(pieces, names), TRAJECTORY),
        "paga": (lambda: paga(pieces, cells, names), PAGA),
        "energy": (lambda: energies(pieces, names), ENERGY),
        "generation": (lambda: generation(pieces, names), GENERATION),
    }
    for name, (draw, caption) in figures.items():
        figure = draw()
        if figure is not None:
            save(figure, folder / f"{name}.png")
            captions[f"{name}.png"] = caption
    return captions


DIFFERENCES = (
    "QBM-VAE minus the best method without a Boltzmann prior (named at the right), mean over seeds"
    " and 95 % interval (paired, Student's t). Right of the line, QBM-VAE is better; grey intervals"
    " contain 0. Bounds, in nats per cell, are divided by 100."
)
SCORES = "Mean over seeds of every method; each row is coloured from its worst to its best."
CONFUSION = "True types (rows) and types found (columns) of cells unseen in training, all seeds."
TRAJECTORY = "Diffusion pseudotime on the embedding against the reference order, first seed."
PAGA = (
    "Types connected in the embedding (PAGA), first seed: QBM-VAE beside the Gaussian-prior model"
    " with the best trajectory conservation. Area: number of cells; colour: mean place in the"
    " reference order (grey: none); line width: connectivity."
)
RECALLS = (
    "Share of unseen cells of a rare type that trees on the embedding name right, by the type's"
    " expected share of all cells: mean over seeds; bar: its standard error, for QBM-VAE. Dashed:"
    " authors' defaults. Methods are set slightly apart."
)
ENERGY = "Energy of each cell's mean spins under the trained machine by type, first seed."
GENERATION = "Mean count of every gene, log1p: cells drawn from the model against held-out cells."


def differences(cells: list[Cell], names: dict[str, str]) -> Figure | None:
    """A panel a set: intervals of QBM-VAE's difference to the best baseline."""
    chosen = {
        name: [c for c in cells if c.dataset == name and _of(c) == MAIN and np.isfinite(c.low)
               and comparable(c)]
        for name in names
    }  # fmt: skip
    order = list(HEADLINE)
    for found in chosen.values():
        found.sort(key=lambda c: order.index((c.task, c.metric)))
    chosen = {name: found for name, found in chosen.items() if found}
    if not chosen:
        return None
    figure, panels = panels_of(chosen, 6.2, 5.4)
    for panel, name in zip(panels, chosen, strict=True):
        for row, cell in enumerate(reversed(chosen[name])):
            sign = HEADLINE[cell.task, cell.metric] / (100 if cell.task == "bound" else 1)
            low, middle, high = np.sort([sign * cell.low, sign * cell.difference, sign * cell.high])
            colour = WIN if low > 0 else LOSS if high < 0 else EVEN
            panel.plot([low, high], [row, row], color=colour, linewidth=2.5)
            panel.plot(middle, row, "o", color=colour, markersize=5)
            panel.annotate(
                cell.baseline, (1.01, row), xycoords=("axes fraction", "data"), fontsize=6,
                va="center", color="#555555",
            )  # fmt: skip
        panel.axvline(0, color="k", linewidth=0.8)
        titles = [metric_title(c.task, c.metric) for c in reversed(chosen[name])]
        panel.set_yticks(range(len(titles)), titles)
        tidy(panel, "QBM-VAE minus best baseline", "", names[name])
    return figure


def scores(cells: list[Cell], names: dict[str, str]) -> Figure | None:
    """A panel a set: headline metrics by methods."""
    shown = {
        name: [c for c in cells if c.dataset == name and comparable(c) and np.isfinite(c.mean)
               and _of(c) != REAL_CELLS]
        for name in names
    }  # fmt: skip
    shown = {name: found for name, found in shown.items() if found}
    if not shown:
        return None
    figure, panels = panels_of(shown, 7.4, 6.4)
    for panel, (name, here) in zip(panels, shown.items(), strict=True):
        rows = [key for key in HEADLINE if any((c.task, c.metric) == key for c in here)]
        columns = list(dict.fromkeys(_of(c) for c in here))
        values = np.full((len(rows), len(columns)), np.nan)
        for c in here:
            values[rows.index((c.task, c.metric)), columns.index(_of(c))] = c.mean
        signs = np.array([HEADLINE[row] for row in rows])[:, None]
        ranked = signs * values
        low, high = np.nanmin(ranked, axis=1)[:, None], np.nanmax(ranked, axis=1)[:, None]
        shade = (ranked - low) / np.maximum(high - low, 1e-12)
        panel.imshow(shade, aspect="auto", cmap="Blues", vmin=0, vmax=1.4)
        for i, j in np.argwhere(np.isfinite(values)):
            text = f"{values[i, j]:.2f}" if abs(values[i, j]) < 10 else f"{values[i, j]:.0f}"
            panel.text(j, i, text, ha="center", va="center", fontsize=6)
        panel.set_xticks(
            range(len(columns)), [title_of(*c) for c in columns], rotation=60, ha="right"
        )
        panel.set_yticks(range(len(rows)), [metric_title(*row) for row in rows])
        tidy(panel, "", "", names[name])
    return figure


def _of(cell: Cell) -> tuple[str, str]:
    return cell.method, cell.setting
