"""Exact draws by enumeration of all 2^N states, for N up to 24."""

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import check_enumerable, log_weights, spins_of_states
from qbm_jax.samplers.base import Sampler, from_kernel, init_spins
from qbm_jax.samplers.options import SamplerOptions


class ExactState(struct.PyTreeNode):
    """The last draw, spins [chains, spins]; only its number of chains matters to the next one."""

    spins: jax.Array


def exact(options: SamplerOptions) -> Sampler:
    """Independent draws from p(s) itself, without options; each `sample` forgets the last.

    Raises:
      InputError: in `init`, more than 24 spins.
    """

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> ExactState:
        check_enumerable(params.num_spins)
        return ExactState(spins=init_spins(key, params, num_chains))

    def kernel(key: jax.Array, log_weights_: jax.Array, state: ExactState) -> ExactState:
        num_chains, num_spins = state.spins.shape
        states = _draw_states(key, log_weights_, num_chains)
        finite = jnp.isfinite(log_weights_[states])[:, None]
        return ExactState(spins=jnp.where(finite, spins_of_states(states, num_spins), jnp.nan))

    return from_kernel(
        init=init,
        prepare=log_weights,
        kernel=kernel,
        readout=lambda state: state.spins,
        num_steps=1,
        targets_boltzmann=True,
    )


def _draw_states(key: jax.Array, log_weights_: jax.Array, num_chains: int) -> jax.Array:
    """State indices [chains] in two levels, so that no array has chains x 2^N entries."""
    key_row, key_column = jax.random.split(key)
    num_columns = 2 ** (log_weights_.size.bit_length() // 2)
    table = log_weights_.reshape(-1, num_columns)
    rows = jax.random.categorical(key_row, jax.nn.logsumexp(table, axis=1), shape=(num_chains,))
    columns = jax.random.categorical(key_column, table[rows], axis=1)
    return rows * num_columns + columns
