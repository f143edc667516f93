"""The figures of the comparison, from what the pieces recorded."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.comparison.methods import OURS, UNTRAINED
from experiments.comparison.summary import HEADLINE, MAIN, Cell, comparable
from qbm_jax.presets import PRESETS
from qbm_jax.report.style import DPI, shorten, tidy, type_colours

Pieces = list[dict[str, Any]]
PAGE_WIDTH = 15.0  # inches
WIN, LOSS, EVEN = "#0072B2", "#D55E00", "#777777"


def title_of(method: str, setting: str) -> str:
    """Printed name of a method; the setting is added where there are two."""
    if method in UNTRAINED:
        return {"pca": "PCA", "harmony": "Harmony"}[method]
    title = PRESETS[method].title
    return title if method in OURS else f"{title}, {setting}"


def metric_title(task: str, metric: str) -> str:
    """Printed name of a headline metric."""
    names = {
        "total": "scIB total", "scgraph_correlation": "scGraph", "elbo": "bound (ELBO)",
        "fold_f1_macro": "macro F1, new cells", "donor_f1_macro": "macro F1, new donor",
        "conservation": "trajectory conservation", "unreached": "unreached by the trajectory",
        "rare_f1": "F1 of rare types", "rare_isolated_f1": "cluster F1 of rare types",
        "leiden_nmi_default": "Leiden NMI, default", "leiden_nmi_best": "Leiden NMI, best",
        "energy_spearman": "energy along the trajectory",
        "auroc_corrupted_energy": "AUROC of energy, corrupted cells",
        "auroc_corrupted_negative_bound": "AUROC of bound, corrupted cells",
        "auroc_left_out_type_energy": "AUROC of energy, unseen type",
        "auroc_left_out_type_negative_bound": "AUROC of bound, unseen type",
        "gene_gene": "gene-gene correlation",
        "two_sample_excess": "two-sample AUROC, off 0.5",
        "importance_weighted": "importance-weighted bound",
    }  # fmt: skip
    low = " (low is good)" if HEADLINE[task, metric] < 0 else ""
    return names.get(metric, metric.replace("_", " ")) + low


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
        "trajectory": (lambda: trajectory(pieces, names), TRAJECTORY),
        "energy": (lambda: energies(pieces, names), ENERGY),
        "generation": (lambda: generation(pieces, names), GENERATION),
    }
    for name, (draw, caption) in figures.items():
        figure = draw()
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=DPI)
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
ENERGY = "Expected energy of each cell under the trained machine by type, first seed."
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
    figure, panels = _panels(chosen, 6.2, 5.4)
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
        name: [c for c in cells if c.dataset == name and comparable(c) and np.isfinite(c.mean)]
        for name in names
    }
    shown = {name: found for name, found in shown.items() if found}
    if not shown:
        return None
    figure, panels = _panels(shown, 7.4, 6.4)
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


def confusion(pieces: Pieces, names: dict[str, str]) -> Figure | None:
    """A panel a set: confusion of types by QBM-VAE, shares of the true type."""
    found = _pictures(pieces, "fold_confusion", names)
    if not found:
        return None
    figure, panels = _panels(list(found), 4.6, 4.2)
    for panel, (name, picture) in zip(panels, found.items(), strict=True):
        counts = np.array(picture["confusion"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.argwhere(counts > 0):
            colour = "white" if shares[i, j] > 0.6 else "black"
            panel.text(j, i, counts[i, j], ha="center", va="center", fontsize=6, color=colour)
        titles = [shorten(title, 20) for title in picture["names"]]
        panel.set_xticks(range(len(titles)), titles, rotation=60, ha="right")
        panel.set_yticks(range(len(titles)), titles)
        tidy(panel, "found", "true", names[name])
    return figure


def trajectory(pieces: Pieces, names: dict[str, str]) -> Figure | None:
    """A panel a set: pseudotime against reference."""
    found = _pictures(pieces, "pseudotime", names)
    if not found:
        return None
    figure, panels = _panels(list(found), 4.2, 3.6)
    for panel, (name, picture) in zip(panels, found.items(), strict=True):
        reference = np.array(picture["reference"], float)
        time = np.array(picture["pseudotime"], float)
        known = np.isfinite(reference)
        panel.plot(reference[known], time[known], ".", markersize=2, alpha=0.5, color=WIN)
        tidy(panel, "reference order", "pseudotime on the embedding", names[name])
    return figure


def energies(pieces: Pieces, names: dict[str, str]) -> Figure | None:
    """A panel a set: energy by type."""
    found = _pictures(pieces, "energy", names)
    if not found:
        return None
    figure, panels = _panels(list(found), 4.8, 3.8)
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
        panel.set_yticks(range(1, len(kinds) + 1), [shorten(kind, 22) for kind in kinds])
        tidy(panel, "energy, nats", "", names[name])
    return figure


def generation(pieces: Pieces, names: dict[str, str]) -> Figure | None:
    """A panel a set: mean counts of generated and of held-out cells."""
    found = _pictures(pieces, "generation", names)
    if not found:
        return None
    figure, panels = _panels(list(found), 3.8, 3.6)
    for panel, (name, picture) in zip(panels, found.items(), strict=True):
        ours, theirs = picture["generated"], picture["held_out"]
        panel.plot(theirs, ours, ".", markersize=2, alpha=0.5, color=WIN)
        top = max(*ours, *theirs)
        panel.plot([0, top], [0, top], color="k", linewidth=0.8)
        tidy(panel, "held-out cells", "generated cells", names[name])
    return figure


def _panels(names: Iterable[str], width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with a panel a name, as many in a row as a page is wide."""
    count = len(list(names))
    columns = max(1, min(count, int(PAGE_WIDTH / width)))
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def _pictures(pieces: Pieces, key: str, names: dict[str, str]) -> dict[str, Any]:
    """What QBM-VAE's pieces recorded under `key`, by set."""
    return {
        piece["dataset"]: piece["pictures"][key]
        for piece in pieces
        if (piece["method"], piece["setting"]) == MAIN
        and key in piece["pictures"]
        and piece["dataset"] in names
    }


def _of(cell: Cell) -> tuple[str, str]:
    return cell.method, cell.setting
