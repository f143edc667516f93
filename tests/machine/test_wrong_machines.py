"""Machines of other scales and types are what they say; what makes none is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from refusals import refusal

from qbm_jax.machine import boltzmann, distance, instances, mixing, planted
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import log_weights

TRIANGLE = np.triu(np.ones((3, 3)), 1)


@pytest.mark.parametrize("convert", [np.asarray, lambda J: BCOO.fromdense(jnp.asarray(J))])
def test_a_triangle_of_small_couplings_is_refused_and_their_rounding_is_not(convert):
    h = np.zeros(3)
    assert "symmetric" in refusal(boltzmann.check, Boltzmann(convert(1e-7 * TRIANGLE), h))
    rounded = TRIANGLE + (1 + 2e-7) * TRIANGLE.T
    for scale in (1e-7, 1.0):
        boltzmann.check(Boltzmann(convert(scale * rounded), h))


def test_couplings_in_parts_are_symmetric_in_any_order_and_their_sums_must_be():
    places = jnp.array([[0, 1], [0, 1], [1, 0], [1, 0]])

    def machine(*parts):
        return Boltzmann(BCOO((jnp.array(parts), places), shape=(2, 2)), np.zeros(2))

    boltzmann.check(machine(1.0, 2.0, 2.0, 1.0))
    assert "symmetric" in refusal(boltzmann.check, machine(1.0, 2.0, 2.0, 2.0))


@pytest.mark.parametrize("beta", [np.array([1.0, 2.0, 3.0]), jnp.ones((1, 3))])
def test_a_machine_is_scaled_by_one_number(beta):
    machine = Boltzmann(TRIANGLE + TRIANGLE.T, np.zeros(3))
    assert "one number beta" in refusal(boltzmann.scale, machine, beta)


def test_couplings_in_halves_have_energies_in_single_precision():
    machine = instances.dense(0, 6)
    halves = Boltzmann(np.asarray(machine.J, np.float16), np.asarray(machine.h, np.float16))
    same = Boltzmann(halves.J.astype(np.float32), halves.h.astype(np.float32))
    np.testing.assert_allclose(log_weights(halves), log_weights(same), rtol=1e-6)


@pytest.mark.parametrize("given", [(3.5, 1.0), (3.0, 1.0), ("3", 1.0), (3, "1"), (3, -1.0)])
def test_a_lattice_has_a_side_and_a_temperature(given):
    assert "a lattice of side 3 or 4" in refusal(instances.lattice, *given)


def test_moments_are_of_spins_and_pairs():
    assert "[N, N]" in refusal(instances.fit_moments, [0.1, 0.2], [0.1, 0.2])
    found = instances.fit_moments([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]])
    assert float(found.J[0, 1]) == pytest.approx(np.arctanh(0.5), abs=1e-3)


def test_planted_couplings_have_a_list_of_strengths_and_a_seed():
    assert "strengths d [K]" in refusal(planted.random_planted, 0, 5, 0.5, 0.1)
    assert "a seed" in refusal(planted.random_planted, -1, 5, (0.5,), 0.1)


def test_no_draws_and_no_law_have_no_distance():
    law = log_weights(instances.dense(0, 2))
    assert "[draws, N]" in refusal(distance.total_variation, np.zeros((0, 2)), law)
    assert "NaN" in refusal(distance.total_variation, np.ones((4, 2)), law * np.nan)


def test_tenths_of_a_few_records_are_refused():
    assert "40 records" in refusal(mixing.compare_tenths, np.arange(30.0))
