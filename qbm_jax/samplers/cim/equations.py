"""The coherent Ising machine in three variants: equations, drift, diffusion and one step of each.

The default is the mean-field machine. `anneal` runs the steps and has the ramp of the pump p(t),
eps, sigma and dt; `feedback` what a spin receives.

The mean-field machine: one amplitude a spin, additive noise.

SimCIM (Tiunov, Ulanov and Lvovsky 2019, arXiv 1901.08927, Optics Express 27, 10288) with the cubic
saturation of the mean-field equation in place of its clipping:

    dx = [(p(t) - 1) x - x^3 + eps (J x + h a)] dt + sigma dB,    s = sign(x).           (1)

a is the rms amplitude of the chain (`feedback`). Far above threshold all |x_i| are equal, and the
stationary law of the signs is the Boltzmann law of 2 eps a^2/sigma^2 times the parameters.

The truncated-Wigner machine: two quadratures a spin, noise that grows with the amplitude.

Degenerate optical parametric oscillators in the truncated-Wigner representation (Wang, Marandi,
Wen, Byer and Yamamoto 2013, Phys. Rev. A 88, 063853: the normalised equations of the in-phase and
quadrature-phase amplitude; Inui and Yamamoto 2020 for coupled machines), with the couplings as
feedback on the in-phase amplitude:

    dc = [(-1 + p - c^2 - s^2) c + eps (J c + h a)] dt + g sqrt(c^2 + s^2 + 1/2) dB1     (2)
    ds =  (-1 - p - c^2 - s^2) s                    dt + g sqrt(c^2 + s^2 + 1/2) dB2     (3)

in the sense of Ito. g = 1/A_s, where A_s^2 is the photon number at a pump of twice the threshold;
1/2 is the vacuum. Spins are the signs of c. g -> 0 is the mean-field machine without noise.

The measurement-feedback machine with Gaussian states: a mean and a variance a spin.

Continuous-time Gaussian-state model of Kako, Leleu, Inui, Khoyratee, Reifenstein and Yamamoto 2020
(Coherent Ising machines with error correction feedback, arXiv 2005.10895: the equations of the
mean amplitude, its variance and the measured amplitude), without that paper's error correction. Ng,
Onodera, Kako, McMahon, Mabuchi and Yamamoto 2022 (Phys. Rev. Research 4, 013009) show with a
discrete-time model that such a machine samples. For the mean amplitude in units of saturation,
x = g <a>, and the variance V of the quadrature (a + a*)/sqrt(2), 1/2 in vacuum:

    dx = [(p - 1 - j - x^2) x + eps (J y + h a)] dt + g sqrt(j) (V - 1/2) dB             (4)
    dV = [2 (p - 1 - j - 3 x^2) V - 2 j (V - 1/2)^2 + (1 + j) + 2 x^2] dt                (5)
    y  = x + g/sqrt(4 j) dB/dt                                                           (6)

in the sense of Ito. j is the rate at which light leaves to be measured. The measured y enters the
feedback, so the same noise reaches each spin twice: by what the measurement tells about it, and
through the couplings. Mean and measurement are consistent: without feedback and saturation, the
variance of the mean plus V obeys the equation of an unmeasured oscillator with loss 1 + j.

In all three what arrives through the couplings, eps (J x + h a), is held within `bound` times a
(`feedback.received`), and a step may be damped along stiff modes (`feedback.conditioned`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.cim.feedback import OperatingPoint, conditioned, highest_gain, received

VACUUM = 0.5  # variance of the quadrature (a + a*)/sqrt(2)


class Variant(NamedTuple):
    """The equations and the step of one variant.

    Attributes:
      drift: rates of its variables.
      diffusion: factors of its noises.
      advance: (white noise [num_noises, chains, spins], point, amplitudes, companion, pump, dt)
        -> (amplitudes, companion), one step.
      stable_dt: (point, pump) -> a time step that is stable there.
      num_noises: of a step and spin.
      companion: of the vacuum, in every second variable; None where there is none.
    """

    drift: Callable[..., Any]
    diffusion: Callable[..., Any]
    advance: Callable[..., tuple[jax.Array, jax.Array | None]]
    stable_dt: Callable[..., jax.Array]
    num_noises: int
    companion: float | None


def mean_field_drift(
    params: Boltzmann,
    amplitudes: jax.Array,
    pump: jax.Array | float,
    coupling: jax.Array | float,
    bound: jax.Array | float = jnp.inf,
) -> jax.Array:
    """The rate of equation (1) for amplitudes x [chains, spins], per unit time."""
    driven = received(params, amplitudes, coupling, bound)
    return (pump - 1) * amplitudes - amplitudes**3 + driven


def mean_field_diffusion(amplitudes: jax.Array, noise: jax.Array | float) -> jax.Array:
    """The sigma of equation (1) for all amplitudes [chains, spins]: Ito and Stratonovich agree."""
    return jnp.full_like(amplitudes, noise)


def mean_field_advance(
    white: jax.Array,
    point: OperatingPoint,
    amplitudes: jax.Array,
    companion: None,
    pump: jax.Array | float,
    dt: jax.Array | float,
) -> tuple[jax.Array, None]:
    """One Euler-Maruyama step of (1): weak order 1; strong order 1 too, as the noise is additive.

    Args:
      white: [1, chains, spins], of mean 0 and variance 1.
      point: coupling eps, noise sigma.
      amplitudes: [chains, spins].
      companion: None; other variants have a second array.
      pump: p.
      dt: time step, in units of the amplitude's lifetime.
    """
    rate = mean_field_drift(point.params, amplitudes, pump, point.coupling, point.bound)
    drifted = amplitudes + dt * conditioned(point, rate, dt)
    spread = jnp.sqrt(dt) * mean_field_diffusion(amplitudes, point.noise)
    return drifted + spread * white[0], companion


def mean_field_stable_dt(point: OperatingPoint, pump: jax.Array | float) -> jax.Array:
    """Half the largest stable Euler step, a scalar, at the rest x^2 = g of dx = g x - x^3: 1/g."""
    return 0.5 / jnp.maximum(highest_gain(point, pump), 1)


mean_field = Variant(
    mean_field_drift,
    mean_field_diffusion,
    mean_field_advance,
    mean_field_stable_dt,
    num_noises=1,
    companion=None,
)


def truncated_wigner_drift(
    params: Boltzmann,
    amplitudes: jax.Array,
    quadratures: jax.Array,
    pump: jax.Array | float,
    coupling: jax.Array | float,
    bound: jax.Array | float = jnp.inf,
) -> tuple[jax.Array, jax.Array]:
    """Rates of c and s, equations (2) and (3), both [chains, spins], per unit time."""
    saturation = 1 + amplitudes**2 + quadratures**2
    rate = (pump - saturation) * amplitudes + received(params, amplitudes, coupling, bound)
    return rate, -(pump + saturation) * quadratures


def truncated_wigner_diffusion(
    amplitudes: jax.Array, quadratures: jax.Array, noise: jax.Array | float
) -> jax.Array:
    """The factor of both noises in (2) and (3), g sqrt(c^2 + s^2 + 1/2) [chains, spins]."""
    return noise * jnp.sqrt(amplitudes**2 + quadratures**2 + 0.5)


def truncated_wigner_advance(
    white: jax.Array,
    point: OperatingPoint,
    amplitudes: jax.Array,
    quadratures: jax.Array,
    pump: jax.Array | float,
    dt: jax.Array | float,
) -> tuple[jax.Array, jax.Array]:
    """One Euler-Maruyama step of (2) and (3), weak order 1, with white noise [2, chains, spins]."""
    rate, rate_quadrature = truncated_wigner_drift(
        point.params, amplitudes, quadratures, pump, point.coupling, point.bound
    )
    rate = conditioned(point, rate, dt)
    spread = jnp.sqrt(dt) * truncated_wigner_diffusion(amplitudes, quadratures, point.noise)
    moved = amplitudes + dt * rate + spread * white[0]
    return moved, quadratures + dt * rate_quadrature + spread * white[1]


def truncated_wigner_stable_dt(point: OperatingPoint, pump: jax.Array | float) -> jax.Array:
    """Half the largest stable Euler step, a scalar: of c as in the mean field, or of s there."""
    gain = jnp.maximum(highest_gain(point, pump), 1)
    return jnp.minimum(0.5 / gain, 1 / (1 + jnp.abs(pump) + gain))


truncated_wigner = Variant(
    truncated_wigner_drift,
    truncated_wigner_diffusion,
    truncated_wigner_advance,
    truncated_wigner_stable_dt,
    num_noises=2,
    companion=0.0,
)


def gaussian_state_drift(
    point: OperatingPoint,
    amplitudes: jax.Array,
    variances: jax.Array,
    pump: jax.Array | float,
    measured: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Rates of x and V, (4) and (5), both [chains, spins], at measured y [chains, spins]."""
    loss = 1 + point.measurement
    squares = amplitudes**2
    fields = received(point.params, measured, point.coupling, point.bound, amplitudes)
    rate = (pump - loss - squares) * amplitudes + fields
    gain = 2 * (pump - loss - 3 * squares) * variances
    learnt = 2 * point.measurement * (variances - VACUUM) ** 2
    return rate, gain - learnt + loss + 2 * squares


