"""Figures of spins: the network of their couplings, and which cell types have them on."""

import numpy as np
from matplotlib.figure import Figure

from qbm_jax.report import style
from qbm_jax.report.run_outputs import RunOutputs
from qbm_jax.study import spin_figures
from qbm_jax.study.figures import NotDrawn, tidy


def draw_network(outputs: RunOutputs) -> Figure:
    """The strongest couplings between spins on a circle."""
    J = outputs.couplings
    if J is None:
        raise NotDrawn("the prior has no couplings (J is absent or zero)")
    figure = style.new_figure(outputs, "The strongest couplings", 6.4, 6.6)
    spin_figures.draw_network(figure.subplots(), J)
    return figure


def draw_mean_spins(outputs: RunOutputs) -> Figure:
    """Mean spins of each cell type; those that differ most between types come first."""
    means = mean_spins(outputs)
    figure = style.new_figure(
        outputs, "Mean spins by cell type", *spin_figures.heat_map_size(*means[1].shape)
    )
    axes = figure.subplots()
    spin_figures.draw_mean_spins(axes, means[1], means[0])
    figure.colorbar(axes.images[0], ax=axes, label="mean spin", shrink=0.9)
    tidy(axes, f"spin (column of X_{outputs.main})")
    return figure


def mean_spins(outputs: RunOutputs) -> tuple[list[str], np.ndarray]:
    """Names of the types, and the mean spins of their cells [types, spins].

    Raises:
      NotDrawn: there are no types, or latents that are no spins.
    """
    spins, labels = outputs.spins, outputs.labels
    if spins is None:
        raise NotDrawn("the run's embedding file has no mean spins")
    if labels is None:
        raise NotDrawn("there are no cell types to average over")
    names = sorted(set(labels))
    return names, np.stack([spins[labels == name].mean(axis=0) for name in names])
