"""log Z as a sum over states: of all spins, or of one side of a restricted machine."""

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, checked
from qbm_jax.machine.enumeration import check_enumerable, enumerate_spins, log_weights
from qbm_jax.partition.estimate import LogZ
from qbm_jax.samplers.base import check_count, is_concrete

_CHUNK_SPINS = 12  # of a side, whose states are summed at once


def enumeration(key: jax.Array, params: Boltzmann, *, num_visible: int | None = None) -> LogZ:
    """Log Z as the sum over all 2^N states, for at most 24 spins; the key is not used.

    Args:
      key: not used.
      params: the machine; J dense where `num_visible` is given.
      num_visible: for a restricted machine: spins [0, num_visible) are not coupled among each
        other, and neither are the rest. The larger side is then summed in closed form, and only the
        smaller one needs to have at most 24 spins.

    Raises:
      InputError: more than 24 spins to enumerate; with `num_visible`, a sparse J, an empty side or,
        at concrete params, couplings inside a side.
    """
    del key
    params = checked(params)
    weights = log_weights(params) if num_visible is None else _side_weights(params, num_visible)
    # In two levels: one float32 sum of 2^24 terms would lose digits.
    rows = weights.reshape(2 ** (weights.size.bit_length() // 2), -1)
    value = jax.nn.logsumexp(jax.nn.logsumexp(rows, axis=1))
    zero = jnp.zeros_like(value)
    return LogZ(value, zero, value, zero, value, zero)


def _side_weights(params: Boltzmann, num_visible: int) -> jax.Array:
    """Log weights of all states of the smaller side, the larger one summed over.

    Given one side, the spins of the other are independent: the weight of v is
    h_v'v + sum_j log 2 cosh(h_j + sum_i v_i J_ij).
    """
    J, h = jnp.asarray(params.dense_J, jnp.float32), jnp.asarray(params.h, jnp.float32)
    _check_sides(J, num_visible)
    J, h_small, h_large = J[:num_visible, num_visible:], h[:num_visible], h[num_visible:]
    if h_small.size > h_large.size:
        J, h_small, h_large = J.T, h_large, h_small
    check_enumerable(h_small.size)
    split = min(h_small.size, _CHUNK_SPINS)
    # Spins [0, split) of the side run within a chunk, the others from chunk to chunk.
    rest = h_small.size - split
    later = enumerate_spins(rest) if rest else jnp.zeros((1, 0), J.dtype)  # one state of none
    within = enumerate_spins(split)
    fields, weights = within @ J[:split] + h_large[None, :], within @ h_small[:split]

    def chunk(spins: jax.Array) -> jax.Array:
        total = fields + (spins @ J[split:])[None, :]
        return weights + spins @ h_small[split:] + jnp.logaddexp(total, -total).sum(axis=1)

    return jax.lax.map(chunk, later).reshape(-1)


def _check_sides(J: jax.Array, num_visible: int) -> None:
    check_count(num_visible=num_visible)
    if num_visible >= J.shape[0]:
        raise InputError(
            f"expected num_visible below the {J.shape[0]} spins there are, got {num_visible}"
        )
    if is_concrete(J):
        sides = np.asarray(J[:num_visible, :num_visible]), np.asarray(J[num_visible:, num_visible:])
        if any(side.any() for side in sides):
            raise InputError(
                f"expected no couplings inside the sides of num_visible={num_visible}, got some; "
                "use method ais or bar"
            )
