"""Every heuristic machine at the temperature asked for, and the distance that is left."""

import functools

import jax
import jax.numpy as jnp
import pytest
from laws import machine
from marks import mostly_slow

from qbm_jax import samplers
from qbm_jax.machine.boltzmann import scale
from qbm_jax.machine.distance import total_variation
from qbm_jax.machine.enumeration import log_weights

NUM_CHAINS = 3000
# Bounds on the total variation of calibrated draws at N = 10 beyond the sampling floor. With 20,000
# draws of this machine the floor is 0.054, and measured were (raw beta_eff, raw, calibrated)
#   mean_field       0.61  0.252  0.094      cac           1.08  0.089  0.077
#   truncated_wigner 0.97  0.079  0.083      cfc           1.64  0.305  0.084
#   gaussian_state   1.20  0.135  0.092      noisy_analog  1.04  0.100  0.091
VARIANTS = {
    "mean_field": ("cim", {"variant": "mean_field"}, 0.05),
    "truncated_wigner": ("cim", {"variant": "truncated_wigner"}, 0.05),
    "gaussian_state": ("cim", {"variant": "gaussian_state"}, 0.06),
    "cac": ("cac", {}, 0.06),
    "cfc": ("cfc", {}, 0.06),
    "noisy_analog": ("noisy_analog", {}, 0.06),
}
each_machine = pytest.mark.parametrize("label", mostly_slow(VARIANTS, "mean_field"))


@functools.cache
def drawer(label):
    """(key, params) -> (spins [2, chains, N], their info), raw and calibrated.

    A few hundred chains calibrate for all. Compiled once a shape.
    """
    name, options, _ = VARIANTS[label]
    calibrated = samplers.build(name, **options)
    machine = samplers.build(name, **options, calibration_gain=0)

    def draw(key, params):
        key_few, key_init, key_draw = jax.random.split(key, 3)
        few = calibrated.init(key_few, params, 500)
        state = machine.init(key_init, params, NUM_CHAINS)

        def draw_at(log_input_scale):
            at = state.replace(log_input_scale=log_input_scale)
            spins, _, info = machine.sample(key_draw, params, at)
            return spins, info

        return jax.lax.map(draw_at, jnp.stack([jnp.float32(0), few.log_input_scale]))

    return jax.jit(draw)


@pytest.mark.slow
@each_machine
def test_calibration_brings_the_temperature_to_one_and_the_law_near(label):
    params = machine(3, 10)
    spins, info = drawer(label)(jax.random.key(0), params)
    far, near = (total_variation(draws, log_weights(params)) for draws in spins)
    print(f"{label}: beta_eff {info['beta_eff']}, raw {far}, calibrated {near}")
    assert info["input_scale"][0] == 1
    assert float(info["beta_eff"][1]) == pytest.approx(1, abs=0.1)
    assert near.value - near.floor < VARIANTS[label][2]
    assert near.value < far.value + 0.02


@pytest.mark.slow
@each_machine
def test_the_scale_of_the_parameters_does_not_matter_to_the_temperature(label):
    params = machine(4, 10)
    for strength in (0.4, 1.6):
        _, info = drawer(label)(jax.random.key(0), scale(params, strength))
        assert bool(info["is_finite"].all())
        assert float(info["beta_eff"][1]) == pytest.approx(1, abs=0.12)
