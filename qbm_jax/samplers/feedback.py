"""What the variants of the coherent Ising machine share: how couplings reach the amplitudes."""

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax import couplings
from qbm_jax.boltzmann import Boltzmann, local_field
from qbm_jax.errors import InputError
from qbm_jax.samplers import spectrum

_STRONGEST_DRIVE = 2.0  # of eps (|J| + max |h|): keeps dt = 0.15 stable, see `tuned`


class Setting(struct.PyTreeNode):
    """What a machine is set to for one draw.

    Attributes:
      params: as they are sent, J possibly in a reduced type.
      coupling: eps, the feedback gain.
      noise: of the variant; amplitudes at which the machine saturates are 1.
      drive: eps (|J| + max |h|), what coupling adds to the gain of the fastest mode.
      measurement: j, of the Gaussian-state machine.
    """

    params: Boltzmann
    coupling: jax.Array
    noise: jax.Array
    drive: jax.Array
    measurement: jax.Array


def feedback(params: Boltzmann, measured: jax.Array, rms: jax.Array) -> jax.Array:
    """J x + h a for measured amplitudes x [chains, spins] and a = rms [chains, 1].

    A field acts like a spin of amplitude a, so that fields and couplings grow together.
    """
    return rms * local_field(params, measured / rms)


def rms_amplitude(amplitudes: jax.Array) -> jax.Array:
    """Root mean square over spins of amplitudes [chains, spins], above 0, [chains, 1]."""
    rms = jnp.sqrt(jnp.mean(amplitudes**2, axis=-1, keepdims=True))
    return jnp.maximum(rms, jnp.finfo(amplitudes.dtype).tiny)


def tuned(
    params: Boltzmann,
    coupling: jax.Array | float,
    noise: jax.Array | float,
    measurement: jax.Array | float,
    normalise: bool,
    couplings_dtype: couplings.Dtype,
) -> Setting:
    """The machine's setting for one draw.

    For sampling, eps and noise^2 are divided by one factor where the couplings would overwhelm the
    saturation; a mean-field law depends on eps/noise^2, so its temperature stays. For optimising,
    `normalise` divides J and h by |J|, and the noise stays: any scale of J gives the same machine.
    """
    lower, upper = spectrum.eigenvalue_bounds(params.J)
    norm = jnp.maximum(jnp.maximum(-lower, upper), jnp.finfo(lower.dtype).tiny)
    largest_field = jnp.max(jnp.abs(params.h))
    if normalise:
        norm = jnp.maximum(norm, largest_field)
        drive, noise = coupling * (1 + largest_field / norm), jnp.asarray(noise, jnp.float32)
        coupling = coupling / norm
    else:
        drive = coupling * (norm + largest_field)
        excess = jnp.maximum(drive / _STRONGEST_DRIVE, 1)
        coupling, noise, drive = coupling / excess, noise / jnp.sqrt(excess), drive / excess
    return Setting(
        params=couplings.reduced(params, couplings_dtype),
        coupling=coupling,
        noise=noise,
        drive=drive,
        measurement=jnp.asarray(measurement, jnp.float32),
    )


def check_normalised(normalised: bool, calibration_gain: float, finishing_sweeps: int) -> None:
    """Raises InputError if normalised parameters, which have no temperature, are to have one."""
    if normalised and (calibration_gain != 0 or finishing_sweeps != 0):
        raise InputError(
            "expected calibration_gain 0 and finishing_sweeps 0 with normalised parameters, whose "
            f"temperature is not T = 1, got {calibration_gain} and {finishing_sweeps}"
        )


def highest_gain(setting: Setting, pump: jax.Array | float) -> jax.Array:
    """Rate at which the fastest mode grows from vacuum, and the square of its amplitude at rest."""
    return jnp.maximum(pump - 1, 0) + setting.drive
