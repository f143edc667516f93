"""Figures of the model: training curves, couplings, sampler diagnostics."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from qbm_jax.report import style
from qbm_jax.report.run_outputs import RunOutputs
from qbm_jax.study.escape import figure_text
from qbm_jax.study.figures import BLUE, DARK, GREY, VERMILION, NotDrawn, tidy

TERMS = {  # field in metrics.jsonl, sign that makes lower better, title of the panel
    "elbo": (-1, "−ELBO"),
    "reconstruction": (1, "Reconstruction, −log p(x | z)"),
    "kl": (1, "KL to the prior"),
}
LEVELLED = ("elbo", "reconstruction")  # drawn above the best model of the same seed
MOST_NAMES = 40  # spins whose numbers fit beside the heat map
SETTLED = 0.25  # share of the training in which a curve may descend
STEEP = 2.0  # times the range of the rest, from which on that descent is left out


def draw_training(outputs: RunOutputs) -> Figure:
    """One panel per term of the bound; a line per model, seed and split."""
    terms = [t for t in TERMS if any(line.get(t) is not None for line in outputs.history)]
    if not terms:
        raise NotDrawn("metrics.jsonl holds no term of the bound")
    figure = style.new_figure(outputs, "Training curves", 4.2 * len(terms), 4.3)
    panels = figure.subplots(1, len(terms), squeeze=False)[0]
    models = list(dict.fromkeys(line["model"] for line in outputs.history))
    for axes, term in zip(panels, terms, strict=True):
        sign, title = TERMS[term]
        curves = _curves(outputs.history, term)
        if term in LEVELLED:
            curves = _above_best(sign, curves)
            title += ", above the seed's best"
        for (model, _, split), (epochs, values) in curves.items():
            line = "--" if split == "train" else "-"
            # Wide below, narrow above: curves that coincide are all seen.
            width = 0.8 + 0.5 * (len(models) - 1 - models.index(model))
            colour = style.model_colour(model)
            axes.plot(epochs, sign * values, line, color=colour, lw=width, alpha=0.85)
        axes.set_ylim(*_settled_range(sign, curves.values()))
        tidy(axes, "epoch", "nats per cell", title)
    handles = [
        Line2D([], [], color=style.model_colour(m), label=figure_text(style.model_name(m)))
        for m in models
    ]
    handles += [Line2D([], [], color=DARK, ls="-", label="validation")]
    handles += [Line2D([], [], color=DARK, ls="--", label="training")]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False
    )
    return figure


def _curves(history: Iterable[dict], term: str) -> dict[tuple, tuple[np.ndarray, np.ndarray]]:
    """(model, seed, split) to epochs and values, without what was not recorded."""
    points: dict[tuple, list] = {}
    for line in history:
        if line.get(term) is not None and line.get("epoch") is not None:
            curve = (line["model"], line.get("seed"), line.get("split"))
            points.setdefault(curve, []).append((line["epoch"], line[term]))
    return {curve: tuple(np.array(values, float).T) for curve, values in points.items()}


def _above_best(sign: int, curves: dict[tuple, tuple]) -> dict[tuple, tuple]:
    """Values above the lowest of all models of the same seed and split.

    Each seed holds out other cells, whose counts differ by more nats than the models do.
    """
    lowest: dict[tuple, float] = {}
    for (_, seed, split), (_, values) in curves.items():
        level = lowest.get((seed, split), np.inf)
        lowest[seed, split] = min(level, float(np.min(sign * values)))
    return {
        (model, seed, split): (epochs, values - sign * lowest[seed, split])
        for (model, seed, split), (epochs, values) in curves.items()
    }


def _settled_range(sign: int, curves: Iterable[tuple]) -> tuple[float, float]:
    """Range of the axis: all values, but for a first steep descent."""
    curves = [(epochs, sign * values) for epochs, values in curves]
    every = np.concatenate([values for _, values in curves])
    late = np.concatenate([values[epochs >= SETTLED * epochs.max()] for epochs, values in curves])
    low, settled, high = every.min(), late.max(), every.max()
    if high - low > STEEP * (settled - low):
        high = settled
    margin = 0.06 * (high - low or 1)
    return low - margin, high + margin


def draw_couplings(outputs: RunOutputs) -> Figure:
    """Heat map of J in clustered order, and its spectrum beside the semicircle."""
    J = outputs.couplings
    if J is None:
        raise NotDrawn("the prior has no couplings (J is absent or zero)")
    figure = style.new_figure(outputs, f"Couplings of the {len(J)} spins", 10.5, 4.6)
    heat, spectrum = figure.subplots(1, 2)
    order = _clustered_order(J)
    off_diagonal = ~np.eye(len(J), dtype=bool)
    typical = float(np.sqrt(np.mean(J[off_diagonal] ** 2)))
    norm, ticks = _scale(typical, float(np.abs(J).max()))
    image = heat.imshow(J[np.ix_(order, order)], cmap="RdBu_r", norm=norm, interpolation="nearest")
    bar = figure.colorbar(image, ax=heat, label="coupling J (kT)", shrink=0.85, ticks=ticks)
    bar.ax.set_yticklabels([f"{tick:.2g}" for tick in ticks])
    bar.ax.minorticks_off()
    for axis in (heat.xaxis, heat.yaxis):
        axis.set_ticks(range(len(J)) if len(J) <= MOST_NAMES else [])
        axis.set_ticklabels(map(str, order) if len(J) <= MOST_NAMES else [])
    tidy(heat, "spin, clustered", "spin, clustered", "Couplings")
    heat.tick_params(labelsize=6, axis="both")
    heat.tick_params(axis="x", rotation=90)

    eigenvalues = np.linalg.eigvalsh(J)
    radius = 2 * np.sqrt(len(J)) * typical
    bins = int(np.clip(len(J) // 4, 15, 60))
    spectrum.hist(eigenvalues, bins=bins, density=True, color=BLUE, alpha=0.7, label="J")
    axis = np.linspace(-radius, radius, 400)
    semicircle = 2 / (np.pi * radius**2) * np.sqrt(radius**2 - axis**2)
    spectrum.plot(axis, semicircle, color=VERMILION, lw=2, label="semicircle, same variance")
    spectrum.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=9, frameon=False
    )
    outside = int((np.abs(eigenvalues) > radius).sum())
    title = f"Spectrum: largest {eigenvalues[-1]:.2f}, {outside} outside the semicircle"
    tidy(spectrum, "eigenvalue of J (kT)", "density", title)
    return figure


def _scale(typical: float, largest: float) -> tuple[Normalize, list[float]]:
    """Colours up to the largest coupling, and ticks: linear up to a typical one, then logarithmic.

    A few couplings are far above all others: a linear scale would show them, or the others, alone.
    """
    if largest <= 3 * typical:
        return Normalize(-largest, largest), [-largest, 0, largest]
    norm = SymLogNorm(typical, vmin=-largest, vmax=largest, base=10)
    return norm, [-largest, -typical, 0, typical, largest]


def _clustered_order(J: np.ndarray) -> np.ndarray:
    """Spins in the order of an average-linkage tree; strongly coupled means close."""
    strength = np.abs(J)
    distance = strength.max() - strength
    np.fill_diagonal(distance, 0)
    return hierarchy.leaves_list(hierarchy.average(squareform(distance, checks=False)))


def draw_sampler(outputs: RunOutputs) -> Figure:
    """Energy trace, autocorrelation, beta_eff and the log Z bracket, those that were recorded."""
    sampler = outputs.scores.get("sampler") or {}
    panels = {
        _draw_trace: sampler.get("energy_trace"),
        _draw_autocorrelation: sampler.get("autocorrelation"),
        _draw_beta: sampler.get("beta_eff"),
        _draw_log_z: sampler.get("log_z_forward") or sampler.get("log_z_reverse"),
    }
    present = [draw for draw, value in panels.items() if value is not None]
    if not present:
        raise NotDrawn("scores.json holds no sampler diagnostics")
    title = f"Sampler {sampler.get('name', '')}"
    widths = [1 if draw is _draw_beta else 2.2 for draw in present]
    figure = style.new_figure(outputs, title, 1.9 * sum(widths), 3.6)
    row = figure.subplots(
        1, len(present), squeeze=False, width_ratios=widths, gridspec_kw={"wspace": 0.1}
    )[0]
    for axes, draw in zip(row, present, strict=True):
        draw(axes, outputs.scores)
    return figure


def _draw_trace(axes: Axes, scores: dict) -> None:
    axes.plot(scores["sampler"]["energy_trace"], color=BLUE, lw=0.9)
    tidy(axes, "sampler step", "mean energy of the chains (kT)", "Energy trace")


def _draw_autocorrelation(axes: Axes, scores: dict) -> None:
    values = scores["sampler"]["autocorrelation"]
    axes.plot(values, color=BLUE, marker=".", ms=4, lw=1)
    axes.axhline(0, color=GREY, lw=0.8)
    time = scores["sampler"].get("autocorrelation_time")
    title = "Autocorrelation" + (f", time {time:.1f} steps" if time is not None else "")
    tidy(axes, "lag (sampler steps)", "autocorrelation of the energy", title)


def _draw_beta(axes: Axes, scores: dict) -> None:
    beta = scores["sampler"]["beta_eff"]
    axes.axhline(1, color=VERMILION, lw=1.5)
    error = scores["sampler"].get("beta_eff_standard_error")
    axes.errorbar([0], [beta], yerr=error, fmt="o", color=BLUE, capsize=4)
    spread = max(0.1, 1.4 * abs(beta - 1))
    axes.set_ylim(1 - spread, 1 + spread)
    axes.set_xticks([])
    tidy(axes, "line: target 1", "inverse temperature", f"beta_eff = {beta:.3f}")


def _draw_log_z(axes: Axes, scores: dict) -> None:
    sampler = scores["sampler"]
    estimates = {
        "forward": (sampler.get("log_z_forward"), sampler.get("log_z_forward_standard_error")),
        "value used": (sampler.get("log_z_value"), sampler.get("log_z_standard_error")),
        "reverse": (sampler.get("log_z_reverse"), sampler.get("log_z_reverse_standard_error")),
    }
    estimates = {name: pair for name, pair in estimates.items() if pair[0] is not None}
    colours = {"forward": BLUE, "value used": "k", "reverse": VERMILION}
    for row, (name, (value, error)) in enumerate(estimates.items()):
        axes.errorbar(value, row, xerr=error, fmt="o", color=colours[name], capsize=4)
    axes.set_yticks(range(len(estimates)), estimates)
    axes.set_ylim(-0.6, len(estimates) - 0.4)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.locator_params(axis="x", nbins=4)
    tidy(axes, "log Z (nats)", title="log Z bracket")
