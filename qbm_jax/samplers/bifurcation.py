"""Simulated bifurcation, a heuristic in law: its options and its draws.

Numbers in brackets are those of the equations in `oscillators`.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.errors import InputError
from qbm_jax.machine import couplings
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.sign_couplings import either_couplings, sign_couplings
from qbm_jax.runtime.options import documented, field, flag, positive, real
from qbm_jax.samplers.base import Sampler, from_kernel
from qbm_jax.samplers.conditioning import Conditioning, conditioning, damp
from qbm_jax.samplers.options import Generator, Normalised, Number, chosen, count, number
from qbm_jax.samplers.oscillators import (
    ballistic_fields,
    discrete_fields,
    force,
    langevin_step,
    sign,
    symplectic_euler,
    walls,
)

VARIANTS = ("ballistic", "discrete", "langevin")
_NORMALISED: dict[str, Any] = {"normalised": True, "calibration_gain": 0.0}
_DISCRETE = _NORMALISED | {"variant": "discrete", "num_steps": 2000, "keep_best": True}
# Whole sets of options with which each variant looks for ground states. With this coupling several
# modes of the ballistic machine grow from the start: chains end in different places.
OPTIMISING: dict[str, dict[str, Any]] = {
    # dt was chosen on an SK machine of 2000 spins, the number of steps after runs on K2000, whose
    # figures are therefore not held out: about 1 ms a step of 32 chains on two cores.
    "discrete": _DISCRETE | {"dt": 1.25, "num_steps": 4000, "couplings_dtype": "auto"},
    "ballistic": _NORMALISED
    | {"variant": "ballistic", "num_steps": 500, "dt": 0.5, "coupling": 1.0},
    "langevin": _DISCRETE | {"variant": "langevin", "coupling": 3.0},
}
_GOTO = "Goto et al. 2021, Science Advances 7, eabe7953"
_KUBO = "Kubo and Goto 2025, arXiv 2512.02323"
_START = 0.1  # positions and momenta start uniform in -0.1 to 0.1 (Goto et al. 2021)
_DT = {"ballistic": 1.25, "discrete": 1.25, "langevin": 0.459}
_COUPLING = {"ballistic": 0.025, "discrete": 0.01, "langevin": 1.0}  # near beta_eff = 1, N = 10
_NORMALISED_COUPLING = 0.5  # Goto et al. 2021
_NOISE = 1.089  # 1 / (2 dt), see equation (7)


class BifurcationState(struct.PyTreeNode):
    """Oscillators [chains, spins], and the clock of the draw.

    Attributes:
      positions: x; of the Langevin variant, spins.
      momenta: y; None for the Langevin variant, which has no memory of them.
      pumps: p of equation (6); None where the ramp is linear or there is none.
      best_spins: of the lowest energy in this draw; None unless it is kept.
      best_energy: [chains], that energy in the machine's units; None unless it is kept.
      step: steps since the draw began.
    """

    positions: jax.Array
    momenta: jax.Array | None
    pumps: jax.Array | None
    best_spins: jax.Array | None
    best_energy: jax.Array | None
    step: jax.Array


class CoupledMachine(struct.PyTreeNode):
    """The machine of one draw, in the type of its products, c0 and, normalised, scales.

    Attributes:
      params: the machine.
      coupling: c0, a scalar or, normalised, c0 / u_i [1, spins].
      conditions: of the couplings; None unless normalised.
    """

    params: Boltzmann
    coupling: jax.Array
    conditions: Conditioning | None


@documented
@dataclasses.dataclass(frozen=True)
class BifurcationOptions(Normalised, Generator):
    """Options of `bifurcation`.

    Where numbers are None, dt is 1.25, of Langevin 0.459 (equation (2) is stable below 2); c0 is
    0.5 if normalised, else 0.025 ballistic, 0.01 discrete and 1 Langevin, at which 10 spins have
    beta_eff near 1; sigma is 1.089. Products with spins alone can be of the type `sign_couplings`.
    """

    variant: str = chosen(
        "langevin",
        VARIANTS,
        "which of equations (4), (5) and (7)",
        source=f"{_GOTO}; {_KUBO}",
    )
    num_steps: int = count(300, "steps of a draw")
    dt: float | None = number(None, positive(), "time step", source=_GOTO)
    coupling: float | None = number(None, positive(), "c0, the factor on J and h", source=_GOTO)
    noise: float | None = number(
        None, positive(), "sigma of equation (7), of Langevin alone", source=_KUBO
    )
    control: float = field(
        0.0,
        real(0, below=1),
        "A of equation (6); not for Langevin",
        source="Goto, Hidaka and Tatsumura 2025, arXiv 2508.17655",
    )
    keep_best: bool = field(
        False, flag(), "reads the best spins before any step; not for ballistic"
    )
    couplings_dtype: str = chosen(
        "float32",
        (*couplings.DTYPES, "sign", "auto"),
        "of the products; auto: exact, bits where J is +-c; the last two are not for ballistic",
    )

    @property
    def calibrates(self) -> bool:
        """Normalised machines are left bare."""
        return not self.normalised

    def check(self) -> None:
        """Raises InputError for an option that the variant, or a normalised machine, has not."""
        super().check()
        if self.normalised and self.finishing_sweeps:
            raise InputError(
                "finishing_sweeps must be 0 with normalised parameters, which have no temperature, "
                f"got {self.finishing_sweeps}"
            )
        if self.variant == "langevin" and self.control:
            raise InputError(f"control must be 0 for variant langevin, got {self.control}")
        if self.variant != "langevin" and self.noise is not None:
            raise InputError(f"noise is of variant langevin alone, got it for {self.variant}")
        of_spins = self.couplings_dtype in ("sign", "auto")
        if self.variant == "ballistic" and (self.keep_best or of_spins):
            raise InputError(
                "keep_best must be False and couplings_dtype not sign or auto for variant "
                "ballistic, whose products are not with spins; use variant discrete"
            )

    def resolved(self) -> "BifurcationNumbers":
        """Its numbers, and where none are given those of the variant."""
        coupling = _NORMALISED_COUPLING if self.normalised else _COUPLING[self.variant]
        return BifurcationNumbers(
            dt=_DT[self.variant] if self.dt is None else self.dt,
            coupling=coupling if self.coupling is None else self.coupling,
            noise=_NOISE if self.noise is None else self.noise,
        )


class BifurcationNumbers(NamedTuple):
    """The numbers of a machine: time step, c0, and sigma of the Langevin variant."""

    dt: Number
    coupling: Number
    noise: Number


def bifurcation(options: BifurcationOptions) -> Sampler:
    """A run from random positions a draw; only a calibrated input scale persists between draws.

    As samplers, ballistic and discrete have no temperature of their own: what decides is how far
    the random start, of fixed size, outweighs the couplings. So the input scale sets beta_eff.
    As an optimiser, take `OPTIMISING[variant]`.
    Positions are bounded by the walls: no dt makes them diverge.

    Raises:
      InputError: in `init`, couplings that the type does not hold.
    """
    numbers = options.resolved()

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> BifurcationState:
        _prepare(params, options, numbers.coupling)
        return _start(key, (num_chains, params.num_spins), options)

    return from_kernel(
        init=init,
        prepare=lambda params: _prepare(params, options, numbers.coupling),
        kernel=lambda key, prepared, state: _step(key, prepared, state, options, numbers),
        readout=lambda state: state.best_spins if options.keep_best else sign(state.positions),
        num_steps=options.num_steps,
        targets_boltzmann=False,
        restart=lambda key, state: _start(key, state.positions.shape, options),
    )


def _prepare(params: Boltzmann, options: BifurcationOptions, coupling: Number) -> CoupledMachine:
    conditions = conditioning(params) if options.normalised else None
    strength = coupling if conditions is None else coupling / conditions.unit[None, :]
    if options.couplings_dtype == "sign":
        params = sign_couplings(params)
    elif options.couplings_dtype == "auto":
        params = either_couplings(params)
    else:
        params = couplings.reduced(params, options.couplings_dtype)
    return CoupledMachine(params, jnp.asarray(strength, jnp.float32), conditions)


def _start(key: jax.Array, shape: tuple[int, int], options: BifurcationOptions) -> BifurcationState:
    key_positions, key_momenta = jax.random.split(key)
    positions = _uniform(key_positions, shape)
    moving = options.variant != "langevin"
    best = options.keep_best
    return BifurcationState(
        positions=positions if moving else sign(positions),
        momenta=_uniform(key_momenta, shape) if moving else None,
        pumps=jnp.ones(shape, jnp.float32) if options.control else None,
        best_spins=jnp.full(shape, jnp.nan, jnp.float32) if best else None,
        best_energy=jnp.full(shape[0], jnp.inf, jnp.float32) if best else None,
        step=jnp.int32(0),
    )


def _step(
    key: jax.Array,
    prepared: CoupledMachine,
    state: BifurcationState,
    options: BifurcationOptions,
    numbers: BifurcationNumbers,
) -> BifurcationState:
    """One step of equation (7), or of (1) to (3) at the pump of its time."""
    params, x = prepared.params, state.positions
    dt, coupling, noise = numbers
    spins = sign(x)
    if options.variant == "ballistic":
        fields = ballistic_fields(params, x)
    else:
        fields = discrete_fields(params, spins)
    if options.keep_best:
        state = _with_best(state, params, spins, fields)
    if options.variant == "langevin":
        fields = _damped(prepared, spins, prepared.coupling * fields, coupling)
        x = langevin_step(key, spins, fields, noise, dt)
        return state.replace(positions=x, step=state.step + 1)
    pump, pumps = _pump(state, options.num_steps, options.control)
    forces = force(x, fields, pump, prepared.coupling)
    forces = _damped(prepared, x, forces, coupling * dt**2)
    assert state.momenta is not None, "of all that move"
    x, y = symplectic_euler(x, state.momenta, forces, dt)
    x, y = walls(x, y)
    return state.replace(positions=x, momenta=y, pumps=pumps, step=state.step + 1)


def _damped(
    prepared: CoupledMachine, positions: jax.Array, forces: jax.Array, rate: Number
) -> jax.Array:
    """Forces without overshoot along stiff modes, in which oscillators held by a wall do not move.

    Forces that a wall balances would otherwise reach the others and move the minima. Unless the
    machine is normalised, forces are as they are.
    """
    if prepared.conditions is None:
        return forces
    free = (jnp.abs(positions) < 1) | (positions * forces < 0)
    return damp(prepared.conditions, forces, rate, free.astype(forces.dtype))


def _uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32, -_START, _START)


def _pump(
    state: BifurcationState, num_steps: int, control: float
) -> tuple[jax.Array, jax.Array | None]:
    """The pump of this step, and the pumps to carry on: the linear ramp or equation (6)."""
    steps_left = jnp.maximum(num_steps - state.step, 1).astype(jnp.float32)
    if not control:
        return (steps_left - 1) / num_steps, None
    assert state.pumps is not None, "with control every position has a pump of its own"
    held = state.pumps * (1 - (1 - control * state.positions**2) / steps_left)
    return held, held


def _with_best(
    state: BifurcationState, params: Boltzmann, spins: jax.Array, fields: jax.Array
) -> BifurcationState:
    """The state with spins [chains, spins] taken down where their energy is the lowest so far."""
    assert state.best_spins is not None and state.best_energy is not None, "of keep_best"
    energy = -0.5 * jnp.sum(spins * (fields + params.h[None, :]), axis=-1)
    better = energy < state.best_energy

    def take(best_spins: jax.Array) -> jax.Array:
        return jnp.where(better[:, None], spins, best_spins)

    return state.replace(
        # Late in a draw few steps bring a lower energy: most leave this memory alone.
        best_spins=jax.lax.cond(jnp.any(better), take, lambda best: best, state.best_spins),
        best_energy=jnp.where(better, energy, state.best_energy),
    )
