"""A sampler that looks at what it is handed, once and outside of compiled code."""

import jax

from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.runtime.keys import check_key
from qbm_jax.runtime.room import check_room
from qbm_jax.samplers.base import Sampler, check_count, is_concrete


def guarded(machine: Sampler, state_type: type) -> Sampler:
    """The machine with keys, parameters, numbers of chains and states checked before their use.

    States of two samplers may differ in nothing but the order of their axes: by type alone is a
    stranger known.

    Args:
      machine: wrapped as it will be used.
      state_type: of the bare machine's chains.
    """

    def check(key, state):
        check_key(key)
        found = type(getattr(state, "machine", state))  # beneath a calibration
        if found is not state_type:
            raise InputError(
                f"state must be of this sampler's init, {state_type.__name__}, got {found.__name__}"
            )

    def init(key, params, num_chains):
        check_key(key)
        check_count(num_chains=num_chains)
        if is_concrete(*jax.tree.leaves(params)):
            params = boltzmann.check(params)
        check_room("their spins", 4 * params.num_spins, num_chains=num_chains)
        return machine.init(key, params, num_chains)

    def step(key, params, state):
        check(key, state)
        return machine.step(key, params, state)

    def sample(key, params, state):
        check(key, state)
        return machine.sample(key, params, state)

    return machine._replace(init=init, step=step, sample=sample)
