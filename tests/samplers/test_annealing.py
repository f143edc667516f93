"""Simulated annealing: its rules, its schedules, its law when slow and its ground states."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import first_draw

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy, scale
from qbm_jax.machine.distance import total_variation
from qbm_jax.machine.enumeration import enumerate_spins, log_weights
from qbm_jax.samplers.annealing import (
    OPTIMISING,
    AnnealingOptions,
    _temperature_of,
    temperature,
)
from qbm_jax.samplers.gibbs import GibbsState

NUM_CHAINS = 10000

build = functools.cache(functools.partial(samplers.build, "annealing"))


def machine(seed, num_spins, strength=1.0, field=0.3):
    random = np.random.default_rng(seed)  # numpy: nothing to compile
    upper = np.triu(random.normal(size=(num_spins, num_spins)), 1) * strength / num_spins**0.5
    h = field * random.normal(size=num_spins)
    return Boltzmann(J=jnp.float32(upper + upper.T), h=jnp.float32(h))


def distance(**options):
    params = machine(0, 8, strength=1.5)
    spins = first_draw(build(**options), jax.random.key(1), params, NUM_CHAINS)[0]
    return total_variation(spins, log_weights(params))


@pytest.mark.parametrize("rule", ["heat_bath", "metropolis"])
def test_a_slow_anneal_to_temperature_one_reaches_the_law(rule):
    measured = distance(rule=rule, num_steps=800)
    assert measured.value < 1.3 * measured.floor


@pytest.mark.parametrize("rule", ["heat_bath", "metropolis"])
def test_a_quench_does_not_reach_the_law(rule):
    measured = distance(rule=rule, num_steps=2)
    assert measured.value > 2 * measured.floor


@pytest.mark.parametrize("rule", ["heat_bath", "metropolis"])
def test_each_rule_leaves_the_law_at_its_temperature_invariant(rule):
    params = machine(1, 6)
    temperature_end = 2.0
    sampler = build(
        rule=rule, num_steps=1, temperature_start=temperature_end, temperature_end=temperature_end
    )
    weights = log_weights(scale(params, 1 / temperature_end))
    states = jax.random.categorical(jax.random.key(0), weights, shape=(NUM_CHAINS,))
    state = sampler.init(jax.random.key(0), params, NUM_CHAINS)
    state = state.replace(spins=enumerate_spins(6)[states].T)
    stepped, _ = jax.jit(sampler.step)(jax.random.key(1), params, state)
    assert bool(jnp.any(stepped.spins != state.spins))
    measured = total_variation(stepped.spins.T, weights)
    assert measured.value < 1.3 * measured.floor


def test_at_temperature_one_throughout_the_heat_bath_is_gibbs():
    params = machine(0, 12)
    sampler = build(num_steps=1, temperature_start=1.0, temperature_end=1.0, block_size=5)
    state = sampler.init(jax.random.key(0), params, 4)
    one_sweep = samplers.build("gibbs", num_steps=1)
    expected, _ = one_sweep.step(jax.random.key(1), params, GibbsState(state.spins))
    stepped, _ = sampler.step(jax.random.key(1), params, state)
    np.testing.assert_array_equal(stepped.spins, expected.spins)


@pytest.mark.parametrize("rule", ["heat_bath", "metropolis"])
def test_near_temperature_zero_ground_states_are_found_at_any_scale(rule):
    sampler = build(**(OPTIMISING | {"rule": rule, "num_steps": 200}))
    for seed, strength in enumerate((0.01, 1.0, 100.0)):
        params = machine(seed, 14, strength, field=0.3 * strength)
        spins = first_draw(sampler, jax.random.key(2), params, 32)[0]
        ground = -np.asarray(log_weights(params)).max()
        assert energy(params, spins).min() == pytest.approx(ground, rel=1e-5)


def test_draws_run_to_temperature_near_zero_are_few_states_however_many_there_are():
    params = machine(0, 8)
    options = {"temperature_start": 1000.0, "temperature_end": 0.001}
    sampler = build(num_steps=200, num_temperatures=20, **options)
    spins = first_draw(sampler, jax.random.key(1), params, NUM_CHAINS)[0]
    measured = total_variation(spins, log_weights(params))
    assert measured.value > 0.5
    assert len(np.unique(spins, axis=0)) <= 6  # local minima


def test_each_draw_starts_anew():
    params = machine(0, 8)
    sampler = build(num_steps=3)
    states = [sampler.init(jax.random.key(seed), params, 5) for seed in (0, 1)]
    draws = [jax.jit(sampler.sample)(jax.random.key(2), params, state)[0] for state in states]
    np.testing.assert_array_equal(*draws)


def test_schedules_go_from_the_first_temperature_to_the_last():
    options = {"num_temperatures": 20, "start": 1000.0, "end": 0.001}
    for schedule in ("geometric", "linear"):
        values = temperature(np.arange(20), schedule=schedule, **options)
        np.testing.assert_allclose(values[jnp.array([0, 19])], [1000.0, 0.001], rtol=1e-4)
    ratios = temperature(np.arange(20), schedule="geometric", **options)
    np.testing.assert_allclose(ratios[1:] / ratios[:-1], 1e-6 ** (1 / 19), rtol=1e-4)
    steps = np.diff(1 / temperature(np.arange(20), schedule="linear", **options))
    np.testing.assert_allclose(steps, (1000 - 0.001) / 19, rtol=1e-4)
    assert temperature(0, 1, 5.0, 2.0, "geometric") == pytest.approx(2)


@pytest.mark.parametrize("held", [None, 3, 99_999])
def test_temperatures_fall_over_more_sweeps_than_the_root_of_an_int32(held):
    options = AnnealingOptions(num_steps=100_000, num_temperatures=held)
    steps = np.array([0, 1, 33_333, 33_334, 66_667, 70_000, 99_999])
    share = steps * (held or 100_000) // 100_000 / ((held or 100_000) - 1)
    found = jax.jit(jax.vmap(lambda step: _temperature_of(step, options)))(steps)
    np.testing.assert_allclose(found, 10.0 ** (1 - share), rtol=1e-5)


def test_every_temperature_is_held_for_its_share_of_the_sweeps():
    """Sweeps at infinite temperature forget: at T = 0 after them only the last ones count."""
    params = Boltzmann(J=jnp.zeros((2, 2)), h=jnp.ones(2))
    sampler = build(
        num_steps=6, num_temperatures=3, temperature_start=1e6, temperature_end=1e-6
    )  # 1e6, 1, 1e-6: free, in between, frozen along h; two sweeps each
    aligned = []
    state = sampler.init(jax.random.key(0), params, NUM_CHAINS)
    step = jax.jit(sampler.step)
    for k in range(6):
        state, _ = step(jax.random.key(k), params, state)
        aligned.append(float((state.spins > 0).mean()))
    middle = 1 / (1 + np.exp(-2))
    # 20000 coins: 0.018 are 5 standard errors, false alarm below 1e-5.
    np.testing.assert_allclose(aligned, [0.5, 0.5, middle, middle, 1, 1], atol=0.018)


def test_reduced_couplings_of_one_magnitude_draw_what_float32_draws():
    params = machine(0, 20, field=0.0)
    params = params.replace(J=jnp.sign(params.J))
    draws = [
        first_draw(build(num_steps=20, couplings_dtype=t), jax.random.key(0), params, 8)[0]
        for t in ("float32", "int8")
    ]
    np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "glauber"}, "rule"),
        ({"schedule": "cosine"}, "schedule"),
        ({"num_steps": 0}, "num_steps"),
        ({"num_steps": 5, "num_temperatures": 6}, "num_temperatures"),
        ({"num_temperatures": 0}, "num_temperatures"),
        ({"temperature_start": 0.0}, "temperature_start"),
        ({"temperature_end": -1.0}, "temperature_end"),
        ({"block_size": 0}, "block_size"),
        ({"couplings_dtype": "int4"}, "couplings_dtype"),
    ],
)
def test_options_out_of_range_are_errors_that_name_them(options, message):
    with pytest.raises(InputError, match=message):
        samplers.build("annealing", **options)
