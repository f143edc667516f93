"""Steps of the mean-field machine, equation (1) of `equations`."""

import jax
import jax.numpy as jnp

from qbm_jax.samplers.cim.equations import mean_field_diffusion as diffusion
from qbm_jax.samplers.cim.equations import mean_field_drift as drift
from qbm_jax.samplers.cim.feedback import Setting, conditioned, highest_gain


def advance(
    white: jax.Array,
    setting: Setting,
    amplitudes: jax.Array,
    companion: None,
    pump: jax.Array | float,
    dt: jax.Array | float,
) -> tuple[jax.Array, None]:
    """One Euler-Maruyama step (weak order 1; strong order 1 too, as the noise is additive).

    Args:
      white: [1, chains, spins], of mean 0 and variance 1.
      setting: coupling eps, noise sigma.
      amplitudes: [chains, spins].
      companion: None; other machines have a second array.
      pump: p.
      dt: time step, in units of the amplitude's lifetime.
    """
    rate = drift(setting.params, amplitudes, pump, setting.coupling, setting.bound)
    drifted = amplitudes + dt * conditioned(setting, rate, dt)
    return drifted + jnp.sqrt(dt) * diffusion(amplitudes, setting.noise) * white[0], companion


def stable_dt(setting: Setting, pump: jax.Array | float) -> jax.Array:
    """Half the largest stable Euler step, a scalar: 1/g at the rest x^2 = g of dx = g x - x^3."""
    return 0.5 / jnp.maximum(highest_gain(setting, pump), 1)
