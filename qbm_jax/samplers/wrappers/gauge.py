"""Fields for a machine that has none: couplings to one extra spin, undone at the readout."""

import jax

from qbm_jax.machine.boltzmann import Boltzmann, remove_gauge_spin, with_gauge_spin
from qbm_jax.samplers.base import Info, Sampler, State, draw_info


def through_gauge_spin(machine: Sampler) -> Sampler:
    """The sampler that sends the field-free machine of N + 1 spins and reads s_i s_{N+1}.

    The machine's law of the products is the law of the spins with fields, so an exact sampler
    stays exact. `step` and `sample` work on the larger state.
    """

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> State:
        return machine.init(key, with_gauge_spin(params), num_chains)

    def step(key: jax.Array, params: Boltzmann, state: State) -> tuple[State, Info]:
        return machine.step(key, with_gauge_spin(params), state)  # energies are the same

    def sample(key: jax.Array, params: Boltzmann, state: State) -> tuple[jax.Array, State, Info]:
        spins, state, info = machine.sample(key, with_gauge_spin(params), state)
        spins = remove_gauge_spin(spins)
        return spins, state, info | draw_info(params, spins)

    return Sampler(init, step, sample, machine.targets_boltzmann)
