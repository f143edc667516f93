"""How far sequences of bits are from the law of a machine of two spins, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.diffusion.spins import correlation_error, energy_variation
from qbm_jax.machine.boltzmann import Boltzmann

COUPLING = 0.7
MACHINE = Boltzmann(jnp.array([[0.0, COUPLING], [COUPLING, 0.0]]), jnp.zeros(2))
EQUAL = 1 / (1 + np.exp(-2 * COUPLING))  # the chance of two equal spins
BITS = np.array([[0, 0], [1, 1], [1, 1], [0, 1]])  # three of four rows are of equal spins


def test_the_variation_is_of_the_energies_and_not_of_the_states():
    assert energy_variation(MACHINE, BITS) == pytest.approx(abs(0.75 - EQUAL), abs=1e-6)
    assert energy_variation(MACHINE, BITS[:1]) == pytest.approx(1 - EQUAL, abs=1e-6)
    assert energy_variation(MACHINE, BITS[3:]) == pytest.approx(EQUAL, abs=1e-6)


def test_the_error_of_correlations_is_to_the_law_or_else_to_other_sequences():
    truth = 2 * EQUAL - 1
    assert truth == pytest.approx(np.tanh(COUPLING))
    found = correlation_error(BITS, BITS[:1], MACHINE)
    assert found == pytest.approx(abs(0.5 - truth), abs=1e-6)
    assert correlation_error(BITS, BITS[:1], None) == pytest.approx(1 - 0.5)
    three = np.array([[0, 0, 0]]), np.array([[0, 0, 1]])  # one pair agrees, two differ by 2
    assert correlation_error(*three, None) == pytest.approx(np.sqrt((0 + 4 + 4) / 3))
