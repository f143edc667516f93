"""Sweeps over sparse machines: spins of one colour have no coupling and are updated at once.

A greedy colouring (Welsh and Powell 1967, The Computer Journal 10, 85: spins of most neighbours
first) takes at most one colour more than the largest number of neighbours. A sweep goes through the
colours in turn, so that it is a sequential sweep in another order and leaves the same law. Each
spin's neighbours stand in a table: a field is a sum of as many rows of spins, and memory grows with
the number of couplings.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental.sparse import BCOO

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.base import is_concrete

_UNROLLED = 8  # columns of a table, at most
_MOST_COLOURS = 256  # each is a block of the compiled sweep


class Colour(struct.PyTreeNode):
    """Spins that no coupling joins.

    Attributes:
      spins: int32 [spins of the colour].
      neighbours: int32 [spins of the colour, most neighbours]; 0 where there are fewer.
      entries: int32, likewise, places in the data of J; behind its end where there are fewer.
    """

    spins: jax.Array
    neighbours: jax.Array
    entries: jax.Array


class Colouring(struct.PyTreeNode):
    """The colours of a sparse machine, and the couplings that they were made of.

    Attributes:
      colours: in the order of a sweep.
      indices: int32 [entries, 2] of J.
    """

    colours: tuple[Colour, ...]
    indices: jax.Array


class ColouredCouplings(struct.PyTreeNode):
    """Sparse couplings that can be swept; `spins @ J` multiplies as the sparse ones do."""

    J: BCOO
    colouring: Colouring

    def __rmatmul__(self, spins: jax.Array) -> jax.Array:
        """Spins [..., spins] times J."""
        return spins @ self.J


def colouring_of(params: Boltzmann) -> Colouring | None:
    """The colouring of a machine with sparse couplings; None for other couplings.

    Raises:
      InputError: J is sparse and traced, so that nobody knows which spins are coupled, or needs
        more colours than a compiled sweep has room for.
    """
    if not isinstance(params.J, BCOO):
        return None
    if not is_concrete(params.J.indices):
        raise InputError(
            "expected a sparse J whose places are known, got one that is traced; call init outside "
            "of jax.jit, or close over the machine"
        )
    indices = np.asarray(params.J.indices, np.int32)
    apart = indices[:, 0] != indices[:, 1]  # zeros on the diagonal may be stored
    entries = np.flatnonzero(apart)
    order = entries[np.argsort(indices[apart, 0], kind="stable")]
    starts = np.searchsorted(indices[order, 0], np.arange(params.num_spins + 1))
    neighbours = indices[order, 1]
    colour_of = _greedy(starts, neighbours)
    number = int(colour_of.max()) + 1
    if number > _MOST_COLOURS:
        raise InputError(
            f"expected sparse couplings of at most {_MOST_COLOURS} colours, got {number}; use "
            "J.todense()"
        )
    members = [np.flatnonzero(colour_of == colour) for colour in range(number)]
    colours = tuple(_table(spins, starts, neighbours, order, len(indices)) for spins in members)
    return Colouring(colours, jnp.asarray(indices))


def coloured(params: Boltzmann, colouring: Colouring | None) -> Boltzmann:
    """The machine with couplings that can be swept; dense and reduced ones stay as they are.

    Raises:
      InputError: J has other entries than the machine that was coloured. Where they are traced and
        differ, the couplings become NaN instead.
    """
    if colouring is None or not isinstance(params.J, BCOO):
        return params
    J, known = params.J, colouring.indices
    if J.indices.shape != known.shape:
        raise InputError("expected the sparse couplings that init was given, got others; init anew")
    same = jnp.all(J.indices == known)
    if is_concrete(same) and not same:
        raise InputError("expected the sparse couplings that init was given, got others; init anew")
    J = BCOO((jnp.where(same, J.data, jnp.nan), J.indices), shape=J.shape)
    couplings: Any = ColouredCouplings(J, colouring)
    return params.replace(J=couplings)


def coloured_sweep(params: Boltzmann, spins: jax.Array, noise: jax.Array) -> jax.Array:
    """One sweep, colour by colour: s_i = +1 where the field f_i exceeds noise_i, else -1.

    Args:
      params: the machine, its J a `ColouredCouplings`.
      spins: [spins, chains].
      noise: [spins, chains], as of `gibbs.sweep`.
    """
    couplings: Any = params.J
    data = jnp.append(couplings.J.data, 0).astype(spins.dtype)
    for colour in couplings.colouring.colours:
        fields = _fields(params.h[colour.spins], data[colour.entries], colour.neighbours, spins)
        up = fields > noise[colour.spins]
        drawn = jnp.where(up, 1, -1).astype(spins.dtype)
        drawn = jnp.where(jnp.isfinite(fields), drawn, jnp.nan)
        spins = spins.at[colour.spins].set(drawn, unique_indices=True)
    return spins


def _fields(h: jax.Array, weights: jax.Array, neighbours: jax.Array, spins: jax.Array) -> jax.Array:
    """Fields [spins of a colour, chains], a column of the table after the other."""
    fields = jnp.broadcast_to(h[:, None], (h.size, spins.shape[1]))
    most = neighbours.shape[1]

    def add(column: jax.Array | int, fields: jax.Array) -> jax.Array:
        return fields + weights[:, column, None] * spins[neighbours[:, column]]

    if most > _UNROLLED:  # many copies of one line would be compiled for minutes
        return jax.lax.fori_loop(0, most, add, fields)
    for column in range(most):
        fields = add(column, fields)
    return fields


def _greedy(starts: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """A colour [spins] for each spin: the smallest that none of its neighbours has."""
    colours = np.full(len(starts) - 1, -1, np.int64)
    for spin in np.argsort(-np.diff(starts), kind="stable"):
        taken = set(colours[neighbours[starts[spin] : starts[spin + 1]]].tolist())
        colours[spin] = next(colour for colour in range(len(taken) + 1) if colour not in taken)
    return colours


def _table(
    spins: np.ndarray, starts: np.ndarray, neighbours: np.ndarray, order: np.ndarray, none: int
) -> Colour:
    """The colour of some spins; `none` is the place of a coupling that is zero."""
    counts = starts[spins + 1] - starts[spins]
    columns = np.arange(max(int(counts.max(initial=0)), 1))
    there = columns[None, :] < counts[:, None]
    places = np.where(there, starts[spins][:, None] + columns[None, :], 0)
    if not order.size:
        places, there = np.zeros_like(places), np.zeros_like(there)
        neighbours, order = np.zeros(1, np.int32), np.zeros(1, np.int64)
    return Colour(
        jnp.asarray(spins, jnp.int32),
        jnp.asarray(np.where(there, neighbours[places], 0), jnp.int32),
        jnp.asarray(np.where(there, order[places], none), jnp.int32),
    )
