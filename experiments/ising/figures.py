"""Figures of the Ising benchmark, from what `results.json` holds."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qbm_jax.problems import wilson_interval
from qbm_jax.study.escape import figure_text, file_name
from qbm_jax.study.figures import colours_of, save, tidy

MARKERS = "osD^v<>PX*phd8"
LEVEL_COLOURS = ("#56B4E9", "#0072B2", "#E69F00", "#D55E00", "#882255")
FAR = 1.6  # an arrow's length, as a factor on a logarithmic axis
Document = dict[str, Any]


def save_all(results: Document, folder: Path) -> dict[str, str]:
    """Draws every figure as a PNG in `folder`; returns captions by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = {}
    for name, figure, caption in _figures(results):
        save(figure, folder / name)
        captions[name] = caption
    return captions


def _figures(results: Document) -> Iterator[tuple[str, Figure, str]]:
    yield (
        "time_to_solution.png",
        draw_time_to_solution(results),
        "Wall time until a replica has reached the level with 99 % confidence, compile time apart:"
        " median over held-out instances, 95 % intervals. Arrows: no upper end. A tick instead of a"
        " point: no success, only the lower end is known. Run lengths were chosen on pilots.",
    )
    for family in results["families"]:
        title = family["title"]
        yield (
            file_name(f"success_{family['name']}", ".png"),
            draw_success(results, family),
            f"{title}: part of the replicas that reach each level against run length, N x N"
            " products a replica. Bars: Wilson 95 % intervals for these instances.",
        )
        yield (
            file_name(f"gap_{family['name']}", ".png"),
            draw_gap(results, family),
            f"{title}: what is missing to the best known value, in median (solid) and in the best"
            " replica (dashed; runs without a gap lie on the lower edge), against products a"
            " replica and against the wall time of a call of all replicas.",
        )


def draw_time_to_solution(results: Document) -> Figure:
    """A panel a family, a row a sampler, a colour a level."""
    families, labels = results["families"], list(results["samplers"])
    columns = min(len(families), 4)
    rows = -(-len(families) // columns)
    figure = Figure(
        figsize=(3.6 * columns + 1.5, rows * (1.2 + 0.3 * len(labels))), layout="constrained"
    )
    figure.suptitle("Time to solution at 99 % confidence", fontsize=12, weight="bold")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for unused in panels[len(families) :]:
        unused.remove()
    panels = panels[: len(families)]
    for axes, family in zip(panels, families, strict=True):
        for solution in results["solutions"]:
            if solution["family"] == family["name"]:
                _draw_solution(axes, solution, results["levels"], labels)
        axes.set_xscale("log")
        tidy(axes, "seconds", title=figure_text(family["title"]))
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(labels)), [*map(figure_text, labels)])
    panels[0].invert_yaxis()
    for level, colour in zip(results["levels"], LEVEL_COLOURS, strict=False):
        panels[-1].plot([], [], "o", color=colour, label=f"{100 * level:g} %")
    figure.legend(loc="outside right center", fontsize=8, title="level")
    return figure


def _draw_solution(axes: Axes, solution: Document, levels: list[float], labels: list[str]) -> None:
    """One point with its interval; None in the file stands for infinity."""
    place = levels.index(solution["level"])
    row = labels.index(solution["sampler"]) + 0.17 * (place - (len(levels) - 1) / 2)
    value, low, high = solution["seconds"]
    colour = LEVEL_COLOURS[place % len(LEVEL_COLOURS)]
    point = low if value is None else value
    axes.plot(point, row, "o" if value is not None else "|", color=colour, ms=4)
    if high is not None:
        axes.plot([low, high], [row, row], color=colour, lw=1.2)
        return
    axes.plot([low, point], [row, row], color=colour, lw=1.2)
    axes.plot([point, point * FAR], [row, row], color=colour, lw=1.2)
    axes.plot(point * FAR, row, ">", color=colour, ms=4)


