"""The coherent Ising machine: annealed stochastic equations of amplitudes, a heuristic in law.

Three machines of one kind, whose equations stand in `equations`: `mean_field`, `truncated_wigner`
and `gaussian_state`. The pump p(t) is ramped from below threshold, couplings act as feedback, and
spins are the signs of amplitudes. At finite pump their law is not the Boltzmann law: amplitudes
differ, the ramp freezes, and the machine's temperature has to be measured. Hence the input scale of
`calibrated`: parameters are multiplied by it before they are sent, and it is moved until the draws
fit beta_eff = 1.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from qbm_jax.errors import InputError
from qbm_jax.machine import couplings
from qbm_jax.samplers.base import Sampler, check_positive, from_kernel, is_concrete
from qbm_jax.samplers.cim import gaussian_state, mean_field, truncated_wigner
from qbm_jax.samplers.cim.equations import VACUUM
from qbm_jax.samplers.cim.feedback import check_normalised, tuned
from qbm_jax.samplers.descended import finished
from qbm_jax.samplers.numerics.noise import Law, check_law, white
from qbm_jax.samplers.numerics.readout import signs
from qbm_jax.samplers.wrappers.gauge import through_gauge_spin

Variant = Literal["mean_field", "truncated_wigner", "gaussian_state"]
_START_AMPLITUDE = 0.01  # of the vacuum; forgotten while the pump is below threshold
FIELDS = ("scaled", "gauge_spin")


class CimState(struct.PyTreeNode):
    """Amplitudes and what goes with them, and time steps since the draw began: the pump's clock.

    Attributes:
      amplitudes: [chains, spins]; spins are their signs.
      companion: [chains, spins], quadratures (truncated_wigner) or variances (gaussian_state), or
        None (mean_field).
      step: int32.
    """

    amplitudes: jax.Array
    companion: jax.Array | None
    step: jax.Array


class _Machine(NamedTuple):
    """One variant: functions of its file, noises a step, and the companion of the vacuum."""

    advance: Callable[..., tuple[jax.Array, jax.Array | None]]
    stable_dt: Callable[..., jax.Array]
    num_noises: int
    companion: float | None


MACHINES = {
    "mean_field": _Machine(mean_field.advance, mean_field.stable_dt, 1, None),
    "truncated_wigner": _Machine(truncated_wigner.advance, truncated_wigner.stable_dt, 2, 0.0),
    "gaussian_state": _Machine(gaussian_state.advance, gaussian_state.stable_dt, 1, VACUUM),
}

# The numbers of each machine where `cim` is given none, for sampling.
SAMPLING = {
    "mean_field": {
        "num_steps": 400,
        "dt": 0.15,
        "pump_start": 0.5,
        "pump_end": 2.0,
        "coupling": 0.18,
        "noise": 0.6,
        "measurement": 1.0,  # not used
    },
    "truncated_wigner": {
        "num_steps": 400,
        "dt": 0.15,
        "pump_start": 0.5,
        "pump_end": 2.0,
        "coupling": 0.2,
        "noise": 0.5,
        "measurement": 1.0,  # not used
    },
    "gaussian_state": {
        "num_steps": 500,
        "dt": 0.08,
        "pump_start": 0.5,
        "pump_end": 3.5,
        "coupling": 0.5,
        "noise": 1.2,
        "measurement": 1.5,
    },
}

# Whole sets of options with which each machine looks for ground states.
OPTIMISING = {
    "mean_field": {
        "variant": "mean_field",
        "num_steps": 1000,
        "dt": 0.1,
        "pump_start": -3.0,
        "pump_end": 1.0,
        "coupling": 4.0,
        "noise": 0.4,
        "normalised": True,
        "calibration_gain": 0.0,
        "finishing_sweeps": 20,
    },
    "truncated_wigner": {
        "variant": "truncated_wigner",
        "num_steps": 1000,
        "dt": 0.1,
        "pump_start": -3.0,
        "pump_end": 1.0,
        "coupling": 4.0,
        "noise": 0.5,
        "normalised": True,
        "calibration_gain": 0.0,
        "finishing_sweeps": 20,
    },
    "gaussian_state": {
        "variant": "gaussian_state",
        "num_steps": 2000,
        "dt": 0.1,
        "pump_start": -3.0,
        "pump_end": 1.5,
        "coupling": 4.0,
        "noise": 0.3,
        "measurement": 0.5,
        "normalised": True,
        "calibration_gain": 0.0,
        "finishing_sweeps": 20,
    },
}


def cim(
    variant: Variant = "mean_field",
    num_steps: int | None = None,
    dt: jax.Array | float | None = None,
    pump_start: jax.Array | float | None = None,
    pump_end: jax.Array | float | None = None,
    coupling: jax.Array | float | None = None,
    noise: jax.Array | float | None = None,
    measurement: jax.Array | float | None = None,
    fields: Literal["scaled", "gauge_spin"] = "scaled",
    normalised: bool = False,
    calibration_gain: float = 0.3,
    finishing_sweeps: int = 0,
    couplings_dtype: couplings.Dtype = "float32",
    noise_law: Law = "normal",
    noise_generator: str | None = None,
) -> Sampler:
    """An anneal a draw, from vacuum; only the calibrated input scale persists between draws.

    Info has what `calibrated` reports. If dt is too large the amplitudes diverge: the draw is NaN,
    `is_finite` is False, `diverged_at` and `stable_dt` say when and what would be stable.
    The machine's numbers may be traced arrays, so that one `vmap` scans a calibration grid. Where
    they are None they are those of `SAMPLING[variant]`; `OPTIMISING[variant]` has whole sets of
    options with which the machine looks for ground states.

    Args:
      variant: which machine.
      num_steps: Euler-Maruyama steps of a draw.
      dt: time step, in units of the amplitude's lifetime.
      pump_start: pump at the start of the linear ramp; the threshold is 1 (1 + j for Gaussian
        states).
      pump_end: pump at its end.
      coupling: eps.
      noise: sigma of the mean field; g = 1/A_s of the others.
      measurement: j, of Gaussian states alone.
      fields: h as a field scaled by the rms amplitude, or as couplings to one more spin
        (`gauge.through_gauge_spin`), for machines without fields.
      normalised: fields in units of the typical field of each spin (`conditioning`), so that eps
        and noise mean the same at any N, any scale of J and with a mean; for optimising. The
        temperature is then lost: nothing is calibrated.
      calibration_gain: see `calibrated`; 0 is the machine as it is, and a must if normalised.
      finishing_sweeps: Gibbs sweeps from the machine's spins, in `sample` alone; rounds of a
        descent at T = 0 if normalised.
      couplings_dtype: of the products, see `couplings.reduced`; energies are those of float32.
      noise_law: see `noise.white`.
      noise_generator: see `from_kernel`.

    Raises:
      InputError: an option out of its range.
    """
    if variant not in MACHINES:
        raise InputError(f"expected variant in {list(MACHINES)}, got {variant!r}")
    if fields not in FIELDS:
        raise InputError(f"expected fields in {list(FIELDS)}, got {fields!r}")
    check_law(noise_law)
    couplings.check_dtype(couplings_dtype)
    given = {
        "num_steps": num_steps,
        "dt": dt,
        "pump_start": pump_start,
        "pump_end": pump_end,
        "coupling": coupling,
        "noise": noise,
        "measurement": measurement,
    }
    numbers = SAMPLING[variant] | {k: v for k, v in given.items() if v is not None}
    check_normalised(normalised, calibration_gain)
    check_positive(**{name: numbers[name] for name in ("dt", "coupling", "noise", "measurement")})
    pumps = numbers["pump_start"], numbers["pump_end"]
    if is_concrete(*pumps) and not np.all(np.isfinite(np.asarray(pumps))):
        raise InputError(f"expected finite pump_start and pump_end, got {pumps[0]} and {pumps[1]}")
    machine = _machine(
        MACHINES[variant], numbers, normalised, couplings_dtype, noise_law, noise_generator
    )
    if fields == "gauge_spin":
        machine = through_gauge_spin(machine)
    return finished(machine, normalised, calibration_gain, finishing_sweeps)


def _machine(
    machine: _Machine,
    numbers: dict[str, Any],
    normalised: bool,
    couplings_dtype: couplings.Dtype,
    noise_law: Law,
    noise_generator: str | None,
) -> Sampler:
    """The annealed machine, uncalibrated, with fields scaled by the rms amplitude."""
    num_steps, dt = numbers["num_steps"], numbers["dt"]
    pump_start, pump_end = numbers["pump_start"], numbers["pump_end"]

    def prepare(params):
        levels = (numbers[name] for name in ("coupling", "noise", "measurement"))
        return tuned(params, *levels, normalised, couplings_dtype)

    def vacuum(key, shape):
        amplitudes = _START_AMPLITUDE * jax.random.normal(key, shape, jnp.float32)
        companion = machine.companion
        if companion is not None:
            companion = jnp.full(shape, companion, jnp.float32)
        return CimState(amplitudes=amplitudes, companion=companion, step=jnp.int32(0))

    def kernel(key, setting, state):
        ramp = jnp.minimum(state.step.astype(jnp.float32) / num_steps, 1)
        pump = pump_start + (pump_end - pump_start) * ramp
        noise = white(key, (machine.num_noises, *state.amplitudes.shape), noise_law)
        moved = machine.advance(noise, setting, state.amplitudes, state.companion, pump, dt)
        amplitudes, companion = jax.tree.map(lambda array: array.astype(jnp.float32), moved)
        return CimState(amplitudes=amplitudes, companion=companion, step=state.step + 1)

    return from_kernel(
        init=lambda key, params, num_chains: vacuum(key, (num_chains, params.num_spins)),
        prepare=prepare,
        kernel=kernel,
        readout=lambda state: signs(state.amplitudes),
        num_steps=num_steps,
        targets_boltzmann=False,
        restart=lambda key, state: vacuum(key, state.amplitudes.shape),
        amplitudes=lambda state: state.amplitudes,
        stable_dt=lambda setting: machine.stable_dt(setting, jnp.maximum(pump_start, pump_end)),
        noise_generator=noise_generator,
    )
