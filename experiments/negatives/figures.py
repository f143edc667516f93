"""Figures of the negative phase experiment: dose-response, and repair by finishing sweeps."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from experiments.negatives.results import Facts, Results, cost, metric
from qbm_jax.study.escape import figure_text
from qbm_jax.study.estimates import Estimate, estimate
from qbm_jax.study.figures import marked, tidy

# Metric, axis label, and what is right (the metric is shown as its distance from it).
DOSES = {
    "enumerable": (
        ("pair_error", "rms error of pair moments", 0.0),
        ("total_variation", "total variation to the enumerated law", 0.0),
        ("beta_eff", r"$|\beta_\mathrm{eff} - 1|$", 1.0),
    ),
    "real": (
        ("pair_error", "rms error of pair moments", 0.0),
        ("residual", "rms pseudo-likelihood residual", 0.0),
        ("beta_eff", r"$|\beta_\mathrm{eff} - 1|$", 1.0),
    ),
}
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#777777", "#D55E00", "#332288",
    "#882255", "#117733",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "h", "<")
SMALLEST_COST = 0.5  # nats; the cost axis is linear below
DOSE_TICKS = (0, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 10)
DISTANCE_TICKS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
COST_TICKS = (-10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
SWEEP_TICKS = (0, 1, 2, 5, 10, 20, 50)
SMALLEST_DOSE = 3e-3  # of every dose; the dose axis is linear below


def dose(seeds: list[dict[str, Any]], name: str, right: float) -> Estimate:
    """Mean distance of a metric from what is right."""
    return estimate([abs(value - right) for value in metric(seeds, name)])


def family(name: str) -> str:
    """What a phase is called without its finishing sweeps or its repetition."""
    return name.split("_finish_")[0].removesuffix("_again")


def looks(facts: Facts, results: Results) -> dict[str, dict[str, str]]:
    """A colour for every family of phases that draw spins; markers tell its members apart."""
    shown = [name for phases in results.values() for name in phases]
    families: dict[str, list[str]] = {}
    for name in dict.fromkeys([*shown, *facts.phases]):
        if facts.phases[name]["sampler"] != "none":
            families.setdefault(family(name), []).append(name)
    look = {}
    for i, members in enumerate(families.values()):
        for k, name in enumerate(members):
            marker = MARKERS[(i + k) % len(MARKERS)]
            look[name] = {"color": COLOURS[i % len(COLOURS)], "marker": marker}
    return look


def draw_dose_response(facts: Facts, results: Results) -> Figure:
    """Cost in the bound against each measured error; a row for each size."""
    look = looks(facts, results)
    figure = new_figure(facts, "What sampler error costs", 13.5, 4.2 * len(results))
    grid = figure.subplots(len(results), 3, squeeze=False)
    for axes_row, (size, phases) in zip(grid, results.items(), strict=True):
        doses = DOSES["enumerable" if facts.enumerated[size] else "real"]
        for axes, (name, label, right) in zip(axes_row, doses, strict=True):
            draw_doses(axes, phases, look, name, right)
            tidy(axes, label, "cost in ELBO, nats per cell", f"N = {facts.num_latents[size]}")
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        drawn, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, drawn, strict=True))
    phases_first = [label for label in map(printed, look) if label in handles]
    order = phases_first + [label for label in handles if label not in phases_first]
    figure.legend(
        [handles[label] for label in order], order, loc="outside right center", fontsize=9,
        frameon=False,
    )  # fmt: skip
    return figure


def draw_doses(axes: Axes, phases: dict[str, list], look: dict, name: str, right: float) -> None:
    """One panel: a point for each phase, bars of one standard error, families joined."""
    reference = next(iter(phases))
    axes.axhline(0, color="#999999", linewidth=0.8)
    lines: dict[str, list[tuple[float, float]]] = {}
    for phase, seeds in phases.items():
        if phase not in look:
            worth = cost(phases, phase).mean
            axes.axhline(
                worth, color="k", linestyle="--", linewidth=1, label="no couplings (J = 0)"
            )
            continue
        x, y = dose(seeds, name, right), cost(phases, phase)
        lines.setdefault(family(phase), []).append((x.mean, y.mean))
        axes.errorbar(
            x.mean, y.mean, xerr=known(x.standard_error), yerr=known(y.standard_error),
            linestyle="none", markersize=7 if phase != reference else 12, elinewidth=1,
            label=printed(phase), alpha=0.85, **look[phase],
        )  # fmt: skip
    for phase, points in lines.items():
        axes.plot(*zip(*points, strict=True), color=look[phase]["color"], linewidth=0.8, alpha=0.5)
    if name == "total_variation":
        floor = estimate(metric(phases[reference], "total_variation_floor")).mean
        axes.axvline(floor, color="k", linestyle=":", linewidth=1, label="floor of finite draws")
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=SMALLEST_DOSE)
        axes.set_xlim(left=-0.3 * SMALLEST_DOSE)
    axes.set_yscale("symlog", linthresh=SMALLEST_COST)
    set_ticks(axes.xaxis, DISTANCE_TICKS if name == "total_variation" else DOSE_TICKS)
    set_ticks(axes.yaxis, COST_TICKS)


def set_ticks(axis: Axis, candidates: tuple[float, ...]) -> None:
    """The candidates within the axis' limits, written as plain numbers."""
    low, high = axis.get_view_interval()
    ticks = [tick for tick in candidates if low <= tick <= high]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())


