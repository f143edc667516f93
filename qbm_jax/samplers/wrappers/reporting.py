"""A sampler that says more of its chains in info."""

from collections.abc import Callable

import jax

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.base import Info, Sampler, State


def reporting(machine: Sampler, report: Callable[[State], Info]) -> Sampler:
    """The machine with scalars of its state after each step and draw in info."""

    def step(key: jax.Array, params: Boltzmann, state: State) -> tuple[State, Info]:
        state, info = machine.step(key, params, state)
        return state, info | report(state)

    def sample(key: jax.Array, params: Boltzmann, state: State) -> tuple[jax.Array, State, Info]:
        spins, state, info = machine.sample(key, params, state)
        return spins, state, info | report(state)

    return machine._replace(step=step, sample=sample)
