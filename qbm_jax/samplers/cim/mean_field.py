"""The mean-field machine: one amplitude a spin, additive noise.

SimCIM (Tiunov, Ulanov and Lvovsky 2019, arXiv 1901.08927, Optics Express 27, 10288) with the cubic
saturation of the mean-field equation in place of its clipping:

    dx = [(p(t) - 1) x - x^3 + eps (J x + h a)] dt + sigma dB,    s = sign(x).

a is the rms amplitude of the chain (`feedback`). Far above threshold all |x_i| are equal, and the
stationary law of the signs is the Boltzmann law of 2 eps a^2/sigma^2 times the parameters.
"""

import jax
import jax.numpy as jnp

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.cim.feedback import Setting, conditioned, highest_gain, received


def drift(
    params: Boltzmann,
    amplitudes: jax.Array,
    pump: jax.Array | float,
    coupling: jax.Array | float,
    bound: jax.Array | float = jnp.inf,
) -> jax.Array:
    """(p - 1) x - x^3 + eps (J x + h a) for amplitudes x [chains, spins], a rate per unit time."""
    driven = received(params, amplitudes, coupling, bound)
    return (pump - 1) * amplitudes - amplitudes**3 + driven


def diffusion(amplitudes: jax.Array, noise: jax.Array | float) -> jax.Array:
    """The noise sigma for all amplitudes [chains, spins]; additive: Ito and Stratonovich agree."""
    return jnp.full_like(amplitudes, noise)


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
    """Half the largest stable Euler step at the fixed point x^2 = g of dx = g x - x^3: 1/g."""
    return 0.5 / jnp.maximum(highest_gain(setting, pump), 1)
