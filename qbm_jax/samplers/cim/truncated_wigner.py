"""The truncated-Wigner machine: two quadratures a spin, noise that grows with the amplitude.

Degenerate optical parametric oscillators in the truncated-Wigner representation (Wang, Marandi,
Wen, Byer and Yamamoto 2013, Phys. Rev. A 88, 063853: the normalised equations of the in-phase and
quadrature-phase amplitude; Inui and Yamamoto 2020 for coupled machines), with the couplings as
feedback on the in-phase amplitude:

    dc = [(-1 + p - c^2 - s^2) c + eps (J c + h a)] dt + g sqrt(c^2 + s^2 + 1/2) dB1
    ds =  (-1 - p - c^2 - s^2) s                    dt + g sqrt(c^2 + s^2 + 1/2) dB2

in the sense of Ito. g = 1/A_s, where A_s^2 is the photon number at a pump of twice the threshold;
1/2 is the vacuum. Spins are the signs of c. g -> 0 is the mean-field machine without noise.
"""

import jax
import jax.numpy as jnp

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.cim.feedback import Setting, conditioned, highest_gain, received


def drift(
    params: Boltzmann,
    amplitudes: jax.Array,
    quadratures: jax.Array,
    pump: jax.Array | float,
    coupling: jax.Array | float,
    bound: jax.Array | float = jnp.inf,
) -> tuple[jax.Array, jax.Array]:
    """Rates of c and s, both [chains, spins], per unit time."""
    saturation = 1 + amplitudes**2 + quadratures**2
    rate = (pump - saturation) * amplitudes + received(params, amplitudes, coupling, bound)
    return rate, -(pump + saturation) * quadratures


def diffusion(amplitudes: jax.Array, quadratures: jax.Array, noise: jax.Array | float) -> jax.Array:
    """Of both equations, g sqrt(c^2 + s^2 + 1/2) [chains, spins]."""
    return noise * jnp.sqrt(amplitudes**2 + quadratures**2 + 0.5)


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
    """Half the largest stable Euler step: of c at rest as in the mean field, or of s there."""
    gain = jnp.maximum(highest_gain(setting, pump), 1)
    return jnp.minimum(0.5 / gain, 1 / (1 + jnp.abs(pump) + gain))
