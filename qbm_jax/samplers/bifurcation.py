"""Simulated bifurcation: oscillators that fall to either side, a heuristic in law.

Ballistic and discrete (Goto et al. 2021, Science Advances 7, eabe7953) integrate, with time step dt
and one pump 1 - t/T per oscillator that falls from 1 to 0 over the draw,

    dy/dt = -p x + c0 f(x),    dx/dt = y,    s = sign(x)                                      (1)

by the symplectic Euler method: y first, then x with the new y (2). Perfectly inelastic walls at
|x| = 1 put an oscillator that passes them back on the wall and stop it (3). The two differ in f:

    ballistic   f = J x + r h + (h'x) x / (N r),   r = rms of x                               (4)
    discrete    f = J s + h                                                                   (5)

Both are minus a gradient: (4) of -x'Jx/2 - r h'x, which is the machine's energy at the corners
|x_i| = 1 and scales as x^2 does, and (5), where no x_i is 0, of -x'Js - h'x. The paper has no
fields; the terms in h are this library's.

The pump of each oscillator may be held back by its own position (generalised bifurcation: Goto,
Hidaka and Tatsumura 2025, arXiv 2508.17655; there for the ballistic force):

    p_i <- p_i - (1 - A x_i^2) p_i / (number of steps left)                                   (6)

With A = 0 that is the linear ramp. Small A > 0 keeps the dynamics at the edge of chaos.

Langevin (after Kubo and Goto 2025, arXiv 2512.02323, as described in public implementations: the
paper itself was not at hand) keeps x = s and draws the momenta anew in each step:

    y = sigma xi + dt (J s + h),    s <- sign(s + dt y),    xi normal                         (7)

To first order in the field its odds to flip are those of the Boltzmann law where
dt^2 a lambda(a) = 1 with a = 1/(dt sigma) and lambda(a) = phi(a)/Phi(-a), the inverse Mills ratio.
The defaults are its solution for a = 2, where a free spin flips in 2.3 % of the steps. All spins
are updated at once, and second orders differ: a bias which calibration of the temperature reduces.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax.experimental.sparse import BCOO

from qbm_jax.errors import InputError
from qbm_jax.machine import couplings
from qbm_jax.machine.boltzmann import Boltzmann, local_field
from qbm_jax.machine.sign_couplings import SignCouplings, sign_couplings
from qbm_jax.samplers.base import Sampler, check_positive, from_kernel
from qbm_jax.samplers.conditioning import Conditioning, conditioning, damp
from qbm_jax.samplers.numerics.noise import normal
from qbm_jax.samplers.wrappers.calibrated import calibrated

VARIANTS = ("ballistic", "discrete", "langevin")
# Whole sets of options with which each variant looks for ground states.
OPTIMISING = {
    "discrete": {
        "variant": "discrete",
        "num_steps": 2000,
        "dt": 1.25,
        "normalised": True,
        "keep_best": True,
        "calibration_gain": 0.0,
    },
    "ballistic": {
        "variant": "ballistic",
        "num_steps": 500,
        "dt": 0.5,
        "coupling": 1.0,  # several modes grow from the start: chains end in different places
        "normalised": True,
        "calibration_gain": 0.0,
    },
    "langevin": {
        "variant": "langevin",
        "num_steps": 2000,
        "coupling": 3.0,
        "normalised": True,
        "keep_best": True,
        "calibration_gain": 0.0,
    },
}
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


class Prepared(struct.PyTreeNode):
    """The machine of one draw, in the type of its products, c0 and, normalised, scales.

    Attributes:
      params: the machine.
      coupling: c0, a scalar or, normalised, c0 / u_i [1, spins].
      conditions: of the couplings; None unless normalised.
    """

    params: Boltzmann
    coupling: jax.Array
    conditions: Conditioning | None


def ballistic_fields(params: Boltzmann, positions: jax.Array) -> jax.Array:
    """The f of equation (4) for positions [chains, spins]."""
    rms = jnp.sqrt(jnp.mean(positions**2, axis=-1, keepdims=True))
    rms = jnp.maximum(rms, jnp.finfo(positions.dtype).tiny)
    alignment = jnp.mean(positions * params.h[None, :], axis=-1, keepdims=True)
    from_h = rms * params.h[None, :] + alignment * (positions / rms)
    reduced_to_int8 = getattr(params.J, "values", positions).dtype == jnp.int8
    if isinstance(params.J, BCOO) or reduced_to_int8:
        return positions @ params.J + from_h
    return couplings.rows_product(params.J, positions.T).T + from_h


def discrete_fields(params: Boltzmann, spins: jax.Array) -> jax.Array:
    """The f of equation (5) for s = spins [chains, spins]: `boltzmann.local_field`.

    Dense products are taken as J times columns, which is the faster side for few chains.
    """
    if isinstance(params.J, BCOO | SignCouplings):
        return local_field(params, spins)
    return couplings.rows_product(params.J, spins.T).T + params.h[None, :]


def force(
    positions: jax.Array,
    fields: jax.Array,
    pump: jax.Array | float,
    coupling: jax.Array | float,
) -> jax.Array:
    """dy/dt [chains, spins] of equation (1)."""
    return coupling * fields - pump * positions


def symplectic_euler(
    positions: jax.Array, momenta: jax.Array, force: jax.Array, dt: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """Equation (2), without walls: positions and momenta [chains, spins] after a step."""
    momenta = momenta + dt * force
    return positions + dt * momenta, momenta


def walls(positions: jax.Array, momenta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Equation (3): oscillators [chains, spins] beyond |x| = 1 stand still on the wall."""
    return jnp.clip(positions, -1, 1), jnp.where(jnp.abs(positions) > 1, 0, momenta)