def draw_success(results: Document, family: Document) -> Figure:
    """A panel a level, a line a sampler, over the instances of a family together."""
    levels = results["levels"]
    figure, panels = _panels(results, family, len(levels), "Success by run length")
    for label, style_of in _line_styles(results).items():
        points = _by_budget(results, family, label)
        for place, axes in enumerate(panels):
            products = [rows[0]["products"] for rows in points]
            rates = [_pooled(rows, place) for rows in points]
            centre, low, high = np.array(rates).reshape(-1, 3).T
            errors = np.clip([centre - low, high - centre], 0, None)
            axes.errorbar(products, centre, yerr=errors, lw=1, ms=4, elinewidth=0.6, **style_of)
    for axes, level in zip(panels, levels, strict=True):
        axes.set_xscale("log")
        axes.set_ylim(-0.03, 1.03)
        tidy(axes, "products a replica", title=f"{100 * level:g} % of the best known")
    panels[0].set_ylabel("successful replicas", fontsize=9)
    _legend(figure, panels[0])
    return figure


def draw_gap(results: Document, family: Document) -> Figure:
    """Gap to the best known value against products and against wall time."""
    figure, panels = _panels(results, family, 2, "Gap to the best known value")
    gaps = []
    for label, style_of in _line_styles(results).items():
        points = [rows for rows in _by_budget(results, family, label) if _finite(rows)]
        for axes, cost in zip(panels, ("products", "seconds_per_call"), strict=True):
            costs = [np.mean([row[cost] for row in rows]) for rows in points]
            median = [100 * (1 - np.mean([row["median"] for row in rows])) for rows in points]
            best = [100 * (1 - np.mean([row["best"] for row in rows])) for rows in points]
            axes.plot(costs, median, lw=1.2, ms=4, **style_of)
            axes.plot(costs, best, lw=0.8, ms=3, ls="--", **(style_of | {"label": None}))
            gaps += [gap for gap in median + best if gap > 0]
    floor = 10 ** math.floor(math.log10(min(gaps))) if gaps else 1e-3
    for axes, name in zip(panels, ("products a replica", "seconds a call"), strict=True):
        axes.set_xscale("log")
        axes.set_yscale("symlog", linthresh=floor, linscale=0.4)
        axes.set_ylim(bottom=0)
        tidy(axes, name)
    panels[0].set_ylabel("gap, %", fontsize=9)
    _legend(figure, panels[0])
    return figure


def _finite(rows: list[Document]) -> bool:
    return all(row["best"] is not None for row in rows)


def _panels(
    results: Document, family: Document, number: int, title: str
) -> tuple[Figure, list[Axes]]:
    width = 3.0 if number > 2 else 4.2
    figure = Figure(figsize=(width * number + 1.8, 3.8), layout="constrained")
    figure.suptitle(figure_text(f"{title}: {family['title']}"), fontsize=12, weight="bold")
    return figure, list(figure.subplots(1, number, sharey=True))


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=8)


def _line_styles(results: Document) -> dict[str, dict[str, Any]]:
    """One colour and marker a sampler in all figures."""
    labels = list(results["samplers"])
    colours = colours_of(np.array(labels))
    return {
        label: {
            "color": colours[label],
            "marker": MARKERS[i % len(MARKERS)],
            "label": figure_text(label),
        }
        for i, label in enumerate(labels)
    }


def _by_budget(results: Document, family: Document, label: str) -> list[list[Document]]:
    """A sampler's rows, a list of instances for each run length."""
    wanted = [
        row for row in results["rows"] if (row["family"], row["sampler"]) == (family["name"], label)
    ]
    budgets = sorted({row["budget"] for row in wanted})
    return [[row for row in wanted if row["budget"] == budget] for budget in budgets]


def _pooled(rows: list[Document], place: int) -> tuple[float, float, float]:
    """Success rate over instances with its Wilson interval."""
    successes = sum(row["successes"][place] for row in rows)
    trials = sum(row["replicas"] * row["calls"] for row in rows)
    return successes / trials, *wilson_interval(successes, trials)
