"""The Metropolis machine: detailed balance by enumeration, laws, step size; kernels at any beta."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import chi_square, exact_draws, first_draw, machine, probabilities
from marks import mostly_slow

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, local_field
from qbm_jax.machine.enumeration import enumerate_spins
from qbm_jax.samplers.auxiliary_cim import auxiliary_cim_kernel
from qbm_jax.samplers.gibbs import gibbs_kernel
from qbm_jax.samplers.metropolis_cim import MetropolisState, metropolis_cim_kernel
from qbm_jax.samplers.metropolis_moves import flip_probabilities, log_acceptance

NUM_CHAINS = 20000
build = functools.cache(functools.partial(samplers.build, "metropolis_cim"))
KERNELS = {
    "gibbs": gibbs_kernel,
    "auxiliary_cim": auxiliary_cim_kernel,
    "metropolis_cim": metropolis_cim_kernel,
}


@pytest.mark.parametrize("cost", [0.0, 0.7, 3.0])
def test_transition_matrix_is_in_detailed_balance_with_the_boltzmann_law(cost, float64):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), machine(1, 4, strength=1.5))
    spins = enumerate_spins(4).astype(jnp.float64)
    fields = local_field(params, spins)
    flip = np.asarray(flip_probabilities(spins, fields, jnp.float64(cost)))
    transitions = np.zeros((16, 16))
    for a, b in itertools.permutations(range(16), 2):
        changed = np.asarray(spins[a] != spins[b])
        proposal = np.prod(np.where(changed, flip[a], 1 - flip[a]))
        pair = (x[None] for x in (spins[a], fields[a], spins[b], fields[b]))
        transitions[a, b] = proposal * min(1, np.exp(float(log_acceptance(*pair, cost)[0])))
    np.fill_diagonal(transitions, 1 - transitions.sum(axis=1))
    law = probabilities(params)
    flow = law[:, None] * transitions
    np.testing.assert_allclose(flow, flow.T, atol=1e-6)
    np.testing.assert_allclose(law @ transitions, law, atol=1e-5)
    assert transitions.min() >= 0 and np.diagonal(transitions).max() < 0.999


@pytest.mark.slow
@pytest.mark.parametrize("couplings_dtype", ["float32", "int8"])
def test_first_draw_of_fresh_chains_has_the_boltzmann_law(couplings_dtype):
    params = machine(3, 8)
    sampler = build(couplings_dtype=couplings_dtype)
    spins, _, info = first_draw(sampler, jax.random.key(5), params, NUM_CHAINS)
    assert chi_square(probabilities(params), spins) < 5
    assert abs(float(info["acceptance"]) - 0.7) < 0.05


def _one_draw(params, num_chains=NUM_CHAINS, **options):
    """(start, end, info) of one draw that starts at the law."""
    sampler = build(**options)
    start = exact_draws(jax.random.key(8), params, num_chains)
    state = MetropolisState(start, jnp.float32(0.5))
    spins, _, info = jax.jit(sampler.sample)(jax.random.key(9), params, state)
    return start, spins, info


def test_one_step_from_the_law_keeps_it():
    params = machine(3, 8, strength=1.5)
    start, spins, info = _one_draw(params, num_steps=1)
    assert chi_square(probabilities(params), spins) < 5
    assert 0.02 < float((start != spins).mean()) < 0.5
    assert 0.3 < float(info["acceptance"]) < 0.95


@pytest.mark.slow
def test_law_is_that_of_the_machine_itself_where_reduced_couplings_round_strongly():
    """A large coupling makes int8 steps of 0.024, so that the rounded machine's law is far off."""
    params = machine(3, 8, strength=0.5)
    small = jnp.full((8, 8), 0.011) * (1 - jnp.eye(8))  # below half a step: rounded away
    params = params.replace(J=small.at[0, 1].set(3.0).at[1, 0].set(3.0))
    start, spins, info = _one_draw(params, 100000, couplings_dtype="int8", num_steps=30)
    assert chi_square(probabilities(params), spins) < 5
    assert 0.7 < float(info["correction_acceptance"]) < 0.98
    rounded = params.replace(J=jnp.where(params.J < 1, 0, params.J))
    assert chi_square(probabilities(rounded), spins) > 20
    assert float((start != spins).mean()) > 0.1