def langevin_step(
    key: jax.Array,
    spins: jax.Array,
    fields: jax.Array,
    noise: jax.Array | float,
    dt: jax.Array | float,
) -> jax.Array:
    """Equation (7) for spins and their fields [chains, spins]."""
    momenta = noise * normal(key, spins.shape) + dt * fields
    return sign(spins + dt * momenta)


def sign(positions: jax.Array) -> jax.Array:
    """Spins [chains, spins]: +1 where x >= 0, -1 where x < 0, NaN where it is neither."""
    spins = jnp.where(positions >= 0, 1, -1).astype(positions.dtype)
    return jnp.where(jnp.isnan(positions), jnp.nan, spins)


def bifurcation(
    variant: Literal["ballistic", "discrete", "langevin"] = "langevin",
    num_steps: int = 300,
    dt: jax.Array | float | None = None,
    coupling: jax.Array | float | None = None,
    noise: jax.Array | float | None = None,
    control: float = 0.0,
    normalised: bool = False,
    keep_best: bool = False,
    couplings_dtype: Literal["float32", "bfloat16", "int8", "sign"] = "float32",
    noise_generator: str | None = None,
    calibration_gain: float = 0.3,
    finishing_sweeps: int = 0,
) -> Sampler:
    """A run from random positions a draw; only a calibrated input scale persists between draws.

    As samplers, ballistic and discrete have no temperature of their own: what decides is how far
    the random start, of fixed size, outweighs the couplings. So the input scale sets beta_eff.
    As an optimiser, take `OPTIMISING[variant]`.
    Positions are bounded by the walls: no dt makes them diverge.

    Args:
      variant: which of equations (4), (5) and (7).
      num_steps: steps of a draw.
      dt: time step; default 1.25, Langevin 0.459. Equation (2) is stable below 2.
      coupling: c0, the factor on J and h (in equation (7) too). Default: normalised 0.5; else 0.025
        ballistic, 0.01 discrete, 1 Langevin, at which 10 spins have beta_eff near 1.
      noise: sigma of the Langevin variant; default 1.089.
      control: A of equation (6), in [0, 1); not for Langevin.
      normalised: fields in units of the typical field of each spin, and stiff modes damped (see
        `conditioning`), so that defaults work at any N, any scale of J and with a mean; for
        optimising. The temperature is then lost: nothing is calibrated.
      keep_best: read out the spins of lowest energy that the draw came by, not the last ones; not
        for ballistic, whose products are not with spins.
      couplings_dtype: of the products, see `couplings.reduced`; "sign": see `sign_couplings`, for
        discrete and Langevin.
      noise_generator: see `from_kernel`.
      calibration_gain: see `calibrated`; 0 is the machine as it is, and a must if normalised.
      finishing_sweeps: Gibbs sweeps from the machine's spins, in `sample` alone; not normalised.

    Raises:
      InputError: an option out of its range or not for this variant; in `prepare`, couplings that
        the type does not hold.
    """
    _check_applicable(variant, noise, control, keep_best, couplings_dtype)
    if normalised:
        _check_normalised(calibration_gain, finishing_sweeps)
    dt = _DT[variant] if dt is None else dt
    if coupling is None:
        coupling = _NORMALISED_COUPLING if normalised else _COUPLING[variant]
    noise = _NOISE if noise is None else noise
    check_positive(dt=dt, coupling=coupling, noise=noise)

    def prepare(params):
        conditions = conditioning(params) if normalised else None
        strength = jnp.asarray(
            coupling / conditions.unit[None, :] if normalised else coupling, jnp.float32
        )
        if couplings_dtype == "sign":
            return Prepared(sign_couplings(params), strength, conditions)
        return Prepared(couplings.reduced(params, couplings_dtype), strength, conditions)

    def init(key, params, num_chains):
        prepare(params)
        return start(key, (num_chains, params.num_spins))

    def start(key, shape):
        key_positions, key_momenta = jax.random.split(key)
        positions = _uniform(key_positions, shape)
        moving = variant != "langevin"
        return BifurcationState(
            positions=positions if moving else sign(positions),
            momenta=_uniform(key_momenta, shape) if moving else None,
            pumps=jnp.ones(shape, jnp.float32) if control else None,
            best_spins=jnp.full(shape, jnp.nan, jnp.float32) if keep_best else None,
            best_energy=jnp.full(shape[0], jnp.inf, jnp.float32) if keep_best else None,
            step=jnp.int32(0),
        )

    def kernel(key, prepared, state):
        params, x = prepared.params, state.positions
        spins = sign(x)
        if variant == "ballistic":
            fields = ballistic_fields(params, x)
        else:
            fields = discrete_fields(params, spins)
        if keep_best:
            state = _with_best(state, params, spins, fields)
        if variant == "langevin":
            fields = prepared.coupling * fields
            if normalised:
                fields = _damped(prepared, spins, fields, coupling)
            x = langevin_step(key, spins, fields, noise, dt)
            return state.replace(positions=x, step=state.step + 1)
        pump, pumps = _pump(state, num_steps, control)
        forces = force(x, fields, pump, prepared.coupling)
        if normalised:
            forces = _damped(prepared, x, forces, coupling * dt**2)
        x, y = symplectic_euler(x, state.momenta, forces, dt)
        x, y = walls(x, y)
        return state.replace(positions=x, momenta=y, pumps=pumps, step=state.step + 1)

    machine = from_kernel(
        init=init,
        prepare=prepare,
        kernel=kernel,
        readout=lambda state: state.best_spins if keep_best else sign(state.positions),
        num_steps=num_steps,
        targets_boltzmann=False,
        restart=lambda key, state: start(key, state.positions.shape),
        noise_generator=noise_generator,
    )
    if normalised:
        return machine
    return calibrated(machine, calibration_gain, finishing_sweeps)


