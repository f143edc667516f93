"""Figures of the study: likelihoods against time, samples, filters, mixing."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from qbm_jax.study.escape import figure_text
from qbm_jax.study.figures import NotDrawn, colours_of, panels, shared_legend, tidy

Piece = dict[str, Any]
FAR = 4.0  # times the way from the best to the median: farther ones stand at the edge


def draw_curves(pieces: list[Piece]) -> Figure:
    """Test log-likelihood with its interval against wall time, a line a method.

    Those that are far below the others stand at the lower edge, with their value in the legend.
    """
    curves = [
        (piece["method"], np.array([p[1:] for p in piece["curve"] if p[2] is not None], float))
        for piece in pieces
    ]
    known = [(name, found) for name, found in curves if found.size]
    if not known:
        raise NotDrawn("no likelihood is known within the bracket asked for")
    figure, (axes,) = panels(1, 9.0, 5.0)
    colours = colours_of(piece["method"] for piece in pieces)
    ends = np.array([found[-1, 1] for _, found in known])
    floor = ends.max() - FAR * (ends.max() - np.median(ends)) - 1
    told: set[str] = set()
    for name, found in known:
        seconds, value, low, high = found.T
        is_far = value[-1] < floor
        text = figure_text(f"{name}: {value[-1]:.0f}" if is_far else name)
        label = None if name in told else text
        told.add(name)
        marker = "v" if is_far else "o"
        axes.plot(
            seconds, np.maximum(value, floor), color=colours[name], label=label, marker=marker, ms=4
        )
        axes.vlines(seconds, np.maximum(low, floor), np.maximum(high, floor), color=colours[name])
    axes.set_xscale("log")
    tidy(axes, "seconds of training", "test log-likelihood, nats an image")
    shared_legend(figure, [axes])
    return figure


def draw_images(pieces: list[Piece], side: int, part: str) -> Figure:
    """Rows of images of `side` pixels, `samples` or `filters`, a row a method of seed 0."""
    shown = [piece for piece in pieces if piece.get(part) and piece["seed"] == 0]
    if not shown:
        raise NotDrawn("no method has any")
    figure, axes = panels(len(shown), 12.0, 1.3, columns=1)
    for panel, piece in zip(axes, shown, strict=True):
        tiles = np.array(piece[part], float).reshape(-1, side, side)
        tiles = np.pad(tiles, ((0, 0), (1, 1), (1, 1)), constant_values=tiles.min())
        strip = np.concatenate(list(tiles), axis=1)
        panel.imshow(strip, cmap="gray_r" if part == "samples" else "RdBu_r", aspect="equal")
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_title(figure_text(piece["method"]), fontsize=8, loc="left")
    return figure


def draw_mixing(pieces: list[Piece]) -> Figure:
    """Free energy of draws minus that of images, against sweeps from independent units."""
    shown = [piece for piece in pieces if piece.get("mixing") and piece["seed"] == 0]
    if not shown:
        raise NotDrawn("no machine was trained")
    figure, (axes,) = panels(1, 9.0, 4.0)
    colours = colours_of(piece["method"] for piece in pieces)  # as in other figures
    for piece in shown:
        found, name = piece["mixing"], piece["method"]
        gap = np.array(found["draws"]) - found["images"]
        axes.plot(found["sweeps"], gap, color=colours[name], label=figure_text(name), marker=".")
    axes.axhline(0, color="k", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("symlog")
    tidy(axes, "Gibbs sweeps from independent units", "free energy over that of images, nats")
    shared_legend(figure, [axes])
    return figure
