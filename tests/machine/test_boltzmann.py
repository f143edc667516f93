"""The one energy, its fields and its conversions, on every state of small machines."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann, energy, local_field

NUM_SPINS = 6
STATES = np.array(list(itertools.product([-1.0, 1.0], repeat=NUM_SPINS)))

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def params():
    draw = np.random.default_rng(0)
    upper = np.triu(draw.normal(size=(NUM_SPINS, NUM_SPINS)), 1)
    return Boltzmann(J=jnp.asarray(upper + upper.T), h=jnp.asarray(draw.normal(size=NUM_SPINS)))


def law(params, states):
    weights = np.exp(-np.asarray(energy(params, jnp.asarray(states))))
    return weights / weights.sum()


def test_energy_is_the_sum_over_pairs_and_fields(params):
    for state in STATES:
        expected = 0.0
        for i in range(NUM_SPINS):
            expected -= params.h[i] * state[i]
            for j in range(i):
                expected -= params.J[i, j] * state[i] * state[j]
        assert energy(params, jnp.asarray(state)) == pytest.approx(float(expected), abs=1e-12)


def test_gibbs_conditional_equals_energy_difference(params):
    fields = np.asarray(local_field(params, jnp.asarray(STATES)))
    for i in range(NUM_SPINS):
        up, down = STATES.copy(), STATES.copy()
        up[:, i], down[:, i] = 1, -1
        gap = energy(params, jnp.asarray(down)) - energy(params, jnp.asarray(up))
        np.testing.assert_allclose(2 * fields[:, i], gap, atol=1e-12)


def test_energy_and_field_accept_any_leading_axes(params):
    states = jnp.asarray(STATES).reshape(4, 16, NUM_SPINS)
    np.testing.assert_allclose(energy(params, states).ravel(), energy(params, jnp.asarray(STATES)))
    assert local_field(params, states).shape == states.shape


def test_expected_energy_of_a_factorial_law_is_the_energy_of_its_mean_spins(params):
    mean_spins = np.random.default_rng(1).uniform(-1, 1, NUM_SPINS)
    probabilities = np.prod((1 + STATES * mean_spins) / 2, axis=1)
    expected = probabilities @ np.asarray(energy(params, jnp.asarray(STATES)))
    assert energy(params, jnp.asarray(mean_spins)) == pytest.approx(expected, abs=1e-12)


def test_gradient_of_the_energy_is_minus_the_statistics(params):
    state = jnp.asarray(STATES[13])
    gradient = jax.grad(lambda p: energy(p, state))(params)
    np.testing.assert_allclose(gradient.J, -0.5 * np.outer(state, state), atol=1e-12)
    np.testing.assert_allclose(gradient.h, -state, atol=1e-12)


def test_bit_form_has_the_same_energies_up_to_its_constant_on_all_states(params):
    linear, quadratic = 1.5 * params.h, 2.5 * params.J
    spin_form, constant = boltzmann.from_bit_form(linear, quadratic)
    for bits in (STATES + 1) / 2:
        bit_energy = -linear @ bits - 0.5 * bits @ quadratic @ bits
        spins = boltzmann.bits_to_spins(jnp.asarray(bits))
        assert energy(spin_form, spins) + constant == pytest.approx(float(bit_energy), abs=1e-12)
    boltzmann.check(spin_form)


def test_bit_form_round_trip_is_the_identity(params):
    linear, quadratic, constant = boltzmann.to_bit_form(params)
    back, constant_back = boltzmann.from_bit_form(linear, quadratic)
    np.testing.assert_allclose(back.J, params.J, atol=1e-12)
    np.testing.assert_allclose(back.h, params.h, atol=1e-12)
    assert constant == pytest.approx(float(constant_back), abs=1e-12)


def test_bits_and_spins_are_inverse():
    states = jnp.asarray(STATES)
    bits = boltzmann.spins_to_bits(states)
    assert set(np.unique(bits)) == {0.0, 1.0}
    np.testing.assert_array_equal(boltzmann.bits_to_spins(bits), states)


def test_gauge_spin_carries_the_fields_and_leaves_the_law(params):
    gauged = boltzmann.check(boltzmann.with_gauge_spin(params))
    assert not np.any(gauged.h)
    states = np.array(list(itertools.product([-1.0, 1.0], repeat=NUM_SPINS + 1)))
    undone = np.asarray(boltzmann.remove_gauge_spin(jnp.asarray(states)))
    index = ((undone > 0) @ (1 << np.arange(NUM_SPINS)[::-1])).astype(int)  # order of STATES
    folded = np.bincount(index, weights=law(gauged, states))
    np.testing.assert_allclose(folded, law(params, STATES), atol=1e-12)


def test_scale_is_an_inverse_temperature(params):
    expected = law(params, STATES) ** 0.7
    scaled = law(boltzmann.scale(params, 0.7), STATES)
    np.testing.assert_allclose(scaled, expected / expected.sum(), atol=1e-12)


def test_symmetrise_projects_onto_couplings():
    matrix = jnp.asarray(np.random.default_rng(2).normal(size=(4, 4)))
    J = boltzmann.symmetrise(matrix)
    boltzmann.check(Boltzmann(J=J, h=jnp.zeros(4)))
    np.testing.assert_allclose(boltzmann.symmetrise(J), J)
    assert J[0, 1] == pytest.approx(float(matrix[0, 1] + matrix[1, 0]) / 2)


@pytest.mark.parametrize(
    ("J", "h", "message"),
    [
        (np.zeros((2, 3)), np.zeros(2), "N, N"),
        (np.zeros((3, 3)), np.zeros(2), "N, N"),
        (np.zeros((1, 1)), np.zeros(1), "at least 2"),
        (np.full((2, 2), np.nan), np.zeros(2), "finite"),
        (np.zeros((2, 2)), np.array([0, np.inf]), "finite"),
        (np.array([[0, 1.0], [0, 0]]), np.zeros(2), "symmetric"),
        (np.eye(2), np.zeros(2), "diagonal"),
    ],
)
def test_check_names_what_is_wrong(J, h, message):
    with pytest.raises(InputError, match=message) as error:
        boltzmann.check(Boltzmann(J=J, h=h))
    assert "\n" not in str(error.value)
