"""The coherent Ising machine: annealed stochastic equations of amplitudes, a heuristic in law.

Three variants of the CIM, whose equations stand in `equations`: `mean_field`, `truncated_wigner`
and `gaussian_state`. The pump p(t) is ramped from below threshold, couplings act as feedback, and
spins are the signs of amplitudes. At finite pump their law is not the Boltzmann law: amplitudes
differ, the ramp freezes, and the temperature of draws has to be measured. Hence the input scale of
`calibrated`: parameters are multiplied by it before they are sent, and it is moved until the draws
fit beta_eff = 1.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.runtime.options import documented, field, finite, optional, positive, whole
from qbm_jax.samplers.base import Info, Sampler, from_kernel
from qbm_jax.samplers.cim.equations import VARIANTS
from qbm_jax.samplers.cim.feedback import OperatingPoint, tuned
from qbm_jax.samplers.numerics.noise import white
from qbm_jax.samplers.numerics.readout import signs
from qbm_jax.samplers.options import Amplitudes, Number, chosen, number

_START_AMPLITUDE = 0.01  # of the vacuum; forgotten while the pump is below threshold


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


class CimNumbers(NamedTuple):
    """What a CIM is set to, as fields of `CimOptions`."""

    num_steps: int
    dt: Number
    pump_start: Number
    pump_end: Number
    coupling: Number
    noise: Number
    measurement: Number = 1.0  # of Gaussian states alone


# The numbers of each variant where `cim` is given none, for sampling.
SAMPLING = {
    "mean_field": CimNumbers(400, 0.15, pump_start=0.5, pump_end=2.0, coupling=0.18, noise=0.6),
    "truncated_wigner": CimNumbers(
        400, 0.15, pump_start=0.5, pump_end=2.0, coupling=0.2, noise=0.5
    ),
    "gaussian_state": CimNumbers(
        500, 0.08, pump_start=0.5, pump_end=3.5, coupling=0.5, noise=1.2, measurement=1.5
    ),
}

_SOURCES = {
    "mean_field": "Tiunov, Ulanov and Lvovsky 2019, arXiv 1901.08927",
    "truncated_wigner": "Wang et al. 2013, Phys. Rev. A 88, 063853",
    "gaussian_state": "Kako et al. 2020, arXiv 2005.10895",
}
_OPTIMISING: dict[str, Any] = {
    "num_steps": 1000, "dt": 0.1, "pump_start": -3.0, "pump_end": 1.0, "coupling": 4.0,
    "normalised": True, "calibration_gain": 0.0, "finishing_sweeps": 20,
}  # fmt: skip
_GAUSSIAN = {"num_steps": 2000, "pump_end": 1.5, "noise": 0.3, "measurement": 0.5}
# Whole sets of options with which each variant looks for ground states.
OPTIMISING: dict[str, dict[str, Any]] = {
    "mean_field": _OPTIMISING | {"variant": "mean_field", "noise": 0.4},
    "truncated_wigner": _OPTIMISING | {"variant": "truncated_wigner", "noise": 0.5},
    "gaussian_state": _OPTIMISING | {"variant": "gaussian_state"} | _GAUSSIAN,
}


@documented
@dataclasses.dataclass(frozen=True)
class CimOptions(Amplitudes):
    """Options of `cim`. Where numbers are None they are those of `SAMPLING[variant]`.

    The threshold of the pump is 1, of Gaussian states 1 + j; g is 1/A_s.
    """

    variant: str = chosen(
        "mean_field",
        VARIANTS,
        "which equations",
        source="; ".join(f"{variant}: {paper}" for variant, paper in _SOURCES.items()),
    )
    num_steps: int | None = field(None, optional(whole(1)), "Euler-Maruyama steps of a draw")
    dt: float | None = number(None, positive(), "time step", unit="the amplitude's lifetime")
    pump_start: float | None = number(None, finite(), "pump at the start of the linear ramp")
    pump_end: float | None = number(None, finite(), "pump at its end")
    coupling: float | None = number(None, positive(), "eps", source="that of variant")
    noise: float | None = number(
        None, positive(), "sigma of the mean field; g of the others", source="that of variant"
    )
    measurement: float | None = number(
        None, positive(), "j, of Gaussian states alone", source=_SOURCES["gaussian_state"]
    )

    @property
    def numbers(self) -> CimNumbers:
        """Those given, and of the variant for sampling the others."""
        given = {name: getattr(self, name) for name in CimNumbers._fields}
        given = {name: value for name, value in given.items() if value is not None}
        return SAMPLING[self.variant]._replace(**given)


def cim(options: CimOptions) -> Sampler:
    """An anneal a draw, from vacuum; only the calibrated input scale persists between draws.

    Info has what `calibrated` reports. If dt is too large the amplitudes diverge: the draw is NaN,
    `is_finite` is False, `diverged_at` and `stable_dt` say when and what would be stable.
    Its numbers may be traced arrays, so that one `vmap` scans a calibration grid.
    `OPTIMISING[variant]` has whole sets of options with which the variant looks for ground states.
    """
    variant, numbers = VARIANTS[options.variant], options.numbers
    num_steps, dt, pump_start, pump_end, coupling, noise_level, measurement = numbers

    def prepare(params: Boltzmann) -> OperatingPoint:
        return tuned(
            params, coupling, noise_level, measurement, options.normalised,
            options.couplings_dtype,
        )  # fmt: skip

    def vacuum(key: jax.Array, shape: tuple[int, int]) -> CimState:
        amplitudes = _START_AMPLITUDE * jax.random.normal(key, shape, jnp.float32)
        value = variant.companion
        companion = None if value is None else jnp.full(shape, value, jnp.float32)
        return CimState(amplitudes=amplitudes, companion=companion, step=jnp.int32(0))

    def kernel(key: jax.Array, point: OperatingPoint, state: CimState) -> CimState:
        ramp = jnp.minimum(state.step.astype(jnp.float32) / num_steps, 1)
        pump = pump_start + (pump_end - pump_start) * ramp
        noise = white(key, (variant.num_noises, *state.amplitudes.shape), options.noise_law)
        moved = variant.advance(noise, point, state.amplitudes, state.companion, pump, dt)
        amplitudes, companion = jax.tree.map(lambda array: array.astype(jnp.float32), moved)
        return CimState(amplitudes=amplitudes, companion=companion, step=state.step + 1)

    def report(point: OperatingPoint) -> Info:
        return {"stable_dt": variant.stable_dt(point, jnp.maximum(pump_start, pump_end))}

    return from_kernel(
        init=lambda key, params, num_chains: vacuum(key, (num_chains, params.num_spins)),
        prepare=prepare,
        kernel=kernel,
        readout=lambda state: signs(state.amplitudes),
        num_steps=num_steps,
        targets_boltzmann=False,
        restart=lambda key, state: vacuum(key, state.amplitudes.shape),
        amplitudes=lambda state: state.amplitudes,
        report=report,
    )
