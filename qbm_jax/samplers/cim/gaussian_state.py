"""The measurement-feedback machine with Gaussian states: a mean and a variance a spin.

Continuous-time Gaussian-state model of Kako, Leleu, Inui, Khoyratee, Reifenstein and Yamamoto 2020
(Coherent Ising machines with error correction feedback, arXiv 2005.10895: the equations of the
mean amplitude, its variance and the measured amplitude), without that paper's error correction. Ng,
Onodera, Kako, McMahon, Mabuchi and Yamamoto 2022 (Phys. Rev. Research 4, 013009) show with a
discrete-time model that such a machine samples. For the mean amplitude in units of saturation,
x = g <a>, and the variance V of the quadrature (a + a*)/sqrt(2), 1/2 in vacuum:

    dx = [(p - 1 - j - x^2) x + eps (J y + h a)] dt + g sqrt(j) (V - 1/2) dB
    dV = [2 (p - 1 - j - 3 x^2) V - 2 j (V - 1/2)^2 + (1 + j) + 2 x^2] dt
    y  = x + g/sqrt(4 j) dB/dt

in the sense of Ito. j is the rate at which light leaves to be measured. The measured y enters the
feedback, so the same noise reaches each spin twice: by what the measurement tells about it, and
through the couplings. Mean and measurement are consistent: without feedback and saturation, the
variance of the mean plus V obeys the equation of an unmeasured oscillator with loss 1 + j.
"""

import jax
import jax.numpy as jnp

from qbm_jax.samplers.cim.feedback import Setting, conditioned, highest_gain, received

VACUUM = 0.5


def drift(
    setting: Setting,
    amplitudes: jax.Array,
    variances: jax.Array,
    pump: jax.Array | float,
    measured: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Rates of x and V, both [chains, spins], at measured amplitudes y [chains, spins]."""
    loss = 1 + setting.measurement
    squares = amplitudes**2
    fields = received(setting.params, measured, setting.coupling, setting.bound, amplitudes)
    rate = (pump - loss - squares) * amplitudes + fields
    gain = 2 * (pump - loss - 3 * squares) * variances
    learnt = 2 * setting.measurement * (variances - VACUUM) ** 2
    return rate, gain - learnt + loss + 2 * squares


def diffusion(setting: Setting, variances: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Factors of dB in x, g sqrt(j) (V - 1/2) [chains, spins], and in y dt, g/sqrt(4 j)."""
    root = jnp.sqrt(setting.measurement)
    return setting.noise * root * (variances - VACUUM), setting.noise / (2 * root)


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
    """Half of that of the mean field, with the loss by measurement.

    The noise of the measurement comes through the couplings and drives x beyond its rest.
    """
    return 0.25 / jnp.maximum(highest_gain(setting, pump - setting.measurement), 1)
