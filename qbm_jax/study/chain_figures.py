"""Figures of chains, made of arrays: energies, autocorrelation, and draws against the law."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from qbm_jax.errors import InputError
from qbm_jax.machine import instances, mixing
from qbm_jax.machine.boltzmann import Boltzmann, as_spins, check
from qbm_jax.machine.distance import count_states, normalise, total_variation
from qbm_jax.study.figures import BLUE, GREY, panels, tidy

_SHOWN_CHAINS = 12  # more are a block of colour


def plot_energies(energies: ArrayLike) -> Figure:
    """Energies of chains by draw, and how often each energy came.

    Args:
      energies: [chains, draws], such as `SamplerRun.energies`, in units of kT.

    Raises:
      InputError: another number of axes.
    """
    values = _chains(energies)
    figure, (trace, histogram) = panels(2, 4.5, 3.2, "Energies of chains", columns=2, sharey=True)
    for chain in values[:_SHOWN_CHAINS]:
        trace.plot(chain, lw=0.7)
    histogram.hist(values.ravel(), bins=40, orientation="horizontal", color=BLUE)
    shown = min(len(values), _SHOWN_CHAINS)
    tidy(trace, "draw", "energy, kT", title=f"{shown} of {len(values)} chains")
    tidy(histogram, "draws", title="all chains")
    return figure


def plot_autocorrelation(energies: ArrayLike) -> Figure:
    """Autocorrelation of energies by lag, with the time that follows from it.

    Args:
      energies: [chains, draws], at least four draws.

    Raises:
      InputError: another number of axes, or too few draws.
    """
    values = _chains(energies)
    correlation = mixing.autocorrelation(values)
    time = mixing.integrated_autocorrelation_time(values)
    figure, (axes,) = panels(1, 4.5, 3.2, "Autocorrelation of the energy")
    shown = len(correlation) if not time > 0 else max(10, min(len(correlation), int(10 * time)))
    axes.plot(correlation[:shown], lw=1.2)
    axes.axhline(0, color=GREY, lw=0.6)
    tidy(axes, "lag, draws", "autocorrelation", title=f"time {time:.3g} draws")
    return figure


def plot_law(spins: ArrayLike, params: Boltzmann) -> Figure:
    """How often each state came against its probability, of an enumerable machine.

    Args:
      spins: [..., spins], such as `SamplerRun.draws`, all draws together.
      params: the machine, of at most 24 spins.

    Raises:
      InputError: no such machine, or spins of another one.
    """
    params = check(params)
    drawn = np.asarray(as_spins(params, spins)).reshape(-1, params.num_spins)
    log_p = normalise(-instances.energies(params))
    found = total_variation(drawn, log_p)
    counts = count_states(drawn)
    seen = counts > 0
    figure, (axes,) = panels(1, 4.5, 4.0, "Draws against the law")
    probability = np.exp(log_p[seen])
    axes.loglog(probability, counts[seen] / len(drawn), ".", ms=3)
    ends = [probability.min(), probability.max()]
    axes.plot(ends, ends, color=GREY, lw=0.8)
    title = f"total variation {found.value:.3g}, of exact draws {found.floor:.3g}"
    tidy(axes, "probability of the state", "share of the draws", title=title)
    return figure


def _chains(energies: ArrayLike) -> np.ndarray:
    values = np.asarray(energies, np.float64)
    if values.ndim != 2 or not values.size:
        raise InputError(f"expected energies [chains, draws], got shape {values.shape}")
    return values
