"""Analog Ising machine with injected noise: an iterated nonlinear map, a heuristic in law.

Boehm, Alonso-Urquijo, Verschaffelt and Van der Sande 2022, Nature Communications 13, 5847: noise
injected into the feedback loop of an analog Ising machine makes it sample at a temperature that the
noise sets. One iteration of all spins at once, in the form of a map with a saturating F:

    x <- F(alpha x + beta (J x + h a) + sigma xi),    s = sign(x),

F = clip to [-1, 1] or tanh, xi standard normal, a the rms amplitude of the chain. alpha is what an
amplitude remembers: without it all spins would be updated at once from the last ones, and a
ferromagnet's law would be that of two sublattices.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.runtime.options import documented, not_negative, positive
from qbm_jax.samplers.base import Sampler, from_kernel
from qbm_jax.samplers.cim.feedback import OperatingPoint, conditioned, received, tuned
from qbm_jax.samplers.numerics.noise import white
from qbm_jax.samplers.numerics.readout import signs
from qbm_jax.samplers.options import Amplitudes, chosen, count, number

_BOEHM = "Boehm et al. 2022, Nature Communications 13, 5847"
NONLINEARITIES = {"clip": lambda x: jnp.clip(x, -1, 1), "tanh": jnp.tanh}


class AnalogState(struct.PyTreeNode):
    """Amplitudes x [chains, spins], and iterations since the draw began: the clock of the noise."""

    amplitudes: jax.Array
    step: jax.Array


def drive(
    params: Boltzmann,
    amplitudes: jax.Array,
    memory: jax.Array | float,
    coupling: jax.Array | float,
    bound: jax.Array | float = jnp.inf,
) -> jax.Array:
    """What F is applied to, without noise: alpha x + beta (J x + h a), [chains, spins]."""
    return memory * amplitudes + received(params, amplitudes, coupling, bound)


def diffusion(amplitudes: jax.Array, noise: jax.Array | float) -> jax.Array:
    """The noise sigma for all amplitudes [chains, spins]; added inside F."""
    return jnp.full_like(amplitudes, noise)


# Options with which `noisy_analog` looks for ground states.
OPTIMISING = {
    "num_steps": 1000, "memory": 0.9, "coupling": 0.8, "noise": 0.9, "noise_end": 0.0,
    "normalised": True, "calibration_gain": 0.0, "finishing_sweeps": 20,
}  # fmt: skip


@documented
@dataclasses.dataclass(frozen=True)
class NoisyAnalogOptions(Amplitudes):
    """Options of `noisy_analog`."""

    num_steps: int = count(400, "iterations of a draw")
    memory: float = number(1.06, not_negative(), "alpha", source=_BOEHM)
    coupling: float = number(0.035, positive(), "beta", source=_BOEHM)
    noise: float = number(0.2, positive(), "sigma", source=_BOEHM)
    noise_end: float | None = number(
        None, not_negative(), "sigma at the end of a linear ramp, to optimise; None: constant"
    )
    nonlinearity: str = chosen("clip", NONLINEARITIES, "F", source=_BOEHM)


def noisy_analog(options: NoisyAnalogOptions) -> Sampler:
    """Iterates the map; chains persist between draws, and so does the calibrated input scale."""
    noise, num_steps = options.noise, options.num_steps
    noise_end = noise if options.noise_end is None else options.noise_end
    levels = options.coupling, noise, 1.0

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> AnalogState:
        shape = (num_chains, params.num_spins)
        amplitudes = noise * jax.random.normal(key, shape, jnp.float32)
        return AnalogState(amplitudes=amplitudes, step=jnp.int32(0))

    def kernel(key: jax.Array, point: OperatingPoint, state: AnalogState) -> AnalogState:
        ramp = jnp.minimum(state.step.astype(jnp.float32) / num_steps, 1)
        level = point.noise * (1 + (noise_end / noise - 1) * ramp)
        x = state.amplitudes
        driven = drive(point.params, x, options.memory, point.coupling, point.bound)
        driven = x + conditioned(point, driven - x, 1.0, free=jnp.abs(x) < 1)
        kicks = diffusion(driven, level) * white(key, driven.shape, options.noise_law)
        amplitudes = NONLINEARITIES[options.nonlinearity](driven + kicks)
        return AnalogState(amplitudes=amplitudes.astype(jnp.float32), step=state.step + 1)

    return from_kernel(
        init=init,
        prepare=lambda p: tuned(p, *levels, options.normalised, options.couplings_dtype),
        kernel=kernel,
        readout=lambda state: signs(state.amplitudes),
        num_steps=num_steps,
        targets_boltzmann=False,
        restart=lambda key, state: state.replace(step=jnp.int32(0)),
    )
