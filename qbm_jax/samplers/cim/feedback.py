"""What the variants of the coherent Ising machine share: how couplings reach the amplitudes."""

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.machine import couplings
from qbm_jax.machine.boltzmann import Boltzmann, local_field
from qbm_jax.samplers.conditioning import Conditioning, conditioning, damp
from qbm_jax.samplers.numerics import spectrum

_EDGE = 2.0  # of the bulk of eigenvalues, in typical fields: Wigner's semicircle
_LARGEST_RECEIVED = 1.5  # of eps: a spin whose field is beyond is held anyway, see `bound`
_STRONGEST_DRIVE = 2.0  # of eps (|J| + max |h|): keeps dt = 0.15 stable, see `tuned`


class OperatingPoint(struct.PyTreeNode):
    """The operating point of a machine for one draw: what it is set to.

    Attributes:
      params: as they are sent, J possibly in a reduced type.
      coupling: eps, the feedback gain.
      noise: of the variant; amplitudes at which the machine saturates are 1.
      drive: eps (|J| + max |h|), what coupling adds to the gain of the fastest mode.
      measurement: j, of the Gaussian-state machine.
      bound: of what an amplitude receives, in units of their root mean square.
      rate: of normalised parameters, what multiplies couplings in units of the typical field.
      conditions: of normalised parameters, the scales in J.
    """

    params: Boltzmann
    coupling: jax.Array
    noise: jax.Array
    drive: jax.Array
    measurement: jax.Array
    bound: jax.Array | float = jnp.inf
    rate: jax.Array | None = None
    conditions: Conditioning | None = None


def feedback(params: Boltzmann, measured: jax.Array, rms: jax.Array) -> jax.Array:
    """J x + h a for measured amplitudes x [chains, spins] and a = rms [chains, 1].

    A field acts like a spin of amplitude a, so that fields and couplings grow together.
    """
    return rms * local_field(params, measured / rms)


def received(
    params: Boltzmann,
    measured: jax.Array,
    coupling: jax.Array | float,
    bound: jax.Array | float = jnp.inf,
    amplitudes: jax.Array | None = None,
) -> jax.Array:
    """What reaches each amplitude, eps (J y + h a) [chains, spins], within bound times a.

    a is the rms of the amplitudes; by default they are what is measured, y.
    """
    rms = rms_amplitude(measured if amplitudes is None else amplitudes)
    drive = coupling * feedback(params, measured, rms)
    return jnp.clip(drive, -bound * rms, bound * rms)


def conditioned(
    point: OperatingPoint, rate: jax.Array, dt: jax.Array | float, free: jax.Array | None = None
) -> jax.Array:
    """The rate [chains, spins] as a step dt may follow it along stiff modes, see `damp`."""
    if point.conditions is None:
        return rate
    assert point.rate is not None, "set together with the conditions"
    gains = None if free is None else free.astype(rate.dtype)
    return damp(point.conditions, rate, dt * point.rate, gains)


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
    couplings_dtype: str,
) -> OperatingPoint:
    """The machine's operating point for one draw.

    For sampling, eps and noise^2 are divided by one factor where the couplings would overwhelm the
    saturation; a mean-field law depends on eps/noise^2, so its temperature stays. For optimising,
    `normalise` takes fields in units of each spin's typical one (`conditioning`), and the noise
    stays: any scale of J gives the same machine.
    """
    if normalise:
        conditions = conditioning(params)
        return OperatingPoint(
            params=couplings.reduced(params, couplings_dtype),
            coupling=coupling / (_EDGE * conditions.unit[None, :]),
            noise=jnp.asarray(noise, jnp.float32),
            drive=jnp.float32(coupling * _LARGEST_RECEIVED),
            measurement=jnp.asarray(measurement, jnp.float32),
            rate=jnp.asarray(coupling / _EDGE, jnp.float32),
            bound=jnp.asarray(coupling * _LARGEST_RECEIVED, jnp.float32),
            conditions=conditions,
        )
    lower, upper = spectrum.eigenvalue_bounds(params.J)
    norm = jnp.maximum(jnp.maximum(-lower, upper), jnp.finfo(lower.dtype).tiny)
    largest_field = jnp.max(jnp.abs(params.h))
    drive = coupling * (norm + largest_field)
    excess = jnp.maximum(drive / _STRONGEST_DRIVE, 1)
    coupling, noise, drive = coupling / excess, noise / jnp.sqrt(excess), drive / excess
    return OperatingPoint(
        params=couplings.reduced(params, couplings_dtype),
        coupling=coupling,
        noise=noise,
        drive=drive,
        measurement=jnp.asarray(measurement, jnp.float32),
    )


def highest_gain(point: OperatingPoint, pump: jax.Array | float) -> jax.Array:
    """Rate of the fastest mode from vacuum, and the square of its amplitude at rest: a scalar."""
    return jnp.maximum(pump - 1, 0) + point.drive