def gaussian_state_diffusion(
    point: OperatingPoint, variances: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Factors of dB: g sqrt(j) (V - 1/2) [chains, spins] in (4), g/sqrt(4 j) in y dt, (6)."""
    root = jnp.sqrt(point.measurement)
    return point.noise * root * (variances - VACUUM), point.noise / (2 * root)


def gaussian_state_advance(
    white: jax.Array,
    point: OperatingPoint,
    amplitudes: jax.Array,
    variances: jax.Array,
    pump: jax.Array | float,
    dt: jax.Array | float,
) -> tuple[jax.Array, jax.Array]:
    """One step of (4) and (5), weak order 1, with white noise [1, chains, spins].

    Euler-Maruyama for x. The loss of V, 2 (1 + j + 3 x^2) V, is stiff where noise drives x far out,
    and is taken at the end of the step.
    """
    backaction, measurement_noise = gaussian_state_diffusion(point, variances)
    measured = amplitudes + measurement_noise * white[0] / jnp.sqrt(dt)
    rate, rate_variance = gaussian_state_drift(point, amplitudes, variances, pump, measured)
    rate = conditioned(point, rate, dt)
    moved = amplitudes + dt * rate + jnp.sqrt(dt) * backaction * white[0]
    stiff = 2 * (1 + point.measurement + 3 * amplitudes**2)
    return moved, variances + dt * rate_variance / (1 + dt * stiff)


def gaussian_state_stable_dt(point: OperatingPoint, pump: jax.Array | float) -> jax.Array:
    """Half of that of the mean field, a scalar, with the loss by measurement.

    The noise of the measurement comes through the couplings and drives x beyond its rest.
    """
    return 0.25 / jnp.maximum(highest_gain(point, pump - point.measurement), 1)


gaussian_state = Variant(
    gaussian_state_drift,
    gaussian_state_diffusion,
    gaussian_state_advance,
    gaussian_state_stable_dt,
    num_noises=1,
    companion=VACUUM,
)

VARIANTS = {
    "mean_field": mean_field,
    "truncated_wigner": truncated_wigner,
    "gaussian_state": gaussian_state,
}
