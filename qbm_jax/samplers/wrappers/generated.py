"""A sampler whose noise comes from a named generator."""

import jax

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.base import Sampler, State
from qbm_jax.samplers.numerics.noise import with_generator


def generated(machine: Sampler, generator: str | None, *, from_start: bool = False) -> Sampler:
    """The machine with keys of a named generator, converted before anything is split from them.

    Args:
      machine: a bare machine: what wraps it splits the caller's own keys.
      generator: a name in `noise.GENERATORS`; None: the key's own.
      from_start: whether `init` takes such a key as well, for machines that make steps in it.
    """
    if generator is None:
        return machine

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> State:
        return machine.init(with_generator(key, generator), params, num_chains)

    return machine._replace(
        init=init if from_start else machine.init,
        step=lambda key, *rest: machine.step(with_generator(key, generator), *rest),
        sample=lambda key, *rest: machine.sample(with_generator(key, generator), *rest),
    )
