"""A sampler that looks at what it is handed, once and outside of compiled code."""

from collections.abc import Callable
from typing import Any

import jax

from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.runtime.keys import check_key
from qbm_jax.runtime.room import check_room
from qbm_jax.samplers.base import Sampler, State, check_count, is_concrete


def guarded(machine: Sampler, state_type: type) -> Sampler:
    """The machine with keys, parameters, numbers of chains and states checked before their use.

    States of two samplers may differ in nothing but the order of their axes: by type alone is a
    stranger known. One of other options or of another machine is known by its shapes; they are
    looked at where a draw fails.

    Args:
      machine: wrapped as it will be used.
      state_type: of the bare machine's chains.
    """

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> State:
        check_key(key)
        check_count(num_chains=num_chains)
        if is_concrete(*jax.tree.leaves(params)):
            params = boltzmann.check(params)
        check_room("their spins", 4 * params.num_spins, num_chains=num_chains)
        return machine.init(key, params, num_chains)

    def checked(
        advance: Callable[[jax.Array, Boltzmann, State], Any],
    ) -> Callable[[jax.Array, Boltzmann, State], Any]:
        def advance_own(key: jax.Array, params: Boltzmann, state: State) -> Any:
            check_key(key)
            found = type(getattr(state, "machine", state))  # beneath a calibration
            if found is not state_type:
                raise InputError(
                    f"state must be of this sampler's init, {state_type.__name__}, got "
                    f"{found.__name__}"
                )
            params = boltzmann.checked(params)
            try:
                return advance(key, params, state)
            except InputError:
                raise
            except (AssertionError, AttributeError, TypeError, ValueError) as error:
                if _fits(machine, key, params, state):
                    raise
                raise InputError(
                    f"state must be of this sampler's init with the same options and machine, got "
                    f"a {found.__name__} of others; start it anew with init"
                ) from error

        return advance_own

    return machine._replace(init=init, step=checked(machine.step), sample=checked(machine.sample))


def _fits(machine: Sampler, key: jax.Array, params: Boltzmann, state: State) -> bool:
    """Whether a state is built as those that `init` starts, for some number of chains."""

    def started(num_chains: int) -> Any:
        return jax.eval_shape(lambda key: machine.init(key, params, num_chains), key)

    two, three = started(2), started(3)
    if len({jax.tree.structure(each) for each in (two, state)}) > 1:
        return False
    leaves = zip(*map(jax.tree.leaves, (two, three, state)), strict=True)
    return all(_is_like(*map(jax.numpy.shape, each)) for each in leaves)


def _is_like(two: tuple[int, ...], three: tuple[int, ...], found: tuple[int, ...]) -> bool:
    """Whether a shape differs from two others only along axes in which they differ, of chains."""
    return len(two) == len(found) and all(
        a != b or a == own for a, b, own in zip(two, three, found, strict=True)
    )
