"""Parallel tempering: its law, its swaps, its ladder and what it logs.

Guards qbm_jax.samplers.tempering.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import mostly_slow

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy, symmetrise
from qbm_jax.machine.enumeration import enumerate_spins, log_weights
from qbm_jax.samplers.replicas import (
    DEFAULT_NUM_TEMPERATURES,
    KERNELS,
    LadderOptions,
    advance_replicas,
    start_replicas,
    swap_probability,
)

NUM_SPINS, NUM_CHAINS = 8, 10_000
# The same function objects: draws compile once a shape.
build = functools.cache(functools.partial(samplers.build, "tempering"))


def machine(seed, num_spins, strength, field=0.3):
    """Couplings of s.d. strength / sqrt(N)."""
    key_J, key_h = jax.random.split(jax.random.key(seed))
    upper = jnp.triu(jax.random.normal(key_J, (num_spins, num_spins)), 1)
    J = symmetrise(2 * upper) * strength / num_spins**0.5
    return Boltzmann(J=J, h=field * jax.random.normal(key_h, (num_spins,)))


def two_wells():
    """All spins up or all down, 0.69 to 0.31, with 25 kT between them."""
    J = 0.8 * (1 - jnp.eye(NUM_SPINS))
    return Boltzmann(J=J, h=jnp.full(NUM_SPINS, 0.05))


@functools.partial(jax.jit, static_argnums=0)
def first_draw(sampler, key, params):
    """(spins, info) of one draw of each of many fresh chains."""
    key_init, key_sample = jax.random.split(key)
    state = sampler.init(key_init, params, NUM_CHAINS)
    spins, _, info = sampler.sample(key_sample, params, state)
    return spins, info


def chi_square(params, spins):
    """Standardised chi-square of draws against enumeration; states expected below 5 are pooled.

    About standard normal under the law, with a heavier right tail: above 5 in under 1e-4.
    """
    expected = np.asarray(jax.nn.softmax(log_weights(params)), np.float64) * len(spins)
    states = (np.asarray(spins) > 0) @ (1 << np.arange(params.num_spins))
    counts = np.bincount(states, minlength=expected.size)
    common = expected >= 5
    counts = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    degrees = len(expected) - 1
    return (np.sum((counts - expected) ** 2 / expected) - degrees) / np.sqrt(2 * degrees)


# ---- law


@pytest.mark.slow
@pytest.mark.parametrize("kernel", mostly_slow(sorted(KERNELS), "gibbs"))
@pytest.mark.parametrize(
    "params", [machine(3, NUM_SPINS, 2.0), two_wells()], ids=["b = 2", "wells"]
)
def test_draws_have_the_boltzmann_law_even_with_separate_wells(kernel, params):
    sampler = build(kernel=kernel, num_steps=120, num_temperatures=4, burn_in=60)
    spins, info = first_draw(sampler, jax.random.key(5), params)
    assert chi_square(params, spins) < 5
    assert info["energy"] == pytest.approx(float(energy(params, spins).mean()), rel=1e-4)


@pytest.mark.slow
def test_plain_gibbs_does_not_have_the_law_of_separate_wells():
    """So the test above is about swaps."""
    params, gibbs = two_wells(), samplers.build("gibbs", num_steps=100)
    state = gibbs.init(jax.random.key(5), params, NUM_CHAINS)
    spins, _, _ = gibbs.sample(jax.random.key(6), params, state)
    assert chi_square(params, spins) > 20


# ---- swaps


@pytest.mark.slow
def test_swaps_are_in_detailed_balance_for_every_pair_of_states():
    """p_0(s) p_1(t) P(swap | s, t) = p_0(t) p_1(s) P(swap | t, s), enumerated at N = 3."""
    energies = energy(machine(0, 3, 1.5), enumerate_spins(3))
    s, t = (grid.ravel() for grid in jnp.meshgrid(energies, energies))
    betas = jnp.array([0.3, 0.8])
    there = swap_probability(betas, jnp.stack([s, t]))[0]
    back = swap_probability(betas, jnp.stack([t, s]))[0]
    flow = jnp.exp(-betas[0] * s - betas[1] * t) * there
    np.testing.assert_allclose(flow, jnp.exp(-betas[0] * t - betas[1] * s) * back, rtol=1e-5)
    np.testing.assert_allclose(jnp.maximum(there, back), 1)  # no smaller than they can be


def test_replicas_that_always_swap_go_round_and_their_trips_are_counted():
    """Even and odd pairs in turn: up two rungs, a step at rest, down again; 6 steps for 3 rungs."""
    params = Boltzmann(J=jnp.zeros((2, 2)), h=jnp.zeros(2))
    moves = KERNELS["gibbs"]()
    ladder = LadderOptions(num_temperatures=3, burn_in=1)
    state = start_replicas(jax.random.key(0), params, moves, 2, ladder)
    advance = jax.jit(lambda key, state: advance_replicas(key, moves, params, params, state)[0])
    rungs, trips = [], []
    for step in range(17):
        state = advance(jax.random.key(step), state)
        rungs.append(np.asarray(state.rung[0, 0]))
        trips.append(int(state.round_trips))
    assert rungs[:7] == [1, 2, 2, 1, 0, 0, 1]
    # From the lowest rung: the first replica is back after 5 steps, the others after 7 and 9.
    home = np.array([5, 11, 17, 7, 13, 9, 15])
    assert trips == [2 * int((home <= step).sum()) for step in range(1, 18)]
    assert np.all(np.sort(state.rung, axis=0) == np.arange(3)[:, None])


# ---- the ladder


def check_ladder(num_spins, strength, num_temperatures=None):
    params = machine(1, num_spins, strength)
    sampler = build(num_steps=400, num_temperatures=num_temperatures)
    state = sampler.init(jax.random.key(0), params, 16)
    np.testing.assert_array_equal(state.betas[jnp.array([0, -1])], [0, 1])
    assert np.all(np.diff(state.betas) > 0)
    _, after, info = sampler.sample(jax.random.key(1), params, state)
    assert 0.2 <= info["swap_rate_min"] <= info["swap_rate"] <= info["swap_rate_max"] <= 0.4
    assert info["round_trips"] > 0
    np.testing.assert_array_equal(after.betas, state.betas)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strength", "num_temperatures"), mostly_slow([(0.8, None), (2.0, None), (2.0, 7)], (2.0, 7))
)
def test_swap_rates_are_even_and_replicas_make_round_trips(strength, num_temperatures):
    check_ladder(64, strength, num_temperatures)


@pytest.mark.slow
@pytest.mark.parametrize("strength", [0.8, 1.2, 2.0])
def test_swap_rates_are_even_and_replicas_make_round_trips_at_256_spins(strength):
    check_ladder(256, strength)


def test_at_a_strength_a_weak_machine_is_in_its_ground_state_and_no_sampler():
    """Two spins of which a coupling of 0.001 kT tells nothing: half of all draws would be alike."""
    params = Boltzmann(J=jnp.array([[0, 1e-3], [1e-3, 0]]), h=jnp.zeros(2))
    options = {"num_steps": 10, "num_temperatures": 2, "beta_min": 0.1, "burn_in": 2}
    sampler = build(strength=10.0, **options)
    assert not sampler.targets_boltzmann and build(**options).targets_boltzmann

    @jax.jit
    def draw(key, params):
        spins, _, info = sampler.sample(key, params, sampler.init(key, params, 100))
        return spins, info["energy"]

    spins, energy_ = draw(jax.random.key(0), params)
    np.testing.assert_array_equal(spins[:, 0], spins[:, 1])
    assert energy_ == pytest.approx(-1e-3)  # of the machine as it was given


@pytest.mark.slow
def test_a_ladder_is_chosen_only_for_couplings_that_are_known():
    params, sampler = machine(1, 6, 1.0), build(burn_in=20)
    traced = jax.eval_shape(lambda key: sampler.init(key, params, 3), jax.random.key(0))
    assert traced.spins.shape == (DEFAULT_NUM_TEMPERATURES, 3, 6)
    without = sampler.init(jax.random.key(0), params.replace(J=jnp.zeros((6, 6))), 3)
    assert without.betas.size == DEFAULT_NUM_TEMPERATURES
    assert 2 <= sampler.init(jax.random.key(0), params, 3).betas.size <= 3


def test_ladder_starts_at_the_lowest_beta_asked_for():
    sampler = build(num_temperatures=3, beta_min=0.25, burn_in=20)
    betas = sampler.init(jax.random.key(0), machine(1, 6, 1.0), 3).betas
    assert betas[0] == 0.25 and betas[-1] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"kernel": "cim"},
            "unknown kernel 'cim'; choose from gibbs, auxiliary_cim, metropolis_cim",
        ),
        ({"num_temperatures": 1}, "num_temperatures must be"),
        ({"num_temperatures": 2.0}, "num_temperatures"),
        ({"beta_min": 1.0}, "beta_min"),
        ({"target_swap_rate": 0.0}, "target_swap_rate"),
        ({"burn_in": 0}, "burn_in"),
        ({"num_steps": 0}, "num_steps"),
    ],
)
def test_bad_options_are_one_line_errors(options, message):
    with pytest.raises(InputError, match=message) as error:
        build(**options)
    assert "\n" not in str(error.value)
