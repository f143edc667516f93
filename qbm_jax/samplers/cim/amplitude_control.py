"""Coherent Ising machines with error correction: every spin's feedback has its own gain.

Where amplitudes differ, a coherent Ising machine minimises something other than the energy. Error
variables e_i > 0, one a spin, grow where the controlled quantity is below its target, and make the
machine leave every state that is not consistent with it: it wanders among low energies instead of
resting in one. With J' = J/norm and h' = h/norm, norm the typical field,

    z_i = xi e_i (J' x + h' a)_i,    dx_i = [(p(t) - 1) x_i - x_i^3 + z_i] dt + sigma dB_i,
    chaotic amplitude control (CAC):  de_i/dt = -beta e_i (x_i^2 - alpha),
    chaotic feedback control (CFC):   de_i/dt = -beta e_i (z_i^2 - alpha).

CAC: Leleu, Yamamoto, McMahon and Aihara 2019, Phys. Rev. Lett. 122, 040607; Leleu et al. 2021,
Commun. Phys. 4, 266. Both side by side: Reifenstein, Kako, Khoyratee, Leleu and Yamamoto 2021,
arXiv 2108.07369, equations of CIM-CAC and CIM-CFC, there without fields and for the opposite sign
of J. Here errors are kept within a range, log e_i is what is integrated, and a is the rms
amplitude.

Both are optimisers by design: their dynamics is not relaxation in any potential, and no choice of
numbers makes their law the Boltzmann law. As samplers they need the noise sigma: since e undoes any
scale of J, it is noise^2 that is divided by the norm of the parameters sent, so that `calibrated`
can move the temperature. What is left after that has to be measured.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.machine import couplings
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.runtime.options import documented, field, finite, not_negative, positive, real
from qbm_jax.samplers.base import Sampler, from_kernel
from qbm_jax.samplers.cim.feedback import feedback, rms_amplitude
from qbm_jax.samplers.conditioning import Conditioning, conditioning, damp
from qbm_jax.samplers.numerics.noise import white
from qbm_jax.samplers.numerics.readout import signs
from qbm_jax.samplers.options import (
    Calibration,
    Generator,
    Products,
    count,
    noise_law,
    number,
)

_SOURCE = (
    "Leleu et al. 2019, Phys. Rev. Lett. 122, 040607; Leleu et al. 2021, Commun. Phys. 4, 266; "
    "Reifenstein et al. 2021, arXiv 2108.07369"
)
_START_AMPLITUDE = 0.01
_LARGEST_RECEIVED = 16.0  # of the rms amplitude; a spin whose feedback is beyond is held anyway
_SMALLEST_NORM = (
    1 / 64
)  # of the typical field, in units of kT: bounds the noise where J and h are 0


class ControlState(struct.PyTreeNode):
    """Amplitudes and errors, the best spins so far if they are kept, and the pump's clock.

    Attributes:
      amplitudes: [chains, spins]; spins are their signs.
      errors: e [chains, spins], above 0.
      best: spins of lowest energy in this draw [chains, spins], or None.
      best_energy: theirs [chains], or None.
      step: int32, since the draw began.
    """

    amplitudes: jax.Array
    errors: jax.Array
    best: jax.Array | None
    best_energy: jax.Array | None
    step: jax.Array


class ControlPoint(struct.PyTreeNode):
    """One draw's constants: parameters as they came, the same divided by norm, and sigma.

    Where the best spins are kept, as for optimising, `conditions` has each spin's typical field,
    and nothing is divided before.
    """

    params: Boltzmann
    normalised: Boltzmann
    noise: jax.Array
    conditions: Conditioning | None


def control_feedback(
    normalised: Boltzmann, amplitudes: jax.Array, errors: jax.Array, coupling: jax.Array | float
) -> jax.Array:
    """z_i = xi e_i (J' x + h' a)_i [chains, spins]: what couplings send to each amplitude."""
    return coupling * errors * feedback(normalised, amplitudes, rms_amplitude(amplitudes))


def drift(amplitudes: jax.Array, received: jax.Array, pump: jax.Array | float) -> jax.Array:
    """(p - 1) x - x^3 + z of amplitudes x and feedback z [chains, spins], per unit time."""
    return (pump - 1) * amplitudes - amplitudes**3 + received


def error_rate(
    controlled: jax.Array, target: jax.Array | float, rate: jax.Array | float
) -> jax.Array:
    """The rate of log e, -beta (u^2 - alpha), u [chains, spins] amplitudes or feedback (CFC)."""
    return -rate * (controlled**2 - target)


def diffusion(amplitudes: jax.Array, noise: jax.Array | float) -> jax.Array:
    """sigma, for all amplitudes [chains, spins]; the errors have no noise of their own."""
    return jnp.full_like(amplitudes, noise)


def advance(
    white: jax.Array,
    amplitudes: jax.Array,
    received: jax.Array,
    pump: jax.Array | float,
    noise: jax.Array | float,
    dt: jax.Array | float,
) -> jax.Array:
    """One step of x (weak order 1) with white noise and feedback z [chains, spins].

    Euler-Maruyama, with the saturation -x^2 x taken at the end of the step: errors send spins far
    out, where an explicit step would diverge. Twice the dt, and no dt diverges.
    """
    moved = amplitudes + dt * drift(amplitudes, received, pump) / (1 + dt * amplitudes**2)
    return moved + jnp.sqrt(dt) * diffusion(amplitudes, noise) * white


_OPTIMISING: dict[str, Any] = {
    "num_steps": 1000, "pump_end": 1.0, "target": 2.0, "noise": 0.0, "keep_best": 10,
    "calibration_gain": 0.0,
}  # fmt: skip
# Whole sets of options with which `cac` and `cfc` look for ground states.
OPTIMISING = {
    "cac": _OPTIMISING | {"dt": 0.2, "pump_start": -0.5, "coupling": 1.0, "rate": 0.3},
    "cfc": _OPTIMISING | {"dt": 0.3, "pump_start": -1.0, "coupling": 1.4, "rate": 0.2},
}


@documented
@dataclasses.dataclass(frozen=True)
class ControlOptions(Calibration, Products, Generator):
    """Options of `cac` and `cfc`.

    The defaults are for sampling: slow errors, close to the mean-field machine, because the faster
    the errors the further the law from the Boltzmann law. `OPTIMISING` is what the machine is made
    for. The typical field is sqrt(N) times the root mean square of J_ij (with h): with couplings
    and fields divided by it, xi is right at any N and any scale. sigma^2 goes down as it goes up.
    """

    num_steps: int = count(400, "steps of a draw")
    dt: float = number(0.1, positive(), "time step", unit="the amplitude's lifetime")
    pump_start: float = number(0.0, finite(), "pump p at the start of the linear ramp")
    pump_end: float = number(3.0, finite(), "pump at its end")
    coupling: float = number(0.3, positive(), "xi", unit="1/typical field", source=_SOURCE)
    target: float = number(1.0, positive(), "alpha", source=_SOURCE)
    rate: float = number(0.02, positive(), "beta", source=_SOURCE)
    noise: float = number(0.9, not_negative(), "sigma at a typical field of 1 kT; 0: to optimise")
    largest_error: float = field(8.0, real(1), "errors stay between 1 over this and this")
    keep_best: int = count(
        0, "steps between looks for the best spins, the last step's too; 0: the last are read", 0
    )
    noise_law: str = noise_law()


def error_control(controlled: Literal["amplitude", "feedback"], options: ControlOptions) -> Sampler:
    """The machine with error correction, as `cac` (amplitudes) or `cfc` (feedback).

    An anneal a draw, from vacuum; only the calibrated input scale persists between draws. Info has
    what `calibrated` reports. The numbers may be traced arrays. With `keep_best` the energy of the
    signs is computed every so many steps and after the last, at the cost of one more product in
    float32, and the best of the draw is read: for optimising; nothing calibrates that.

    Args:
      controlled: whose square errors hold at the target.
      options: of both.
    """

    def vacuum(key: jax.Array, shape: tuple[int, int]) -> ControlState:
        amplitudes = _START_AMPLITUDE * jax.random.normal(key, shape, jnp.float32)
        return ControlState(
            amplitudes=amplitudes,
            errors=jnp.ones(shape, jnp.float32),
            best=signs(amplitudes) if options.keep_best else None,
            best_energy=jnp.full(shape[:1], jnp.inf, jnp.float32) if options.keep_best else None,
            step=jnp.int32(0),
        )

    def kernel(key: jax.Array, point: ControlPoint, state: ControlState) -> ControlState:
        state = _step(key, point, state, controlled, options)
        if not options.keep_best:
            return state
        due = (state.step % options.keep_best == 0) | (state.step == options.num_steps)
        return jax.lax.cond(due, lambda s: _compare(point.params, s), lambda s: s, state)

    return from_kernel(
        init=lambda key, params, num_chains: vacuum(key, (num_chains, params.num_spins)),
        prepare=lambda params: _prepare(params, options),
        kernel=kernel,
        readout=_readout,
        num_steps=options.num_steps,
        targets_boltzmann=False,
        restart=lambda key, state: vacuum(key, state.amplitudes.shape),
        amplitudes=lambda state: state.amplitudes,
    )


def cac(options: ControlOptions) -> Sampler:
    """Chaotic amplitude control: errors hold the square of each amplitude at its target."""
    return error_control("amplitude", options)


def cfc(options: ControlOptions) -> Sampler:
    """Chaotic feedback control: errors hold the square of what each amplitude receives."""
    return error_control("feedback", options)


def _step(
    key: jax.Array,
    point: ControlPoint,
    state: ControlState,
    controlled: str,
    options: ControlOptions,
) -> ControlState:
    """One step of amplitudes and errors at the pump of its time."""
    x, errors, dt = state.amplitudes, state.errors, options.dt
    ramp = jnp.minimum(state.step.astype(jnp.float32) / options.num_steps, 1)
    pump = options.pump_start + (options.pump_end - options.pump_start) * ramp
    received = control_feedback(point.normalised, x, errors, options.coupling)
    if point.conditions is not None:
        received = received / point.conditions.unit[None, :]
        bound = _LARGEST_RECEIVED * rms_amplitude(x)
        received = jnp.clip(received, -bound, bound)
    held = x if controlled == "amplitude" else received
    growth = jnp.exp(dt * error_rate(held, options.target, options.rate))
    moved = advance(white(key, x.shape, options.noise_law), x, received, pump, point.noise, dt)
    if point.conditions is not None:
        moved = x + damp(point.conditions, moved - x, dt * options.coupling, errors, True)
    errors = jnp.clip(errors * growth, 1 / options.largest_error, options.largest_error)
    return state.replace(
        amplitudes=moved.astype(jnp.float32),
        errors=errors.astype(jnp.float32),
        step=state.step + 1,
    )


def _prepare(params: Boltzmann, options: ControlOptions) -> ControlPoint:
    noise, couplings_dtype = options.noise, options.couplings_dtype
    if options.keep_best:
        reduced = couplings.reduced(params, couplings_dtype)
        return ControlPoint(params, reduced, jnp.float32(noise), conditioning(params))
    typical = couplings.root_mean_square(params.J) ** 2 * params.num_spins
    norm = jnp.maximum(jnp.sqrt(typical + jnp.mean(params.h**2)), _SMALLEST_NORM)
    normalised = Boltzmann(J=params.J * (1 / norm), h=params.h / norm)
    reduced = couplings.reduced(normalised, couplings_dtype)
    return ControlPoint(params, reduced, noise / jnp.sqrt(norm), conditions=None)


def _compare(params: Boltzmann, state: ControlState) -> ControlState:
    """The state with its best spins replaced where those of its amplitudes have lower energy."""
    assert state.best is not None and state.best_energy is not None, "of keep_best"
    spins = signs(state.amplitudes)
    energies = energy(params, spins)
    better = energies < state.best_energy
    return state.replace(
        best=jnp.where(better[:, None], spins, state.best),
        best_energy=jnp.where(better, energies, state.best_energy),
    )


def _readout(state: ControlState) -> jax.Array:
    spins = signs(state.amplitudes)
    return spins if state.best is None else jnp.where(jnp.isnan(spins), spins, state.best)
