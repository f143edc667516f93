"""Figures of the negative phase experiment: dose-response, and repair by finishing sweeps."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.negatives.results import SizeResults
from qbm_jax.study.escape import figure_text
from qbm_jax.study.figures import (
    EVEN,
    MARKERS,
    colours_of,
    draw_curve,
    legend,
    panels,
    plain_ticks,
    shared_legend,
    tidy,
)

# Metric, axis label, and what is right (the metric is shown as its distance from it).
PAIRS = ("pair_error", "rms error of pair moments", 0.0)
LAW = ("total_variation", "total variation to the enumerated law", 0.0)
RESIDUAL = ("residual", "rms pseudo-likelihood residual", 0.0)
TEMPERATURE = ("beta_eff", r"$|\beta_\mathrm{eff} - 1|$", 1.0)
COST = "cost in ELBO, nats per cell"
SMALLEST_COST = 0.5  # nats; the cost axis is linear below
SMALLEST_DOSE = 3e-3  # of every dose; the dose axis is linear below
FLOOR = "floor of finite draws"


def family(name: str) -> str:
    """What a phase is called without its finishing sweeps or its repetition."""
    return name.split("_finish_")[0].removesuffix("_again")


def looks(found: list[SizeResults]) -> dict[str, dict[str, str]]:
    """A colour for every family of phases; markers tell its members apart."""
    names = found[0].fields
    colours = colours_of(map(family, names))
    return {
        name: {"color": colours[family(name)], "marker": MARKERS[place % len(MARKERS)]}
        for place, name in enumerate(names)
    }


def draw_dose_response(found: list[SizeResults], simulated: bool) -> Figure:
    """Cost in the bound against each measured error; a row for each size."""
    look, title = looks(found), "What sampler error costs"
    figure, axes = panels(3 * len(found), 4.5, 4.2, title, simulated, columns=3)
    for place, one in enumerate(found):
        doses = (PAIRS, LAW if one.size.enumerated else RESIDUAL, TEMPERATURE)
        for panel, (name, label, right) in zip(axes[3 * place :], doses, strict=False):
            draw_doses(panel, one, look, name, right)
            tidy(panel, label, COST, one.title)
    shared_legend(figure, axes)
    return figure


def draw_doses(axes: Axes, found: SizeResults, look: dict, name: str, right: float) -> None:
    """One panel: a point for each phase, bars of one standard error, families joined."""
    axes.axhline(0, color=EVEN, linewidth=0.8)
    lines: dict[str, list[tuple[float, float]]] = {}
    for phase in found.seeds:
        cost = found.cost(phase)
        if phase not in found.drawing:
            axes.axhline(cost.mean, color="k", ls="--", lw=1, label="no couplings (J = 0)")
            continue
        dose = found.dose(phase, name, right)
        size = 12 if phase == found.size.reference else 7
        axes.errorbar(
            dose.mean, cost.mean, cost.standard_error, dose.standard_error, linestyle="none",
            markersize=size, elinewidth=1, alpha=0.85, label=figure_text(pretty(phase)),
            **look[phase],
        )  # fmt: skip
        lines.setdefault(family(phase), []).append((dose.mean, cost.mean))
    for phase, points in lines.items():
        axes.plot(*zip(*points, strict=True), color=look[phase]["color"], linewidth=0.8, alpha=0.5)
    if name == LAW[0]:
        axes.axvline(found.floor, color="k", ls=":", lw=1, label=FLOOR)
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=SMALLEST_DOSE)
        axes.set_xlim(left=-0.3 * SMALLEST_DOSE)
    axes.set_yscale("symlog", linthresh=SMALLEST_COST)
    plain_ticks(axes.xaxis, (1, 3))
    plain_ticks(axes.yaxis)


def draw_repair(found: list[SizeResults], simulated: bool) -> Figure:
    """Cost and error against finishing sweeps; a row for each size."""
    look, title = looks(found), "Finishing sweeps after a CIM draw"
    figure, axes = panels(3 * len(found), 4.5, 4.0, title, simulated, columns=3)
    for place, one in enumerate(found):
        left, middle, right = axes[3 * place : 3 * place + 3]
        distance = LAW if one.size.enumerated else TEMPERATURE
        for first, members in one.trained().items():
            colour, name = look[first]["color"], pretty(first)
            draw_curve(left, {k: one.cost(n) for k, n in members.items()}, colour, name)
            own = {k: one.dose(n, PAIRS[0]) for k, n in members.items()}
            draw_curve(middle, own, colour, f"{name}, machine it trained")
        for panel, (metric, _, exact) in ((middle, PAIRS), (right, distance)):
            for first, line in one.repaired(metric, exact).items():
                name, colour = f"{pretty(first)}, reference's machine", look[first]["color"]
                draw_curve(panel, line, colour, name, marker="s", linestyle="--")
        if one.size.enumerated:
            right.axhline(one.floor, color="k", ls=":", lw=1, label=FLOOR)
        left.axhline(0, color=EVEN, linewidth=0.8)
        for panel, label in ((left, COST), (middle, PAIRS[1]), (right, distance[1])):
            tidy(panel, "finishing sweeps a draw", label, one.title)
            panel.set_xscale("symlog", linthresh=1)
            plain_ticks(panel.xaxis)
            legend(panel)
    return figure


def pretty(name: str) -> str:
    """A name as people read it."""
    return name.replace("_", " ")
