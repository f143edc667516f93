"""Steps of the truncated-Wigner machine, equation (2) of `equations`."""

import jax
import jax.numpy as jnp

from qbm_jax.samplers.cim.equations import truncated_wigner_diffusion as diffusion
from qbm_jax.samplers.cim.equations import truncated_wigner_drift as drift
from qbm_jax.samplers.cim.feedback import Setting, conditioned, highest_gain


def advance(
    white: jax.Array,
    setting: Setting,
    amplitudes: jax.Array,
    quadratures: jax.Array,
    pump: jax.Array | float,
    dt: jax.Array | float,
) -> tuple[jax.Array, jax.Array]:
    """One Euler-Maruyama step of c and s (weak order 1), with white noise [2, chains, spins]."""
    rate, rate_quadrature = drift(
        setting.params, amplitudes, quadratures, pump, setting.coupling, setting.bound
    )
    rate = conditioned(setting, rate, dt)
    spread = jnp.sqrt(dt) * diffusion(amplitudes, quadratures, setting.noise)
    moved = amplitudes + dt * rate + spread * white[0]
    return moved, quadratures + dt * rate_quadrature + spread * white[1]


def stable_dt(setting: Setting, pump: jax.Array | float) -> jax.Array:
    """Half the largest stable Euler step, a scalar: of c at rest as in `mean_field`, or of s."""
    gain = jnp.maximum(highest_gain(setting, pump), 1)
    return jnp.minimum(0.5 / gain, 1 / (1 + jnp.abs(pump) + gain))
