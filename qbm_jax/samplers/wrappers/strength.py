"""A machine scaled to a given typical field, so that a sampler optimises."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from qbm_jax.machine.boltzmann import Boltzmann, scale
from qbm_jax.machine.couplings import single_precision
from qbm_jax.samplers.base import Info, Sampler, State, draw_info
from qbm_jax.samplers.conditioning import conditioning

_SMALLEST_SHARE = 1e-6  # of the largest field: most spins may have none
_SMALLEST_FIELD = 1e-30  # of a machine of zeros, which stays one at any strength


def at_strength(
    machine: Sampler, strength: jax.Array | float, readout: Callable[[State], jax.Array]
) -> Sampler:
    """The sampler with parameters scaled to a typical field of `strength` kT: an optimiser."""

    def sent(params: Boltzmann) -> Boltzmann:
        params = single_precision(params)
        unit = conditioning(params).unit
        typical = jnp.maximum(jnp.median(unit), _SMALLEST_SHARE * jnp.max(unit))
        return scale(params, strength / jnp.maximum(typical, _SMALLEST_FIELD))

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> State:
        return machine.init(key, sent(params), num_chains)

    def step(key: jax.Array, params: Boltzmann, state: State) -> tuple[State, Info]:
        state, info = machine.step(key, sent(params), state)
        return state, info | draw_info(params, readout(state))

    def sample(key: jax.Array, params: Boltzmann, state: State) -> tuple[jax.Array, State, Info]:
        spins, state, info = machine.sample(key, sent(params), state)
        return spins, state, info | draw_info(params, spins)

    return Sampler(init, step, sample, targets_boltzmann=False)
