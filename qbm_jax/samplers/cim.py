"""Mean-field coherent Ising machine: an annealed SDE of amplitudes, a heuristic in law.

SimCIM (Tiunov, Ulanov and Lvovsky 2019, arXiv 1901.08927, Optics Express 27, 10288) with the cubic
saturation of the mean-field equation in place of its clipping:

    dx = [(p(t) - 1) x - x^3 + eps (J x + h a)] dt + sigma dB,    s = sign(x).

a is the rms amplitude of the chain, so that fields scale with the spins. Far above threshold all
|x_i| are equal, and the stationary law of the signs is the Boltzmann law of 2 eps a^2/sigma^2 times
the parameters sent to the machine. At finite pump it is not: the amplitudes differ, the ramp
freezes, and the machine's temperature has to be measured. Hence the input scale: parameters are
multiplied by it before they are sent, and it is moved until the draws fit beta_eff = 1.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from qbm_jax import calibration
from qbm_jax.boltzmann import Boltzmann, local_field, scale
from qbm_jax.errors import InputError
from qbm_jax.samplers import spectrum
from qbm_jax.samplers.base import (
    Sampler,
    check_count,
    check_positive,
    draw_info,
    from_kernel,
    is_concrete,
)
from qbm_jax.samplers.gibbs import GibbsState, gibbs

_CALIBRATION_ROUNDS = 8
_MAX_LOG_SCALE = 4.0  # input scales from 1/55 to 55
_STRONGEST_DRIVE = 2.0  # of eps (|J| + max |h|): keeps dt = 0.15 stable, see `_prepare`
_START_AMPLITUDE = 0.01  # of the vacuum; forgotten while the pump is below threshold


class CimState(struct.PyTreeNode):
    """Amplitudes and clock of a draw, and what persists between draws.

    Attributes:
      amplitudes: x [chains, spins].
      step: time steps since the draw began; the pump is a function of it.
      log_input_scale: log of the factor on parameters sent to the machine.
    """

    amplitudes: jax.Array
    step: jax.Array
    log_input_scale: jax.Array


class Prepared(struct.PyTreeNode):
    """What the machine is set to for one draw: parameters, eps and sigma."""

    params: Boltzmann
    coupling: jax.Array
    noise: jax.Array


def drift(
    params: Boltzmann, amplitudes: jax.Array, pump: jax.Array | float, coupling: jax.Array | float
) -> jax.Array:
    """(p - 1) x - x^3 + eps (J x + h a) for amplitudes x [chains, spins], a rate per unit time."""
    rms = jnp.sqrt(jnp.mean(amplitudes**2, axis=-1, keepdims=True))
    rms = jnp.maximum(rms, jnp.finfo(amplitudes.dtype).tiny)
    feedback = rms * local_field(params, amplitudes / rms)  # J x + h a
    return (pump - 1) * amplitudes - amplitudes**3 + coupling * feedback


def diffusion(amplitudes: jax.Array, noise: jax.Array | float) -> jax.Array:
    """The noise sigma for all amplitudes [chains, spins]; additive: Ito and Stratonovich agree."""
    return jnp.full_like(amplitudes, noise)


def euler_maruyama(
    key: jax.Array,
    params: Boltzmann,
    amplitudes: jax.Array,
    pump: jax.Array | float,
    coupling: jax.Array | float,
    noise: jax.Array | float,
    dt: jax.Array | float,
) -> jax.Array:
    """One step of the SDE (weak order 1; strong order 1 too, as the noise is additive)."""
    white = jax.random.normal(key, amplitudes.shape, amplitudes.dtype)
    drifted = amplitudes + dt * drift(params, amplitudes, pump, coupling)
    return drifted + jnp.sqrt(dt) * diffusion(amplitudes, noise) * white


def cim(
    num_steps: int = 400,
    dt: jax.Array | float = 0.15,
    pump_start: jax.Array | float = 0.5,
    pump_end: jax.Array | float = 2.0,
    coupling: jax.Array | float = 0.18,
    noise: jax.Array | float = 0.6,
    calibration_gain: float = 0.3,
    finishing_sweeps: int = 0,
) -> Sampler:
    """An anneal a draw, from vacuum; only the calibrated input scale persists between draws.

    Info has `beta_eff`, the inverse temperature of the machine's draw against the parameters asked
    for, and `input_scale`, the factor with which that draw's parameters were sent. If dt is too
    large the amplitudes diverge: the draw is NaN, `is_finite` is False, the input scale stays.
    The machine's five numbers may be traced arrays, so that one `vmap` scans a calibration grid.

    Defaults from a grid on 10 spins with couplings of s.d. 1/sqrt(10): wells deep enough for
    similar amplitudes, shallow enough to be left during the ramp.

    Args:
      num_steps: Euler-Maruyama steps of a draw.
      dt: time step, in units of the amplitude's lifetime.
      pump_start: pump at the start of the linear ramp; the threshold is 1.
      pump_end: pump at its end.
      coupling: eps. The default is noise^2 / (2 (pump_end - 1)), at which input scale 1 would be
        right for wells far deeper than these.
      noise: sigma.
      calibration_gain: share of log beta_eff by which log input scale moves after each draw, in
        [0, 1]. With 0 nothing is calibrated and the input scale stays 1; else `init` calibrates
        with a few draws.
      finishing_sweeps: Gibbs sweeps from the machine's spins, in `sample` alone.

    Raises:
      InputError: a number out of its range.
    """
    check_positive(dt=dt, coupling=coupling, noise=noise)
    _check_options(pump_start, pump_end, calibration_gain, finishing_sweeps)

    def kernel(key, prepared, state):
        ramp = jnp.minimum(state.step.astype(jnp.float32) / num_steps, 1)
        pump = pump_start + (pump_end - pump_start) * ramp
        amplitudes = euler_maruyama(
            key, prepared.params, state.amplitudes, pump, prepared.coupling, prepared.noise, dt
        )
        return state.replace(amplitudes=amplitudes.astype(jnp.float32), step=state.step + 1)

    machine = from_kernel(
        init=_init_vacuum,
        prepare=lambda params: _prepare(params, coupling, noise),
        kernel=kernel,
        readout=_readout,
        num_steps=num_steps,
        targets_boltzmann=False,
        restart=_restart,
    )
    return _calibrated(machine, calibration_gain, finishing_sweeps)


def _calibrated(machine: Sampler, gain: float, finishing_sweeps: int) -> Sampler:
    """The machine with its input scale, moved towards beta_eff = 1 after each draw."""

    def draw(key, params, state, gain):
        input_scale = jnp.exp(state.log_input_scale)
        spins, state, _ = machine.sample(key, scale(params, input_scale), state)
        beta_eff = calibration.fit_beta(params, spins)
        moved = state.log_input_scale - gain * jnp.log(beta_eff)
        moved = jnp.clip(moved, -_MAX_LOG_SCALE, _MAX_LOG_SCALE)
        moved = jnp.where(jnp.isfinite(moved), moved, state.log_input_scale)
        info = {"beta_eff": beta_eff, "input_scale": input_scale}
        return spins, state.replace(log_input_scale=moved.astype(jnp.float32)), info

    def init(key, params, num_chains):
        key_init, key_rounds = jax.random.split(key)
        state = machine.init(key_init, params, num_chains)
        if gain == 0:
            return state
        # Gains 1, 1/2, 1/3, ...: Newton's step first, then the mean over rounds.
        gains = jnp.maximum(1 / (1 + jnp.arange(_CALIBRATION_ROUNDS)), gain)
        keys = jax.random.split(key_rounds, _CALIBRATION_ROUNDS)
        rounds = (keys, gains)
        return jax.lax.scan(lambda s, x: (draw(x[0], params, s, x[1])[1], None), state, rounds)[0]

    def step(key, params, state):
        input_scale = jnp.exp(state.log_input_scale)
        state, _ = machine.step(key, scale(params, input_scale), state)
        return state, draw_info(params, _readout(state)) | {"input_scale": input_scale}

    def sample(key, params, state):
        key_draw, key_finish = jax.random.split(key)
        spins, state, info = draw(key_draw, params, state, gain)
        if finishing_sweeps:
            finished, _, _ = gibbs(finishing_sweeps).sample(
                key_finish, params, GibbsState(spins=spins.T)
            )
            spins = jnp.where(jnp.isfinite(spins), finished, jnp.nan)
        return spins, state, draw_info(params, spins) | info

    return Sampler(init, step, sample, targets_boltzmann=False)


def _init_vacuum(key: jax.Array, params: Boltzmann, num_chains: int) -> CimState:
    return CimState(
        amplitudes=_vacuum(key, (num_chains, params.num_spins)),
        step=jnp.int32(0),
        log_input_scale=jnp.float32(0),
    )


def _restart(key: jax.Array, state: CimState) -> CimState:
    return state.replace(amplitudes=_vacuum(key, state.amplitudes.shape), step=jnp.int32(0))


def _vacuum(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return _START_AMPLITUDE * jax.random.normal(key, shape, jnp.float32)


def _readout(state: CimState) -> jax.Array:
    spins = jnp.where(state.amplitudes >= 0, 1, -1).astype(jnp.float32)
    return jnp.where(jnp.isfinite(state.amplitudes), spins, jnp.nan)


def _prepare(params: Boltzmann, coupling: jax.Array | float, noise: jax.Array | float) -> Prepared:
    """Divides eps and sigma^2 by one factor where the couplings would overwhelm the saturation.

    The law depends on eps/sigma^2, so its temperature stays.
    """
    lower, upper = spectrum.eigenvalue_bounds(params.J)
    drive = coupling * (jnp.maximum(-lower, upper) + jnp.max(jnp.abs(params.h)))
    excess = jnp.maximum(drive / _STRONGEST_DRIVE, 1)
    return Prepared(params, coupling / excess, noise / jnp.sqrt(excess))


def _check_options(pump_start, pump_end, calibration_gain, finishing_sweeps) -> None:
    if is_concrete(pump_start, pump_end) and not np.all(np.isfinite([pump_start, pump_end])):
        raise InputError(f"expected finite pumps, got {pump_start} and {pump_end}")
    if not 0 <= calibration_gain <= 1:
        raise InputError(f"expected calibration_gain in [0, 1], got {calibration_gain}")
    if finishing_sweeps != 0:
        check_count(finishing_sweeps=finishing_sweeps)
