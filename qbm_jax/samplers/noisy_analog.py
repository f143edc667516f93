"""Analog Ising machine with injected noise: an iterated nonlinear map, a heuristic in law.

Boehm, Alonso-Urquijo, Verschaffelt and Van der Sande 2022, Nature Communications 13, 5847: noise
injected into the feedback loop of an analog Ising machine makes it sample at a temperature that the
noise sets. One iteration of all spins at once, in the form of a map with a saturating F:

    x <- F(alpha x + beta (J x + h a) + sigma xi),    s = sign(x),

F = clip to [-1, 1] or tanh, xi standard normal, a the rms amplitude of the chain. alpha is what an
amplitude remembers: without it all spins would be updated at once from the last ones, and a
ferromagnet's law would be that of two sublattices.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from qbm_jax.errors import InputError
from qbm_jax.machine import couplings
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.base import Sampler, check_positive, from_kernel, is_concrete
from qbm_jax.samplers.cim.anneal import FIELDS
from qbm_jax.samplers.cim.feedback import Setting, check_normalised, conditioned, received, tuned
from qbm_jax.samplers.descended import finished
from qbm_jax.samplers.numerics.noise import Law, check_law, white
from qbm_jax.samplers.numerics.readout import signs
from qbm_jax.samplers.wrappers.gauge import through_gauge_spin

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
    "num_steps": 1000,
    "memory": 0.9,
    "coupling": 0.8,
    "noise": 0.9,
    "noise_end": 0.0,
    "normalised": True,
    "calibration_gain": 0.0,
    "finishing_sweeps": 20,
}


def noisy_analog(
    num_steps: int = 400,
    memory: jax.Array | float = 1.06,
    coupling: jax.Array | float = 0.035,
    noise: jax.Array | float = 0.2,
    noise_end: jax.Array | float | None = None,
    nonlinearity: Literal["clip", "tanh"] = "clip",
    fields: Literal["scaled", "gauge_spin"] = "scaled",
    normalised: bool = False,
    calibration_gain: float = 0.3,
    finishing_sweeps: int = 0,
    couplings_dtype: couplings.Dtype = "float32",
    noise_law: Law = "normal",
    noise_generator: str | None = None,
) -> Sampler:
    """Iterates the map; chains persist between draws, and so does the calibrated input scale.

    Args:
      num_steps: iterations a draw.
      memory: alpha.
      coupling: beta.
      noise: sigma.
      noise_end: sigma at the end of a linear ramp over each draw, for optimising; None: constant.
      nonlinearity: F.
      fields: see `cim`.
      normalised: as of `cim`; for optimising.
      calibration_gain: see `calibrated`; 0 is the machine as it is.
      finishing_sweeps: Gibbs sweeps from the machine's spins, in `sample` alone; rounds of a
        descent at T = 0 if normalised.
      couplings_dtype: of the products, see `couplings.reduced`; energies are those of float32.
      noise_law: see `noise.white`.
      noise_generator: see `from_kernel`.

    Raises:
      InputError: an option out of its range.
    """
    check_positive(coupling=coupling, noise=noise)
    noise_end = noise if noise_end is None else noise_end
    for name, value in (("memory", memory), ("noise_end", noise_end)):
        if is_concrete(value) and not (np.isfinite(value).all() and (np.asarray(value) >= 0).all()):
            raise InputError(f"expected {name} to be finite and at least 0, got {value}")
    if nonlinearity not in NONLINEARITIES:
        raise InputError(f"expected nonlinearity in {list(NONLINEARITIES)}, got {nonlinearity!r}")
    if fields not in FIELDS:
        raise InputError(f"expected fields in {list(FIELDS)}, got {fields!r}")
    check_law(noise_law)
    check_normalised(normalised, calibration_gain)
    couplings.check_dtype(couplings_dtype)

    def init(key, params, num_chains):
        shape = (num_chains, params.num_spins)
        amplitudes = noise * jax.random.normal(key, shape, jnp.float32)
        return AnalogState(amplitudes=amplitudes, step=jnp.int32(0))

    def kernel(key, setting: Setting, state):
        ramp = jnp.minimum(state.step.astype(jnp.float32) / num_steps, 1)
        level = setting.noise * (1 + (noise_end / noise - 1) * ramp)
        x = state.amplitudes
        driven = drive(setting.params, x, memory, setting.coupling, setting.bound)
        driven = x + conditioned(setting, driven - x, 1.0, free=jnp.abs(x) < 1)
        kicks = diffusion(driven, level) * white(key, driven.shape, noise_law)
        amplitudes = NONLINEARITIES[nonlinearity](driven + kicks)
        return AnalogState(amplitudes=amplitudes.astype(jnp.float32), step=state.step + 1)

    machine = from_kernel(
        init=init,
        prepare=lambda params: tuned(params, coupling, noise, 1.0, normalised, couplings_dtype),
        kernel=kernel,
        readout=lambda state: signs(state.amplitudes),
        num_steps=num_steps,
        targets_boltzmann=False,
        restart=lambda key, state: state.replace(step=jnp.int32(0)),
        noise_generator=noise_generator,
    )
    if fields == "gauge_spin":
        machine = through_gauge_spin(machine)
    return finished(machine, normalised, calibration_gain, finishing_sweeps)
