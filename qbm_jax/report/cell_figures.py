"""Figures of cells: layouts of the embeddings, energy by cell type."""

import numpy as np
from matplotlib.figure import Figure

from qbm_jax.report import style
from qbm_jax.report.run_outputs import RunOutputs
from qbm_jax.study.cell_figures import LEGEND_ROWS, draw_points, draw_types
from qbm_jax.study.escape import figure_text
from qbm_jax.study.figures import DARK, NotDrawn, batch_colours, colours_of, tidy

LONGEST = 30  # characters of a name beside an axis


def draw_umaps(outputs: RunOutputs) -> Figure:
    """Rows: embeddings. Columns: cell type, batch, energy. Legends in a row of their own."""
    others = [key for key in outputs.cells.obsm if key.startswith("X_umap_")]
    every = {outputs.main: "X_umap"} | {key.removeprefix("X_umap_"): key for key in others}
    layouts = {name: key for name, key in every.items() if key in outputs.cells.obsm}
    columns = _columns(outputs)
    if not layouts or not columns:
        raise NotDrawn("embedding.h5ad holds no UMAP, or nothing to colour it by")
    entries = max([len(colours) for _, colours in columns.values() if colours] or [1])
    legend_height = 0.5 + 0.2 * min(entries, LEGEND_ROWS)
    width, height = 3.9 * len(columns), 3.3 * len(layouts)
    figure = style.new_figure(
        outputs, "Embeddings of the cells (UMAP)", width, height + legend_height + 0.5
    )
    grid = figure.subplots(
        len(layouts) + 1,
        len(columns),
        squeeze=False,
        height_ratios=[3.3] * len(layouts) + [legend_height],
    )
    order = np.random.default_rng(0).permutation(outputs.cells.n_obs)  # none lies on top
    for row, (name, key) in enumerate(layouts.items()):
        points = np.asarray(outputs.cells.obsm[key])[order]
        for axes, (title, (values, colours)) in zip(grid[row], columns.items(), strict=True):
            shown = draw_points(axes, points, values[order], colours)
            axes.set_title(title if row == 0 else "", fontsize=11)
            if colours is None and row == 0:
                energy_points = shown
        grid[row, 0].set_ylabel(figure_text(style.model_name(name)), fontsize=12, weight="bold")
    for axes, (title, (_, colours)) in zip(grid[-1], columns.items(), strict=True):
        axes.axis("off")
        if colours is None:
            place = axes.inset_axes([0.1, 1 - 0.25 / legend_height, 0.8, 0.15 / legend_height])
            bar = figure.colorbar(energy_points, cax=place, orientation="horizontal")
            bar.set_label(f"{title} (kT)", fontsize=9)
            bar.ax.tick_params(labelsize=8)
        else:
            draw_types(axes, colours)
    return figure


def _columns(outputs: RunOutputs) -> dict[str, tuple[np.ndarray, dict[str, str] | None]]:
    """Column title to values [cells] and the colours of names (None: a continuous scale)."""
    columns: dict[str, tuple[np.ndarray, dict[str, str] | None]] = {}
    if outputs.labels is not None:
        columns["Cell type"] = (outputs.labels, colours_of(outputs.labels))
    if outputs.batches is not None:
        columns["Batch"] = (outputs.batches, batch_colours(outputs.batches))
    if outputs.energy is not None:
        columns[f"{style.model_name(outputs.main)} energy"] = (outputs.energy, None)
    return columns


def draw_energy(outputs: RunOutputs) -> Figure:
    """Boxes of the cells' energy by type (by batch where there are no labels)."""
    if outputs.energy is None:
        raise NotDrawn("the run's embedding file has no energy of cells in obs")
    if outputs.labels is not None:
        groups, colours = outputs.labels, colours_of(outputs.labels)
    elif outputs.batches is not None:
        groups, colours = outputs.batches, batch_colours(outputs.batches)
    else:
        raise NotDrawn("there are neither cell types nor batches to group the cells by")
    samples = {name: outputs.energy[groups == name] for name in colours}
    names = sorted(samples, key=lambda name: np.median(samples[name]))
    kind = "cell type" if outputs.labels is not None else "batch (no cell types given)"
    figure = style.new_figure(outputs, f"Energy by {kind}", 8, 1.5 + 0.38 * len(names))
    axes = figure.subplots()
    boxes = axes.boxplot(
        [samples[name] for name in names],
        orientation="horizontal",
        whis=(5, 95),
        widths=0.65,
        patch_artist=True,
        flierprops={"marker": ".", "markersize": 2, "markeredgecolor": DARK},
        medianprops={"color": "k", "lw": 1.5},
    )
    for patch, name in zip(boxes["boxes"], names, strict=True):
        patch.set(facecolor=colours[name], alpha=0.75)
    counts = [f"{figure_text(name, LONGEST)}  (n = {len(samples[name])})" for name in names]
    axes.set_yticks(range(1, len(names) + 1), counts)
    axes.invert_yaxis()
    tidy(axes, "energy of the cell's mean spins (kT)")
    axes.tick_params(axis="y", labelsize=9)
    return figure
