"""A heuristic machine at the right temperature: its input scale follows beta_eff.

Parameters are multiplied by the input scale before they are sent to the machine, and the scale is
moved until the draws fit beta_eff = 1. That mends the temperature, not the law: what is left after
the fit has to be measured.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.errors import InputError
from qbm_jax.machine import calibration
from qbm_jax.machine.boltzmann import Boltzmann, scale
from qbm_jax.samplers.base import Info, Sampler, check_count, draw_info
from qbm_jax.samplers.colouring import Colouring, colouring_of
from qbm_jax.samplers.gibbs import GibbsOptions, GibbsState, gibbs

_ROUNDS = 8
_MAX_LOG_SCALE = 4.0  # input scales from 1/55 to 55


class CalibratedState(struct.PyTreeNode):
    """The machine's own state, and the log of the factor on parameters sent to it.

    Where J is sparse, `colouring` is that of the finishing sweeps, if there are any.
    """

    machine: Any
    log_input_scale: jax.Array
    colouring: Colouring | None = None


def calibrated(machine: Sampler, gain: float = 0.3, finishing_sweeps: int = 0) -> Sampler:
    """The machine with its input scale moved towards beta_eff = 1 after each draw.

    Info has, beside the machine's own, `beta_eff`: the inverse temperature of the machine's draw
    against the parameters asked for (before finishing sweeps), and `input_scale`: the factor with
    which that draw's parameters were sent. A draw that is not finite leaves the scale as it is.

    Args:
      machine: any sampler.
      gain: share of log beta_eff by which log input scale moves after each draw, in [0, 1]. With 0
        nothing is calibrated and the input scale stays 1; else `init` calibrates with a few draws.
      finishing_sweeps: Gibbs sweeps from the machine's spins, in `sample` alone. With them a sparse
        J is coloured in `init`, as of `gibbs`.

    Raises:
      InputError: gain outside [0, 1], or finishing_sweeps neither 0 nor a count; in `init`, of a
        sparse J that is to be swept, what `colouring_of` raises.
    """
    if not 0 <= gain <= 1:
        raise InputError(f"expected calibration_gain in [0, 1], got {gain}")
    if finishing_sweeps != 0:
        check_count(finishing_sweeps=finishing_sweeps)

    def draw(
        key: jax.Array, params: Boltzmann, state: CalibratedState, gain: jax.Array | float
    ) -> tuple[jax.Array, CalibratedState, Info]:
        input_scale = jnp.exp(state.log_input_scale)
        spins, inner, info = machine.sample(key, scale(params, input_scale), state.machine)
        beta_eff = calibration.fit_beta(params, spins)
        moved = state.log_input_scale - gain * jnp.log(beta_eff)
        moved = jnp.clip(moved, -_MAX_LOG_SCALE, _MAX_LOG_SCALE)
        moved = jnp.where(jnp.isfinite(moved), moved, state.log_input_scale)
        info = info | {"beta_eff": beta_eff, "input_scale": input_scale}
        moved = moved.astype(jnp.float32)
        return spins, state.replace(machine=inner, log_input_scale=moved), info

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> CalibratedState:
        key_init, key_rounds = jax.random.split(key)
        inner = machine.init(key_init, params, num_chains)
        colouring = colouring_of(params) if finishing_sweeps else None
        state = CalibratedState(inner, jnp.float32(0), colouring)
        if gain == 0:
            return state
        # Gains 1, 1/2, 1/3, ...: Newton's step first, then the mean over rounds.
        gains = jnp.maximum(1 / (1 + jnp.arange(_ROUNDS)), gain)
        rounds = (jax.random.split(key_rounds, _ROUNDS), gains)
        return jax.lax.scan(lambda s, x: (draw(x[0], params, s, x[1])[1], None), state, rounds)[0]

    def step(
        key: jax.Array, params: Boltzmann, state: CalibratedState
    ) -> tuple[CalibratedState, Info]:
        input_scale = jnp.exp(state.log_input_scale)
        inner, info = machine.step(key, scale(params, input_scale), state.machine)
        info = info | {"energy": info["energy"] / input_scale, "input_scale": input_scale}
        return state.replace(machine=inner), info

    def sample(
        key: jax.Array, params: Boltzmann, state: CalibratedState
    ) -> tuple[jax.Array, CalibratedState, Info]:
        key_draw, key_finish = jax.random.split(key)
        spins, state, info = draw(key_draw, params, state, gain)
        if finishing_sweeps:
            finished, _, _ = gibbs(GibbsOptions(num_steps=finishing_sweeps)).sample(
                key_finish, params, GibbsState(spins.T, state.colouring)
            )
            spins = jnp.where(jnp.isfinite(spins), finished, jnp.nan)
        return spins, state, info | draw_info(params, spins)

    return Sampler(init, step, sample, targets_boltzmann=False)