def test_a_given_step_size_is_used_and_gives_the_law():
    params = machine(3, 8)
    sampler = build(step_size=1.0, burn_in=20)
    spins, state, info = first_draw(sampler, jax.random.key(5), params, NUM_CHAINS)
    assert chi_square(probabilities(params), spins) < 5
    assert float(info["step_size"]) == pytest.approx(1.0)
    start = exact_draws(jax.random.key(1), params, NUM_CHAINS)
    one_step = build(step_size=1.0, burn_in=20, num_steps=1)
    chance = flip_probabilities(start, local_field(params, start), 2.0)
    moved, _, info = jax.jit(one_step.sample)(jax.random.key(2), params, state.replace(spins=start))
    # Acceptance only thins flips out.
    flips = float((moved != start).mean())
    assert 0.6 * float(chance.mean()) < flips < float(chance.mean()) + 0.005


@pytest.mark.slow
@pytest.mark.parametrize("strength", [0.5, 1.2])
def test_burn_in_reaches_the_stated_acceptance_and_the_step_size_then_stays(strength):
    params = machine(0, 64, strength=strength, field=0.0)
    for target, options in ((0.7, {}), (0.5, {"target_acceptance": 0.5})):
        sampler = build(num_steps=400, **options)
        _, state, info = first_draw(sampler, jax.random.key(5), params, 64)
        assert float(info["acceptance"]) == pytest.approx(target, abs=0.04)  # 0.01 measured
    again, later, _ = jax.jit(sampler.sample)(jax.random.key(6), params, state)
    assert later.log_spread == state.log_spread
    assert bool((again != state.spins).any())


def test_step_size_follows_couplings_that_grow_from_zero_as_in_training():
    uncoupled = Boltzmann(J=jnp.zeros((64, 64)), h=jnp.zeros(64))
    sampler = build(num_steps=400)
    _, state, info = first_draw(sampler, jax.random.key(0), uncoupled, 64)
    assert float(info["acceptance"]) == 1 and float(info["step_size"]) == 20
    sample = jax.jit(sampler.sample)
    for strength in (0.2, 1.2):
        _, state, info = sample(jax.random.key(1), machine(0, 64, strength), state)
        assert 0.6 < float(info["acceptance"]) < 0.9


def test_couplings_that_are_not_finite_give_nan_and_not_a_frozen_chain():
    params = machine(3, 8)
    sampler = build(num_steps=1)
    state = MetropolisState(exact_draws(jax.random.key(0), params, 5), jnp.float32(1))
    broken = params.replace(J=params.J * jnp.nan)
    spins, _, info = jax.jit(sampler.sample)(jax.random.key(1), broken, state)
    assert bool(jnp.isnan(spins).all()) and not bool(info["is_finite"])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_steps", 0),
        ("burn_in", 0),
        ("step_size", 0.0),
        ("target_acceptance", 1.0),
        ("couplings_dtype", "int4"),
        ("noise_generator", "mersenne"),
    ],
)
def test_options_out_of_range_are_errors_that_name_them(option, value):
    with pytest.raises(InputError, match=option):
        build(**{option: value})


# ---- kernels at any inverse temperature


@pytest.mark.parametrize("name", mostly_slow(sorted(KERNELS), "gibbs"))
def test_kernel_keeps_the_law_of_each_chain_s_own_inverse_temperature(name):
    """One step from exact draws at each beta, all betas in one array of chains."""
    params = machine(3, 6, strength=1.5)
    betas = (0.0, 0.4, 1.0, 1.7)
    kernel = KERNELS[name]()
    starts = [
        exact_draws(jax.random.key(i), Boltzmann(J=beta * params.J, h=beta * params.h), NUM_CHAINS)
        for i, beta in enumerate(betas)
    ]
    beta = jnp.repeat(jnp.array(betas), NUM_CHAINS)
    prepared = kernel.prepare(params)
    moved = jax.jit(kernel.update)(jax.random.key(9), prepared, jnp.concatenate(starts), beta)
    for i, value in enumerate(betas):
        spins = moved[i * NUM_CHAINS : (i + 1) * NUM_CHAINS]
        assert chi_square(probabilities(params, value), spins) < 5
        assert float((spins != starts[i]).mean()) > 0.002  # cold chains hardly move


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_kernel_at_beta_zero_forgets_everything_in_one_step(name):
    params = machine(3, 6, strength=1.5)
    kernel = KERNELS[name]()
    start = jnp.ones((NUM_CHAINS, 6))
    update = jax.jit(kernel.update)
    moved = update(jax.random.key(0), kernel.prepare(params), start, jnp.zeros(NUM_CHAINS))
    assert chi_square(np.full(64, 1 / 64), moved) < 5
