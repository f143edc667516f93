"""Couplings of one magnitude, one bit each: products with spins by counting bits that differ.

J_ij = c b_ij with b_ij = -1 or +1 off the diagonal, as in Sherrington-Kirkpatrick and complete
Max-Cut instances. 32 couplings are one word: (b s)_i = N - 2 popcount(word(b_i) xor word(s)). The
products are exact, and J is 32 times smaller than in float32, so that it stays in cache.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax.experimental.sparse import BCOO

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, checked

_WORD = 32
_UNROLLED = 32  # words summed in registers by one fused loop
_DENSER = 40  # places for one coupling: with fewer, a dense product is faster than a sparse one


class SignCouplings(struct.PyTreeNode):
    """Couplings `scale` times the signs in `words`, zero on the diagonal; supports `spins @ J`.

    Attributes:
      words: uint32 [ceil(spins / 32), spins]: bit k of words[w, i] is "b_ij is +1" for
        j = 32 w + k. The diagonal is stored as +1.
      scale: c, a scalar in units of kT; NaN where the couplings were not of one magnitude.
    """

    words: jax.Array
    scale: jax.Array

    def __rmatmul__(self, spins: jax.Array) -> jax.Array:
        """Spins [chains, spins] of -1 and +1 times J, in float32; any other sign counts as -1."""
        num_spins = self.words.shape[1]
        differing = _differing(self.words, _pack(spins > 0))
        product = (num_spins - 2 * differing.astype(jnp.int32)).astype(jnp.float32)
        return self.scale * (product - jnp.where(spins > 0, 1.0, -1.0))


class EitherCouplings(struct.PyTreeNode):
    """Dense couplings, multiplied by counting bits where they turn out to be of one magnitude.

    Attributes:
      J: [spins, spins].
      signs: the same couplings; their scale is NaN where there are several magnitudes.
    """

    J: jax.Array
    signs: SignCouplings

    def __rmatmul__(self, spins: jax.Array) -> jax.Array:
        """Spins [chains, spins] of -1 and +1 times J, in float32."""
        dense = lambda spins: (self.J @ spins.T).T  # noqa: E731, J is symmetric
        counted = lambda spins: spins @ self.signs  # noqa: E731
        return jax.lax.cond(jnp.isfinite(self.signs.scale), counted, dense, spins)


def either_couplings(params: Boltzmann) -> Boltzmann:
    """The machine with the fastest couplings for products with spins that are exact.

    Dense ones as `EitherCouplings`; sparse ones dense where that is faster, else as they are.
    """
    params = checked(params)
    if isinstance(params.J, BCOO):
        if params.num_spins**2 > _DENSER * params.J.nse:
            return params
        params = params.replace(J=params.J.todense())
    J = params.dense_J
    return params.replace(J=EitherCouplings(J, _signs(J)[0]))


def sign_couplings(params: Boltzmann) -> Boltzmann:
    """The machine with its dense couplings as `SignCouplings`; fields stay as they are.

    Raises:
      InputError: J is sparse or, at concrete values, its couplings differ in magnitude. If they are
        traced, the scale is NaN instead, and so is every field.
    """
    params = checked(params)
    if isinstance(params.J, BCOO):
        raise InputError("expected a dense J for couplings_dtype sign, got a sparse one")
    signs, equal = _signs(params.J)
    if not isinstance(equal, jax.core.Tracer) and not equal:
        raise InputError(
            "expected couplings of one magnitude for couplings_dtype sign, got several; use int8"
        )
    return params.replace(J=signs)


def _signs(J: jax.Array) -> tuple[SignCouplings, jax.Array]:
    """The signs of dense couplings, and whether all are of one magnitude."""
    magnitude = jnp.abs(J[0, 1])
    num_equal = jnp.sum(jnp.abs(J) == magnitude)  # the diagonal is 0
    equal = (magnitude > 0) & (num_equal == J.shape[0] * (J.shape[0] - 1))
    positive = (J > 0) | jnp.eye(J.shape[0], dtype=bool)
    scale = jnp.where(equal, magnitude, jnp.nan).astype(jnp.float32)
    return SignCouplings(_pack(positive).T, scale), equal


def _pack(bits: jax.Array) -> jax.Array:
    """Booleans [rows, spins] as words uint32 [rows, ceil(spins / 32)], padded with zeros."""
    rows, num_spins = bits.shape
    num_words = -(-num_spins // _WORD)
    padded = jnp.pad(bits, ((0, 0), (0, num_words * _WORD - num_spins)))
    places = jnp.arange(_WORD, dtype=jnp.uint32)
    words = padded.reshape(rows, num_words, _WORD).astype(jnp.uint32) << places[None, None, :]
    return jnp.sum(words, axis=-1, dtype=jnp.uint32)


def _differing(coupling_words: jax.Array, spin_words: jax.Array) -> jax.Array:
    """Bits that differ between words [words, spins] and [chains, words]: [chains, spins]."""
    padding = -coupling_words.shape[0] % _UNROLLED
    coupling_words = jnp.pad(coupling_words, ((0, padding), (0, 0)))
    spin_words = jnp.pad(spin_words, ((0, 0), (0, padding)))

    def add_block(block: jax.Array, total: jax.Array) -> jax.Array:
        first = block * _UNROLLED
        rows = jax.lax.dynamic_slice_in_dim(coupling_words, first, _UNROLLED)
        columns = jax.lax.dynamic_slice_in_dim(spin_words, first, _UNROLLED, axis=1)
        # A sum of terms, not a reduction: it is then one vectorised loop over spins.
        for w in range(_UNROLLED):
            total = total + jax.lax.population_count(rows[w][None, :] ^ columns[:, w][:, None])
        return total

    # A loop also where one block would do: XLA fuses what is not in a loop into each of its uses,
    # and computes it again there.
    start = jnp.zeros((spin_words.shape[0], coupling_words.shape[1]), jnp.uint32)
    return jax.lax.fori_loop(0, coupling_words.shape[0] // _UNROLLED, add_block, start)
