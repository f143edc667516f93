"""Exact draws by enumeration of all 2^N states, for N up to 24."""

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.boltzmann import Boltzmann, bits_to_spins, energy
from qbm_jax.errors import InputError
from qbm_jax.samplers.base import Sampler, from_kernel, init_spins

MAX_SPINS = 24
_CHUNK_BITS = 14  # states whose energies are computed at once: 2^14 x 24 floats are 1.6 MB


class ExactState(struct.PyTreeNode):
    """The last draw, spins [chains, spins]; only its number of chains matters to the next one."""

    spins: jax.Array


def enumerate_spins(num_spins: int) -> jax.Array:
    """All states, float32 [2^N, N]: spin i of state k is +1 where bit i of k is set.

    Raises:
      InputError: more than 24 spins.
    """
    _check_enumerable(num_spins)
    return _spins_of_states(jnp.arange(2**num_spins), num_spins)


@jax.jit  # called outside of compiled code, the loop in it would be compiled anew each time
def log_weights(params: Boltzmann) -> jax.Array:
    """-E(s) of all states [2^N], in the order of `enumerate_spins`, in units of kT.

    log Z is its logsumexp. Computed in chunks, so that memory is that of the result.

    Raises:
      InputError: more than 24 spins.
    """
    num_spins = params.num_spins
    _check_enumerable(num_spins)
    chunk = 2 ** min(num_spins, _CHUNK_BITS)

    def chunk_log_weights(first):
        spins = _spins_of_states(first + jnp.arange(chunk), num_spins)
        return -energy(params, spins.astype(params.h.dtype))

    return jax.lax.map(chunk_log_weights, jnp.arange(0, 2**num_spins, chunk)).reshape(-1)


def exact() -> Sampler:
    """Independent draws from p(s) itself; each `sample` forgets the last.

    Raises:
      InputError: in `init`, more than 24 spins.
    """

    def init(key, params, num_chains):
        _check_enumerable(params.num_spins)
        return ExactState(spins=init_spins(key, params, num_chains))

    def kernel(key, log_weights_, state):
        num_chains, num_spins = state.spins.shape
        states = _draw_states(key, log_weights_, num_chains)
        return ExactState(spins=_spins_of_states(states, num_spins))

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


def _spins_of_states(states: jax.Array, num_spins: int) -> jax.Array:
    bits = (states[..., None] >> jnp.arange(num_spins).reshape((1,) * states.ndim + (-1,))) & 1
    return bits_to_spins(bits.astype(jnp.float32))


def _check_enumerable(num_spins: int) -> None:
    if num_spins > MAX_SPINS:
        raise InputError(
            f"expected at most {MAX_SPINS} spins to enumerate, got {num_spins}; "
            "use gibbs or auxiliary_cim"
        )
