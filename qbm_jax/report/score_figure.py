"""Scores of all embeddings side by side."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qbm_jax.report import style
from qbm_jax.report.run_outputs import RunOutputs
from qbm_jax.study.escape import figure_text
from qbm_jax.study.figures import NotDrawn, tidy

PANELS = {
    "total": "Total",
    "bio_conservation": "Bio conservation",
    "batch_correction": "Batch correction",
}


def draw(outputs: RunOutputs) -> Figure:
    """One panel per aggregate score: bars of means, error bars, a point per seed."""
    embeddings = outputs.scores["embeddings"]
    metrics = [m for m in PANELS if any(e.get(m) is not None for e in embeddings.values())]
    if not metrics:
        raise NotDrawn("no aggregate score is defined for these cells")
    figure = style.new_figure(outputs, "Integration scores", 10, 1.7 + 0.42 * len(embeddings))
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        _draw_panel(axes, outputs.scores, metric)
        tidy(axes, "score", title=PANELS[metric])
    names = [figure_text(style.model_name(name)) for name in embeddings]
    panels[0].set_yticks(range(len(embeddings)), names)
    panels[0].tick_params(axis="y", labelsize=10)
    panels[0].invert_yaxis()
    return figure


def _draw_panel(axes: Axes, scores: dict, metric: str) -> None:
    for row, (name, values) in enumerate(scores["embeddings"].items()):
        mean, deviation = values.get(metric), values.get(f"{metric}_sd")
        if mean is None:
            axes.text(0.01, row, "not defined", va="center", fontsize=8)
            continue
        axes.barh(row, mean, height=0.65, color=style.model_colour(name), alpha=0.55)
        axes.errorbar(mean, row, xerr=deviation or None, color="k", capsize=3, lw=1)
        seeds = [
            s[metric] for s in scores.get("per_seed", {}).get(name, []) if s.get(metric) is not None
        ]
        offsets = np.linspace(-0.18, 0.18, len(seeds)) if len(seeds) > 1 else [0] * len(seeds)
        axes.scatter(seeds, row + np.array(offsets), s=12, color="k", alpha=0.7, lw=0, zorder=3)
        text = f"{mean:.3f}" + (f" ± {deviation:.3f}" if deviation else "")
        axes.text(1.02, row, text, va="center", fontsize=8)
    axes.set_xlim(0, 1.32)
    axes.set_xticks(np.linspace(0, 1, 6))
