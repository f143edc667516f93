"""Figures of chains say what their arrays hold."""

import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.machine import instances
from qbm_jax.study.chain_figures import plot_autocorrelation, plot_energies, plot_law


def test_figures_of_chains_show_their_arrays():
    rng = np.random.default_rng(0)
    energies = rng.normal(size=(3, 50))
    trace, histogram = plot_energies(energies).axes
    np.testing.assert_array_equal(trace.lines[1].get_ydata(), energies[1])
    assert sum(bar.get_width() for bar in histogram.patches) == 150
    line = plot_autocorrelation(energies).axes[0].lines[0]
    assert line.get_ydata()[0] == pytest.approx(1)
    params = instances.dense(0, 4)
    axes = plot_law(rng.choice([-1, 1], (5, 20, 4)), params).axes[0]
    assert axes.lines[0].get_ydata().sum() == pytest.approx(1)
    assert "total variation" in axes.get_title()


def test_other_arrays_are_one_line():
    for call in (plot_energies, plot_autocorrelation):
        with pytest.raises(InputError, match=r"energies \[chains, draws\]"):
            call([1.0, 2.0])
    with pytest.raises(InputError, match="expected spins"):
        plot_law(np.ones((2, 3)), instances.dense(0, 4))
