"""A machine as hardware of few bits holds it."""

import jax.numpy as jnp

from qbm_jax.machine.boltzmann import Boltzmann


def rounded(machine: Boltzmann, bits: int | None) -> Boltzmann:
    """The machine with J and h on the grid of signed integers of so many bits; None: as it is.

    One scale serves both, as on a machine that holds fields as couplings to a gauge spin: the
    largest of all is the largest integer, 2^(bits - 1) - 1.
    """
    if bits is None:
        return machine
    top = jnp.maximum(jnp.abs(machine.dense_J).max(), jnp.abs(machine.h).max())
    step = jnp.maximum(top, jnp.finfo(machine.h.dtype).tiny) / (2 ** (bits - 1) - 1)
    return Boltzmann(J=step * jnp.round(machine.J / step), h=step * jnp.round(machine.h / step))
