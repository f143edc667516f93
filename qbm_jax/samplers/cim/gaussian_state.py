"""Steps of the measurement-feedback machine with Gaussian states, equation (3) of `equations`."""

import jax
import jax.numpy as jnp

from qbm_jax.samplers.cim.equations import gaussian_state_diffusion as diffusion
from qbm_jax.samplers.cim.equations import gaussian_state_drift as drift
from qbm_jax.samplers.cim.feedback import Setting, conditioned, highest_gain


def advance(
    white: jax.Array,
    setting: Setting,
    amplitudes: jax.Array,
    variances: jax.Array,
    pump: jax.Array | float,
    dt: jax.Array | float,
) -> tuple[jax.Array, jax.Array]:
    """One step of x and V (weak order 1), with white noise [1, chains, spins].

    Euler-Maruyama for x. The loss of V, 2 (1 + j + 3 x^2) V, is stiff where noise drives x far out,
    and is taken at the end of the step.
    """
    backaction, measurement_noise = diffusion(setting, variances)
    measured = amplitudes + measurement_noise * white[0] / jnp.sqrt(dt)
    rate, rate_variance = drift(setting, amplitudes, variances, pump, measured)
    rate = conditioned(setting, rate, dt)
    moved = amplitudes + dt * rate + jnp.sqrt(dt) * backaction * white[0]
    stiff = 2 * (1 + setting.measurement + 3 * amplitudes**2)
    return moved, variances + dt * rate_variance / (1 + dt * stiff)


def stable_dt(setting: Setting, pump: jax.Array | float) -> jax.Array:
    """Half of the mean field's step, a scalar, with the loss by measurement.

    The noise of the measurement comes through the couplings and drives x beyond its rest.
    """
    return 0.25 / jnp.maximum(highest_gain(setting, pump - setting.measurement), 1)
