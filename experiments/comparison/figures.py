"""The figures of the comparison, from what the pieces recorded."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.comparison.summary import HEADLINE, MAIN, REAL_CELLS, comparable
from experiments.comparison.task_figures import (
    Pieces,
    confusion,
    energies,
    generation,
    held_out_donor,
    paga,
    recalls,
    trajectory,
)
from experiments.comparison.titles import metric_title, title_of
from qbm_jax.study.figures import DARK, draw_differences, draw_heat_map, each, tidy
from qbm_jax.study.standing import Standing

DIFFERENCES = (
    "QBM-VAE minus the best method without a Boltzmann prior (named at the right), mean over seeds"
    " and 95 % interval (paired). Right of the line, QBM-VAE is better; grey intervals"
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


def differences(pieces: Pieces, standings: list[Standing], names: dict[str, str]) -> Figure:
    """A panel a set: intervals of QBM-VAE's difference to the best baseline; right is better."""
    del pieces
    order, chosen = list(HEADLINE), {}
    for name in names:
        found = [
            c for c in standings
            if c.dataset == name and c.who == MAIN and np.isfinite(c.gap.low) and comparable(c)
        ]  # fmt: skip
        if found:
            chosen[name] = sorted(found, key=lambda c: order.index((c.task, c.metric)))

    def draw(panel: Axes, name: str, found: list[Standing]) -> None:
        for row, one in enumerate(reversed(found)):
            panel.annotate(
                one.baseline, (1.01, row), xycoords=("axes fraction", "data"), fontsize=6,
                va="center", color=DARK,
            )  # fmt: skip
        gaps = [c.gap.times(c.sign / (100 if c.task == "bound" else 1)) for c in found]
        draw_differences(panel, gaps, [metric_title(c.task, c.metric) for c in found])
        tidy(panel, "QBM-VAE minus best baseline", "", names[name])

    return each(chosen, 6.2, 5.4, draw)


def scores(pieces: Pieces, standings: list[Standing], names: dict[str, str]) -> Figure:
    """A panel a set: headline metrics by methods."""
    del pieces
    shown = {
        name: [c for c in standings if c.dataset == name and comparable(c)
               and np.isfinite(c.own.mean) and c.who != REAL_CELLS]
        for name in names
    }  # fmt: skip

    def draw(panel: Axes, name: str, here: list[Standing]) -> None:
        rows = [key for key in HEADLINE if any((c.task, c.metric) == key for c in here)]
        columns = list(dict.fromkeys(c.who for c in here))
        values = np.full((len(rows), len(columns)), np.nan)
        for c in here:
            values[rows.index((c.task, c.metric)), columns.index(c.who)] = c.own.mean
        ranked = np.array([HEADLINE[row] for row in rows])[:, None] * values
        low, high = np.nanmin(ranked, axis=1)[:, None], np.nanmax(ranked, axis=1)[:, None]
        shade = (ranked - low) / np.maximum(high - low, 1e-12)
        texts = [[_number(value) for value in row] for row in values]
        titles = [metric_title(*row) for row in rows], [title_of(*who) for who in columns]
        draw_heat_map(panel, shade, texts, *titles, vmin=0, vmax=1.4)
        tidy(panel, "", "", names[name])

    return each({name: found for name, found in shown.items() if found}, 7.4, 6.4, draw)


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"


HELD_OUT_DONOR = (
    "UMAP of all cells, of the first seed; the large points are of a donor or batch that"
    " training never saw, so the encoder alone placed them. Nothing is measured on this picture."
)

Draw = Callable[[Pieces, list[Standing], dict[str, str]], Figure]
FIGURES: dict[str, tuple[Draw, str]] = {
    "differences": (differences, DIFFERENCES),
    "scores": (scores, SCORES),
    "confusion": (confusion, CONFUSION),
    "held_out_donor": (held_out_donor, HELD_OUT_DONOR),
    "recall": (recalls, RECALLS),
    "trajectory": (trajectory, TRAJECTORY),
    "paga": (paga, PAGA),
    "energy": (energies, ENERGY),
    "generation": (generation, GENERATION),
}
