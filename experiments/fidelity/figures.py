"""The figures of the fidelity report: one function each, from pieces to a file and a caption."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.fidelity import samplers as fidelity_samplers
from experiments.fidelity.energies import EXACT
from experiments.fidelity.laws import LARGEST_Z
from qbm_jax.study.escape import figure_text
from qbm_jax.study.figures import (
    EVEN,
    PALE,
    WARNING,
    NotDrawn,
    colours_of,
    draw_heat_map,
    legend,
    new_figure,
    panels,
    plain_ticks,
    tidy,
)

Sections = dict[str, list[dict[str, Any]]]
_COLUMNS = 4
FAR = 2.0  # times the floor, from which on the number stands on the colour
_MOMENTS = {"energy": "energy per spin", "amplitude": "mean |amplitude|", "beta_eff": "beta_eff"}


def draw_laws(config: ConfigDict, sections: Sections) -> Figure:
    """Heat maps of total variation over its floor, as drawn and at the fitted temperature."""
    pieces = _needed(sections, "laws")
    models = list(dict.fromkeys(piece["model"] for piece in pieces))
    labels = fidelity_samplers.labels(config)
    exact_in_law = fidelity_samplers.exact_in_law(config)
    found = {(piece["sampler"], piece["model"]): piece for piece in pieces}
    figure = new_figure("", 2.2 + 0.95 * len(models), 1.8 + 0.62 * len(labels))
    shown = {
        "total variation / floor": ("total_variation", "total_variation_floor"),
        "the same to the law at beta_eff": ("residual_total_variation", "residual_floor"),
    }
    panels_of = figure.subplots(2, 1)
    for axes, (title, fields) in zip(panels_of, shown.items(), strict=True):
        ratios = np.array([[_ratio(found[label, m], *fields) for m in models] for label in labels])
        texts = [[_ratio_text(ratio) for ratio in row] for row in ratios]
        names = [*map(figure_text, labels)], [*map(_two_lines, models)]
        draw_heat_map(axes, ratios, texts, *names, 30, norm=LogNorm(1, 100), cmap="YlOrRd")
        axes.axhline(len(exact_in_law) - 0.5, color="k", lw=1)  # below: heuristics
        axes.set_title(title, fontsize=10)
        axes.tick_params(length=0)
    bar = figure.colorbar(panels_of[0].images[0], ax=list(panels_of), extend="both", shrink=0.6)
    bar.set_label("times the floor", fontsize=9)
    plain_ticks(bar.ax.yaxis)
    return figure


def draw_lines(config: ConfigDict, sections: Sections) -> Figure:
    """Log frequency against energy on one machine, a panel a sampler."""
    pieces = _needed(sections, "laws")
    models = list(dict.fromkeys(piece["model"] for piece in pieces))
    models = [model for model in models if model.startswith("trained")] or models
    model = models[len(models) // 2]
    pieces = [p for p in pieces if p["model"] == model and p.get("scatter_energy")]
    if not pieces:
        raise NotDrawn("no state was drawn often enough")
    figure, grid = _grid(len(pieces), f"{model}: log frequency of states against their energy")
    for axes, piece in zip(grid, pieces, strict=True):
        energies = np.array(piece["scatter_energy"])
        frequencies = np.array(piece["scatter_log_frequency"])
        axes.plot(energies, frequencies, ".", ms=3.5, color=_colour(config, piece["sampler"]))
        line = np.array([energies.min(), energies.max()])
        axes.plot(line, -line - piece["log_z"], "k-", lw=0.9)
        title = figure_text(piece["sampler"])
        if piece["slope"] is not None:
            title += f"\nslope {piece['slope']:.3f}, correlation {piece['correlation']:.3f}"
        tidy(axes, "energy (kT)", "log frequency", title)
    return figure


def draw_energies(config: ConfigDict, sections: Sections) -> Figure:
    """Histograms of the energy per spin, all samplers of a machine in one panel."""
    pieces = [piece for piece in _needed(sections, "energies") if "quantiles" in piece]
    models = list(dict.fromkeys(piece["model"] for piece in pieces))
    figure, grid = panels(len(models), 4.2, 3.2, "", columns=len(models))
    for axes, model in zip(grid, models, strict=True):
        mine = {p["sampler"]: np.array(p["quantiles"]) for p in pieces if p["model"] == model}
        every = np.concatenate(list(mine.values()))
        bins = np.linspace(every.min(), every.max(), 41)
        for label, values in mine.items():
            exact = label == EXACT
            axes.hist(
                values, bins.tolist(), density=True, label=figure_text(label), lw=1.4,
                histtype="stepfilled" if exact else "step",
                color=PALE if exact else _colour(config, label),
            )  # fmt: skip
        tidy(axes, "energy per spin (kT)", "density", model)
    legend(grid[0])
    return figure


def draw_planted(config: ConfigDict, sections: Sections) -> Figure:
    """Measured against exact means and pair moments, a panel a sampler."""
    pieces = [piece for piece in _needed(sections, "planted") if "scatter_mean" in piece]
    if not pieces:
        raise NotDrawn("no sampler's draws were finite")
    figure, grid = _grid(len(pieces), "moments against quadrature")
    for axes, piece in zip(grid, pieces, strict=True):
        axes.plot([-1, 1], [-1, 1], "k-", lw=0.8, zorder=0)
        axes.plot(*piece["scatter_pair"], ".", ms=2.5, color=EVEN, label="pairs")
        colour = _colour(config, piece["sampler"])
        axes.plot(*piece["scatter_mean"], ".", ms=2.5, color=colour, label="means")
        z = piece["largest_collective_z"]
        title = f"{figure_text(piece['sampler'])}\nlargest collective |z| {z:.1f}"
        tidy(axes, "exact", "measured", title)
        axes.legend(fontsize=7, frameon=False, loc="upper left", markerscale=3)
    return figure


def draw_mixing(config: ConfigDict, sections: Sections) -> Figure:
    """Autocorrelation times and effective samples a second against the coupling strength."""
    pieces = _needed(sections, "mixing")
    figure = new_figure("", 10, 3.8)
    energy_axes, spin_axes, speed_axes = figure.subplots(1, 3)
    for label in dict.fromkeys(piece["sampler"] for piece in pieces):
        mine = [piece for piece in pieces if piece["sampler"] == label]
        b = np.array([piece["b"] for piece in mine])
        colour = _colour(config, label)
        all_mixed = np.array([piece["energy_mixed"] and piece["spin_mixed"] for piece in mine])
        for axes, quantity in ((energy_axes, "energy"), (spin_axes, "spin")):
            tau = np.array([piece[f"{quantity}_tau"] or np.nan for piece in mine])
            mixed = np.array([piece[f"{quantity}_mixed"] for piece in mine])
            axes.plot(b, tau, "-", lw=1, color=colour, label=figure_text(label))
            axes.plot(b[mixed], tau[mixed], "o", ms=5, color=colour, mfc="w")
            axes.plot(b[all_mixed], tau[all_mixed], "o", ms=5, color=colour)
            axes.plot(b[~mixed], tau[~mixed], "^", ms=6, color=colour, mfc="w")
        tau = np.array([max(piece["energy_tau"] or np.nan, 1) for piece in mine])
        speed = np.array([piece["num_chains"] / piece["seconds_per_step"] for piece in mine]) / tau
        mixed = np.array([piece["energy_mixed"] for piece in mine])
        speed_axes.plot(b[mixed], speed[mixed], "o-", ms=5, lw=1, color=colour, mfc="w")
        speed_axes.plot(b[all_mixed], speed[all_mixed], "o", ms=5, color=colour)
    for axes in (energy_axes, spin_axes, speed_axes):
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
    tidy(energy_axes, "coupling strength b", "steps", "autocorrelation time, energy")
    tidy(spin_axes, "coupling strength b", "steps", "autocorrelation time, slowest spin")
    tidy(speed_axes, "coupling strength b", "per second", "independent energies")
    legend(energy_axes)
    return figure


def draw_step_size(config: ConfigDict, sections: Sections) -> Figure:
    """Bias of draws against dt, and weak errors of the schemes on logarithmic axes."""
    pieces, orders = sections.get("step_size", []), sections.get("weak_order", [])
    if not pieces and not orders:
        raise NotDrawn("no sampler with a time step was named")
    figure = new_figure("", 11, 3.6)
    beta_axes, energy_axes, order_axes = figure.subplots(1, 3)
    for piece in pieces:
        rows = [row for row in piece["rows"] if "beta_eff" in row]
        dts = [row["dt"] for row in rows]
        colour = _colour(config, piece["sampler"])
        label = figure_text(piece["sampler"])
        beta_axes.plot(dts, [r["beta_eff"] for r in rows], "o-", color=colour, label=label)
        errors = [row["energy_error"] for row in rows]
        bars = [row["energy_standard_error"] for row in rows]
        energy_axes.errorbar(dts, errors, bars, fmt="o-", color=colour)
    beta_axes.axhline(1, color="k", lw=0.8)
    energy_axes.axhline(0, color="k", lw=0.8)
    for index, piece in enumerate(orders):
        steps = np.array([row["dt"] for row in piece["rows"]])
        distances = np.abs([row["error"] for row in piece["rows"]])
        bars = [row["standard_error"] for row in piece["rows"]]
        label = f"{piece['scheme']}: {piece['order']:.2f} ± {piece['order_standard_error']:.2f}"
        order_axes.errorbar(steps, distances, bars, fmt="o", color=f"C{index}", label=label)
        power = piece["expected_order"]
        shape = steps**power - piece["reference_dt"] ** power
        order_axes.plot(steps, distances[-1] * shape / shape[-1], "-", lw=0.8, color=f"C{index}")
    order_axes.set_xscale("log")
    order_axes.set_yscale("log")
    plain_ticks(order_axes.xaxis)
    tidy(beta_axes, "dt", "", "beta_eff of the draws")
    tidy(energy_axes, "dt", "kT", "error of the mean energy")
    tidy(order_axes, "dt", "error of the mean power", "weak order (lines: theory)")
    legend(beta_axes)
    legend(order_axes)
    return figure


def draw_long_run(config: ConfigDict, sections: Sections) -> Figure:
    """Traces of the moments, with the two tenths that are compared."""
    pieces = _needed(sections, "long_run")
    figure = new_figure("", 10, 1.2 + 2.3 * len(pieces))
    grid = figure.subplots(len(pieces), len(_MOMENTS), squeeze=False)
    for row, piece in zip(grid, pieces, strict=True):
        for axes, (name, title) in zip(row, _MOMENTS.items(), strict=True):
            trace = np.array(piece["traces"][name], float)
            steps = piece["steps_per_record"] * (1 + np.arange(trace.size))
            axes.plot(steps, trace, "-", lw=0.5, color=EVEN)
            burn_in = round(0.1 * trace.size)
            tenth = (trace.size - burn_in) // 10
            for part in (slice(burn_in, burn_in + tenth), slice(-tenth, None)):
                axes.plot(steps[part], trace[part], "-", lw=0.6, color=_colour(config, "cim"))
                mean = np.full(tenth, trace[part].mean())
                axes.plot(steps[part], mean, "-", lw=2.5, color=WARNING)
            z = piece["moments"][name]["z"]
            text = "not finite" if z is None else f"z = {z:+.1f}"
            tidy(axes, "step", "", f"{figure_text(piece['sampler'])}: {title}, {text}")
    return figure


FIGURES: dict[str, tuple[Callable[[ConfigDict, Sections], Figure], str]] = {
    "laws": (
        draw_laws,
        "Total variation between the draws' frequencies and the enumerated law, over what exact"
        " draws of the same number show: 1 is perfect. Below: after the temperature was fitted, so"
        " what is left is not a matter of temperature. Above the line:"
        f" samplers that claim the Boltzmann law. Numbers: from {FAR:.0f} times the floor on.",
    ),
    "lines": (
        draw_lines,
        "One point a state. Black line: the Boltzmann law at T = 1, slope -1. A sampler can have a"
        " correlation near -1 and still the wrong slope.",
    ),
    "energies": (
        draw_energies,
        "One draw of each of many chains on Gaussian couplings. A heuristic whose histogram lies to"
        " the left is colder than asked for, to the right warmer; grey: the exact law.",
    ),
    "planted": (
        draw_planted,
        "Means of spins and moments of pairs, from one draw of each chain, against quadrature.",
    ),
    "mixing": (
        draw_mixing,
        "Filled: mixed, energy and spins. Open circles: this quantity mixed, the other did not."
        " Triangles: not mixed within the budget, the true time is longer."
        " Steps are the sampler's own: a Gibbs sweep updates spins one after the other, the"
        " machines all at once.",
    ),
    "step_size": (
        draw_step_size,
        "Left and middle: the same anneal in steps of dt. Right: error of the mean square amplitude"
        " against a fine path on the same noise.",
    ),
    "long_run": (
        draw_long_run,
        "One run without restarts. Coloured: first tenth after burn-in and last tenth; red: their"
        f" means. |z| below {LARGEST_Z:.0f}: nothing has drifted.",
    ),
}


def _needed(sections: Sections, section: str) -> list[dict[str, Any]]:
    if not sections.get(section):
        raise NotDrawn("nothing of this kind was measured")
    return sections[section]


def _grid(count: int, title: str) -> tuple[Figure, list[Axes]]:
    """Equal panels in rows of four."""
    figure, grid = panels(count, 2.9, 2.8, title, columns=_COLUMNS, sharex=True, sharey=True)
    for axes in grid:
        axes.tick_params(labelbottom=True)
    return figure, grid


def _colour(config: ConfigDict, label: str) -> str:
    """The one colour of a sampler in all figures."""
    return colours_of(config.samplers)[label]


def _ratio(piece: dict[str, Any], value: str, floor: str) -> float:
    return piece[value] / piece[floor] if value in piece else np.nan


def _ratio_text(ratio: float) -> str:
    if np.isnan(ratio):
        return "diverged"
    return "" if ratio < FAR else f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def _two_lines(model: str) -> str:
    kind, _, num_spins = model.rpartition(" ")
    return f"{kind.replace('_', ' ')}\nN = {num_spins}"
