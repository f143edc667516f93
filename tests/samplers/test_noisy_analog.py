"""The noise-injected analog machine: its map, its limits, its optimiser."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.enumeration import log_weights
from qbm_jax.samplers.noisy_analog import OPTIMISING, drive


def plus_minus(seed, num_spins):
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (num_spins, num_spins))
    upper = np.triu(signs, 1)
    return Boltzmann(J=jnp.asarray(upper + upper.T, jnp.float32), h=jnp.zeros(num_spins))


def draw(sampler, params, num_chains, seed=0):
    key = jax.random.key(seed)
    sampled = jax.jit(lambda k: sampler.sample(k, params, sampler.init(k, params, num_chains)))
    return sampled(key)


def test_the_map_remembers_and_adds_couplings_and_fields_at_the_amplitude_of_spins():
    params = plus_minus(0, 4).replace(h=jnp.array([0.5, 0.0, -1.0, 0.0]))
    x = jnp.array([[1.0, -0.2, 0.5, 0.3]])
    rms = np.sqrt(np.mean(np.square(x)))
    expected = 0.9 * x + 0.3 * (x @ params.J + rms * params.h[None, :])
    np.testing.assert_allclose(drive(params, x, 0.9, 0.3), expected, rtol=1e-5)


@pytest.mark.parametrize(("nonlinearity", "fixed"), [("clip", 1.0), ("tanh", 0.8581)])
def test_a_quiet_spin_rests_where_the_saturation_meets_its_memory(nonlinearity, fixed):
    """x = F(1.5 x): 1 for the clip, 0.8586 for tanh; and at 0 where it remembers too little."""
    params = Boltzmann(J=jnp.zeros((2, 2)), h=jnp.zeros(2))
    quiet = {"noise": 1e-6, "nonlinearity": nonlinearity, "calibration_gain": 0, "num_steps": 100}
    for memory, rest in ((1.5, fixed), (0.8, 0.0)):
        _, state, _ = draw(samplers.build("noisy_analog", memory=memory, **quiet), params, 5)
        np.testing.assert_allclose(jnp.abs(state.machine.amplitudes), rest, atol=1e-3)


@pytest.mark.slow
def test_without_memory_a_chain_is_two_sublattices_and_with_it_the_ferromagnet_has_one_sign():
    """All spins at once from the last ones: each half can keep a sign of its own."""
    params = Boltzmann(
        J=jnp.kron(jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.ones((4, 4))), h=jnp.zeros(8)
    )
    agreement = {}
    for memory in (0.0, 1.0):
        options = {"memory": memory, "coupling": 0.2, "noise": 0.1, "calibration_gain": 0}
        spins, _, _ = draw(samplers.build("noisy_analog", **options), params, 500)
        agreement[memory] = float((jnp.abs(spins.sum(axis=1)) == 8).mean())
    assert agreement[0.0] < 0.7 and agreement[1.0] > 0.99


@pytest.mark.slow
def test_as_an_optimiser_it_finds_ground_states_at_any_scale():
    """Success of a chain measured on machines 0 to 3: 1.00, 0.59, 1.00, 1.00."""
    sampler = samplers.build("noisy_analog", **OPTIMISING)
    optimise = jax.jit(lambda key, p: sampler.sample(key, p, sampler.init(key, p, 50))[0])
    shares = []
    for seed in range(3):
        params = plus_minus(seed, 18)
        ground = -float(log_weights(params).max())
        spins = optimise(jax.random.key(seed), params)
        shares.append(float((energy(params, spins) <= ground + 0.5).mean()))
    assert shares[0] > 0.95 and shares[1] > 0.25 and shares[2] > 0.95
    for factor in (1 / 256, 256):
        scaled = optimise(jax.random.key(2), params.replace(J=factor * params.J))
        np.testing.assert_array_equal(scaled, spins)


@pytest.mark.parametrize(
    "options",
    [
        {"memory": -0.1},
        {"coupling": 0.0},
        {"noise": 0.0},
        {"noise_end": -1.0},
        {"nonlinearity": "relu"},
        {"fields": "none"},
        {"noise_law": "uniform"},
        {"couplings_dtype": "int4"},
        {"normalised": True},
    ],
)
def test_bad_options_are_errors_that_name_them(options):
    with pytest.raises(InputError, match=next(iter(options))):
        samplers.build("noisy_analog", **options)
