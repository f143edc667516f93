"""Conditional sampling: the law of the free spins given the others, by enumeration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import chi_square, machine, probabilities
from marks import mostly_slow

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.machine.enumeration import enumerate_spins
from qbm_jax.samplers.wrappers.clamped import clamped

NUM_CHAINS = 20000
INDICES, FREE = [6, 1, 3], [0, 2, 4, 5, 7]
SAMPLERS = {
    "exact": {},
    "gibbs": {"num_steps": 30},
    "auxiliary_cim": {"num_steps": 60},
}


@functools.partial(jax.jit, static_argnums=(0, 3))
def _draw(sampler, key, params, num_chains):
    key_init, key_sample = jax.random.split(key)
    return sampler.sample(key_sample, params, sampler.init(key_init, params, num_chains))


def _conditional(params, values):
    """p(free spins | clamped) [2^5] from the table of the whole machine."""
    states = np.asarray(enumerate_spins(8))
    law = probabilities(params) * (states[:, INDICES] == np.asarray(values)).all(axis=1)
    free = (states[:, FREE] > 0) @ (1 << np.arange(5))
    table = np.bincount(free, weights=law, minlength=32)
    return table / table.sum()


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_free_spins_have_the_conditional_law_and_clamped_ones_stay(name):
    params = machine(3, 8)
    values = [1, -1, 1]
    sampler = clamped(samplers.build(name, **SAMPLERS[name]), INDICES, values)
    spins, _, info = _draw(sampler, jax.random.key(1), params, NUM_CHAINS)
    assert sampler.targets_boltzmann
    assert spins.shape == (NUM_CHAINS, 8) and spins.dtype == jnp.float32
    np.testing.assert_array_equal(spins[:, jnp.array(INDICES)], np.tile(values, (NUM_CHAINS, 1)))
    free = spins[:, jnp.array(FREE)]
    assert chi_square(_conditional(params, values), free) < 5
    assert chi_square(_conditional(params, [-1, 1, 1]), free) > 20  # the values matter
    expected = float(boltzmann.energy(params, spins).mean())
    assert float(info["energy"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", mostly_slow(["gibbs", "auxiliary_cim"], "gibbs"))
def test_every_chain_may_have_values_of_its_own(name):
    params = machine(3, 8)
    rows = ([1, -1, 1], [-1, 1, 1])
    values = np.repeat(np.array(rows), 4000, axis=0)
    sampler = clamped(samplers.build(name, **SAMPLERS[name]), INDICES, values)
    spins, state, info = _draw(sampler, jax.random.key(1), params, 8000)
    np.testing.assert_array_equal(spins[:, jnp.array(INDICES)], values)
    for i, row in enumerate(rows):
        free = spins[4000 * i : 4000 * (i + 1), jnp.array(FREE)]
        assert chi_square(_conditional(params, row), free) < 5
    assert all(jnp.ndim(value) == 0 for value in info.values())
    _, info = jax.jit(sampler.step)(jax.random.key(2), params, state)
    assert bool(info["is_finite"])


def test_a_sampler_that_adapts_is_clamped_too():
    params = machine(3, 8)
    walks = samplers.build("metropolis_cim", num_steps=60, burn_in=60)
    sampler = clamped(walks, INDICES, [1, -1, 1])
    spins, _, info = _draw(sampler, jax.random.key(1), params, NUM_CHAINS)
    assert chi_square(_conditional(params, [1, -1, 1]), spins[:, jnp.array(FREE)]) < 5
    assert 0.5 < float(info["acceptance"]) < 1


def test_conditioned_energy_differs_by_a_constant_of_the_clamped_spins_alone():
    params = machine(0, 8)
    states = enumerate_spins(8)
    values = jnp.array([1.0, -1.0, 1.0])
    agree = states[(states[:, jnp.array(INDICES)] == values[None, :]).all(axis=1)]
    free = boltzmann.condition(params, INDICES, values)
    difference = boltzmann.energy(params, agree) - boltzmann.energy(free, agree[:, jnp.array(FREE)])
    assert agree.shape == (32, 8)
    np.testing.assert_allclose(difference, difference[0], atol=1e-5)


@pytest.mark.parametrize(
    ("indices", "values", "message"),
    [
        ([0, 1], [1, 0], "-1 or"),
        ([0, 1], [1], "2 clamped spins"),
        ([0, 8], [1, 1], "0 to 7"),
        ([-1, 1], [1, 1], "0 to 7"),
        ([2, 2], [1, 1], "different"),
        (np.zeros(0, int), [], "at least one"),
        ([0.5, 1.5], [1, 1], "indices"),
        (list(range(7)), [1] * 7, "at least 2"),
        ([0, 1], ["up", "down"], "got <U4"),
    ],
)
def test_clamping_that_makes_no_sense_is_an_error(indices, values, message):
    with pytest.raises(InputError, match=message):
        sampler = clamped(samplers.build("gibbs"), indices, values)
        sampler.init(jax.random.key(0), machine(0, 8), 2)


def test_a_name_is_not_clamped():
    with pytest.raises(InputError, match=r"got 'gibbs'; take samplers.build"):
        clamped("gibbs", [0], [1])


def test_as_many_chains_as_rows_of_values_are_needed():
    sampler = clamped(samplers.build("gibbs"), [0], [[1], [-1]])
    with pytest.raises(InputError, match="2 chains"):
        sampler.init(jax.random.key(0), machine(0, 8), 3)