def _damped(prepared, positions, forces, rate):
    """Forces without overshoot along stiff modes, in which oscillators held by a wall do not move.

    Forces that a wall balances would otherwise reach the others and move the minima.
    """
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

    def take(best_spins):
        return jnp.where(better[:, None], spins, best_spins)

    return state.replace(
        # Late in a draw few steps bring a lower energy: most leave this memory alone.
        best_spins=jax.lax.cond(jnp.any(better), take, lambda best: best, state.best_spins),
        best_energy=jnp.where(better, energy, state.best_energy),
    )


def _check_applicable(variant, noise, control, keep_best, couplings_dtype) -> None:
    """Raises InputError for an unknown variant, or an option that the variant does not have."""
    if variant not in VARIANTS:
        raise InputError(f"expected variant in {list(VARIANTS)}, got {variant!r}")
    if couplings_dtype != "sign":
        couplings.check_dtype(couplings_dtype)
    if not 0 <= control < 1:
        raise InputError(f"expected control in [0, 1), got {control}")
    if variant == "langevin" and control:
        raise InputError(f"expected control 0 for variant langevin, got {control}")
    if variant != "langevin" and noise is not None:
        raise InputError(f"expected noise for variant langevin alone, got {noise} for {variant}")
    if variant == "ballistic" and (keep_best or couplings_dtype == "sign"):
        raise InputError(
            "expected keep_best False and no couplings_dtype sign for variant ballistic, whose "
            "products are not with spins; use variant discrete"
        )


def _check_normalised(calibration_gain: float, finishing_sweeps: int) -> None:
    if calibration_gain or finishing_sweeps:
        raise InputError(
            "expected calibration_gain 0 and finishing_sweeps 0 with normalised couplings, whose "
            f"temperature is lost, got {calibration_gain} and {finishing_sweeps}"
        )
