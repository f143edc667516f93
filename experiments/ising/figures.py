"""Figures of the Ising benchmark: time to solution, success, and gap to the best known value."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.ising.results import IsingPlan, Judged, Solution
from qbm_jax.problems import wilson_interval
from qbm_jax.study.escape import figure_text
from qbm_jax.study.figures import MARKERS, RISING, colours_of, panels, shared_legend, tidy

FAR = 1.6  # an arrow's length, as a factor on a logarithmic axis
TIME_CAPTION = (
    "Wall time until a replica has reached the level with 99 % confidence, compile time apart:"
    " median over held-out instances, 95 % intervals. Arrows: no upper end. A tick instead of a"
    " point: no success, only the lower end is known. Run lengths were chosen on pilots."
)


def draw_time_to_solution(plan: IsingPlan, solutions: list[Solution]) -> Figure:
    """A panel a family, a row a sampler, a colour a level."""
    levels, labels = plan.config.levels, [entry.label for entry in plan.table]
    height, title = 1.2 + 0.3 * len(labels), "Time to solution at 99 % confidence"
    figure, axes = panels(len(plan.families), 3.6, height, title, columns=4, sharey=True)
    for panel, family in zip(axes, plan.families, strict=True):
        for solution in solutions:
            if solution.family == family.name:
                _draw_solution(panel, solution, levels, labels)
        panel.set_xscale("log")
        tidy(panel, "seconds", title=figure_text(family.title))
        panel.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(labels)), [*map(figure_text, labels)])
    axes[0].invert_yaxis()
    for level, colour in zip(levels, RISING, strict=False):
        axes[-1].plot([], [], "o", color=colour, label=f"{100 * level:g} %")
    shared_legend(figure, axes, title="level")
    return figure


def _draw_solution(
    axes: Axes, solution: Solution, levels: tuple[float, ...], labels: list[str]
) -> None:
    """One point with its interval."""
    place = levels.index(solution.level)
    row = labels.index(solution.sampler) + 0.17 * (place - (len(levels) - 1) / 2)
    colour, low = RISING[place % len(RISING)], solution.seconds_low
    solved, bounded = math.isfinite(solution.seconds), math.isfinite(solution.seconds_high)
    point = solution.seconds if solved else low
    end = solution.seconds_high if bounded else FAR * point
    axes.plot(point, row, "o" if solved else "|", color=colour, ms=4)
    axes.plot([low, end], [row, row], color=colour, lw=1.2)
    if not bounded:
        axes.plot(end, row, ">", color=colour, ms=4)


def draw_success(plan: IsingPlan, judged: list[Judged]) -> Figure:
    """A panel a level, a line a sampler, over the instances of a family together."""
    levels = plan.config.levels
    figure, axes = _panels(judged, len(levels), "Success by run length")
    for one, looks in zip(judged, _looks(plan, judged), strict=True):
        for panel, level in zip(axes, levels, strict=True):
            rates = []
            for budget in one.tuned.values:
                runs = one.at(budget)
                successes = sum(run.successes(level) for run in runs)
                trials = sum(run.shares.size for run in runs)
                rates.append((successes / trials, *wilson_interval(successes, trials)))
            centre, low, high = np.array(rates).T
            errors = np.clip([centre - low, high - centre], 0, None)
            products = [one.at(budget)[0].products for budget in one.tuned.values]
            panel.errorbar(products, centre, errors, lw=1, ms=4, elinewidth=0.6, **looks)
    for panel, level in zip(axes, levels, strict=True):
        panel.set_xscale("log")
        panel.set_ylim(-0.03, 1.03)
        tidy(panel, "products a replica", title=f"{100 * level:g} % of the best known")
    axes[0].set_ylabel("successful replicas", fontsize=9)
    shared_legend(figure, axes)
    return figure


def draw_gap(plan: IsingPlan, judged: list[Judged]) -> Figure:
    """Gap to the best known value against products and against wall time."""
    figure, axes = _panels(judged, 2, "Gap to the best known value")
    gaps = []
    for one, looks in zip(judged, _looks(plan, judged), strict=True):
        points = [one.at(budget) for budget in one.tuned.values]
        points = [runs for runs in points if all(run.finite.size for run in runs)]
        median, best = (
            [100 * (1 - np.mean([getattr(run, name) for run in runs])) for runs in points]
            for name in ("median", "best")
        )
        gaps += [gap for gap in median + best if gap > 0]
        for panel, cost in zip(axes, ("products", "seconds"), strict=True):
            costs = [np.mean([getattr(run, cost) for run in runs]) for runs in points]
            panel.plot(costs, median, lw=1.2, ms=4, **looks)
            panel.plot(costs, best, lw=0.8, ms=3, ls="--", **(looks | {"label": None}))
    floor = 10 ** math.floor(math.log10(min(gaps))) if gaps else 1e-3
    for panel, name in zip(axes, ("products a replica", "seconds a call"), strict=True):
        panel.set_xscale("log")
        panel.set_yscale("symlog", linthresh=floor, linscale=0.4)
        panel.set_ylim(bottom=0)
        tidy(panel, name)
    axes[0].set_ylabel("gap, %", fontsize=9)
    shared_legend(figure, axes)
    return figure


FAMILY_FIGURES: dict[str, tuple[Callable[[IsingPlan, list[Judged]], Figure], str]] = {
    "success": (
        draw_success,
        "part of the replicas that reach each level against run length, N x N products a replica."
        " Bars: Wilson 95 % intervals for these instances.",
    ),
    "gap": (
        draw_gap,
        "what is missing to the best known value, in median (solid) and in the best replica"
        " (dashed; runs without a gap lie on the lower edge), against products a replica and"
        " against the wall time of a call of all replicas.",
    ),
}


def _panels(judged: list[Judged], number: int, title: str) -> tuple[Figure, list[Axes]]:
    named = f"{title}: {judged[0].family.title}"
    return panels(number, 3.6, 3.8, named, columns=number, sharey=True)


def _looks(plan: IsingPlan, judged: list[Judged]) -> list[dict[str, Any]]:
    """One colour and marker a sampler in all figures."""
    labels = [entry.label for entry in plan.table]
    colours = colours_of(labels)
    return [
        {
            "color": colours[one.entry.label],
            "marker": MARKERS[labels.index(one.entry.label) % len(MARKERS)],
            "label": figure_text(one.entry.label),
        }
        for one in judged
    ]
