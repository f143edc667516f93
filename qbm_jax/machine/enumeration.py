"""All 2^N states and their weights, for N up to 24."""

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, bits_to_spins, checked, energy

MAX_SPINS = 24
_CHUNK_BITS = 14  # states whose energies are computed at once: 2^14 x 24 floats are 1.6 MB


def enumerate_spins(num_spins: int) -> jax.Array:
    """All states, float32 [2^N, N]: spin i of state k is +1 where bit i of k is set.

    Raises:
      InputError: more than 24 spins.
    """
    check_enumerable(num_spins)
    return spins_of_states(jnp.arange(2**num_spins), num_spins)


def log_weights(params: Boltzmann) -> jax.Array:
    """-E(s) of all states [2^N], in the order of `enumerate_spins`, in units of kT.

    log Z is its logsumexp. It is computed in chunks, so that it takes only the result's memory.

    Raises:
      InputError: `params` is no machine, or has more than 24 spins.
    """
    return _log_weights(checked(params))


@jax.jit  # called outside of compiled code, the loop in it would be compiled anew each time
def _log_weights(params: Boltzmann) -> jax.Array:
    num_spins = params.num_spins
    check_enumerable(num_spins)
    chunk = 2 ** min(num_spins, _CHUNK_BITS)

    def chunk_log_weights(first: jax.Array) -> jax.Array:
        spins = spins_of_states(first + jnp.arange(chunk), num_spins)
        # Halves in J and h are exact in float32; their sums in halves would not be.
        return -energy(params, spins.astype(jnp.promote_types(params.h.dtype, jnp.float32)))

    return jax.lax.map(chunk_log_weights, jnp.arange(0, 2**num_spins, chunk)).reshape(-1)


def spins_of_states(states: jax.Array, num_spins: int) -> jax.Array:
    """Spins float32 [..., N] of states by their indices, in the order of `enumerate_spins`."""
    bits = (states[..., None] >> jnp.arange(num_spins).reshape((1,) * states.ndim + (-1,))) & 1
    return bits_to_spins(bits.astype(jnp.float32))


def check_size(num_spins: int, least: int = 1, most: int = 2**17) -> None:
    """Raises an InputError unless this is a number of spins whose J takes at most 64 GiB."""
    whole = isinstance(num_spins, int | np.integer) and not isinstance(num_spins, bool)
    if not whole or not least <= num_spins <= most:
        raise InputError(f"expected a number of spins from {least} to {most}, got {num_spins!r}")


def check_enumerable(num_spins: int) -> None:
    """Raises an InputError if the number of spins is too large to enumerate, or is no number."""
    check_size(num_spins)
    if num_spins > MAX_SPINS:
        raise InputError(
            f"expected at most {MAX_SPINS} spins to enumerate, got {num_spins}; "
            "use gibbs or auxiliary_cim"
        )