def draw_repair(facts: Facts, results: Results) -> Figure:
    """Cost and error against finishing sweeps; a row for each size."""
    figure = new_figure(facts, "Finishing sweeps after a CIM draw", 13.5, 4.0 * len(results))
    grid = figure.subplots(len(results), 3, squeeze=False)
    colours = {name: look["color"] for name, look in looks(facts, results).items()}
    for (left, middle, right), (size, phases) in zip(grid, results.items(), strict=True):
        reference, trained = next(iter(phases.values())), trained_series(facts, phases)
        distance = DOSES["enumerable"][1] if facts.enumerated[size] else DOSES["real"][2]
        for first, members in trained.items():
            draw_line(left, {k: cost(phases, n) for k, n in members.items()}, first, colours)
            own = {k: dose(phases[n], "pair_error", 0.0) for k, n in members.items()}
            draw_line(middle, own, first, colours, ", machine it trained")
        for axes, name, exact in ((middle, "pair_error", 0.0), (right, distance[0], distance[2])):
            for first, line in repaired_series(reference, name, exact).items():
                draw_line(axes, line, first, colours, ", reference's machine", dashed=True)
        if facts.enumerated[size]:
            floor = estimate(metric(reference, "total_variation_floor")).mean
            right.axhline(floor, color="k", linestyle=":", label="floor of finite draws")
        left.axhline(0, color="#999999", linewidth=0.8)
        labels = ("cost in ELBO, nats per cell", "rms error of pair moments", distance[1])
        for axes, label in zip((left, middle, right), labels, strict=True):
            finish_panel(axes, label, f"N = {facts.num_latents[size]}")
    return figure


def finish_panel(axes: Axes, label: str, title: str) -> None:
    """Labels, and a scale of sweeps that shows 0."""
    tidy(axes, "finishing sweeps a draw", label, title)
    axes.set_xscale("symlog", linthresh=1)
    set_ticks(axes.xaxis, SWEEP_TICKS)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False)


def draw_line(
    axes: Axes,
    line: dict[int, Estimate],
    name: str,
    colours: dict[str, str],
    where: str = "",
    dashed: bool = False,
) -> None:
    """One curve with bars of one standard error."""
    sweeps = sorted(line)
    axes.errorbar(
        sweeps,
        [line[k].mean for k in sweeps],
        yerr=[known(line[k].standard_error) for k in sweeps],
        label=printed(name) + where,
        color=colours[name],
        linestyle="--" if dashed else "-",
        marker="s" if dashed else "o",
        markersize=4,
        capsize=2,
    )


def trained_series(facts: Facts, phases: dict[str, list]) -> dict[str, dict[int, str]]:
    """First phase -> sweeps -> phase, of the phases that differ in their finishing sweeps alone."""
    series: dict[tuple, dict[int, str]] = {}
    for name in phases:
        fields = facts.phases[name]
        if fields["sampler"] == "cim":
            options = dict(fields["options"])
            sweeps = options.pop("finishing_sweeps", 0)
            series.setdefault(tuple(sorted(options.items())), {})[sweeps] = name
    return {members[min(members)]: members for members in series.values()}


def repaired_series(
    seeds: list[dict[str, Any]], name: str, right: float
) -> dict[str, dict[int, Estimate]]:
    """Phase -> sweeps -> distance of a metric repair/... from what is right."""
    found: dict[str, dict[int, Estimate]] = {}
    for key in dict.fromkeys(key for seed in seeds for key in seed):
        parts = key.split("/")
        if parts[0] == "repair" and parts[-1] == name:
            found.setdefault(parts[1], {})[int(parts[2])] = dose(seeds, key, right)
    return found


def pretty(name: str) -> str:
    """A name as people read it."""
    return name.replace("_", " ")


def printed(name: str) -> str:
    """A name as a figure shows it."""
    return figure_text(pretty(name))


def known(value: float) -> float:
    """An error bar's length; none where there is one seed."""
    return 0.0 if math.isnan(value) else value


def new_figure(facts: Facts, title: str, width: float, height: float) -> Figure:
    """An empty figure in inches; its title says so if the cells are simulated."""
    figure = Figure(figsize=(width, height), layout="constrained")
    text = marked(title, facts.simulated)
    figure.suptitle(text, fontsize=12, weight="bold", color="#B00020" if facts.simulated else "k")
    return figure
