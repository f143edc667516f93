"""The parameters of a Boltzmann machine, and what they must be.

What they mean, the energy and every sign, stands in `machine.boltzmann`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental.sparse import BCOO

from qbm_jax.errors import InputError


class Boltzmann(struct.PyTreeNode):
    """Parameters of p(s), proportional to exp(s'Js/2 + h's).

    Attributes:
      J: couplings [spins, spins], symmetric with zero diagonal, in units of kT. Dense, or sparse
        (`BCOO` with both triangles stored): fields, energies and `scale` work with either.
      h: fields [spins], in units of kT.
    """

    J: jax.Array | BCOO
    h: jax.Array

    @property
    def num_spins(self) -> int:
        """Number of spins N."""
        return self.h.shape[-1]

    @property
    def dense_J(self) -> jax.Array:
        """J [spins, spins].

        Raises:
          InputError: J is sparse.
        """
        if isinstance(self.J, BCOO):
            raise InputError("expected a dense J here, got a sparse one; use J.todense()")
        return self.J


def check(params: Boltzmann) -> Boltzmann:
    """Returns `params` if they are a Boltzmann machine; call it where they come from outside.

    J and h may be lists or numpy arrays, and J a scipy sparse matrix; the result has arrays.

    Raises:
      InputError: J is not square, symmetric, finite, up to 1e15 kT and zero on its diagonal, there
        are fewer than two spins, or h does not have one such entry per spin.
    """
    params = as_arrays(params)
    J, h = params.J, np.asarray(params.h)
    if len(J.shape) != 2 or J.shape[0] != J.shape[1] or h.shape != J.shape[:1]:
        raise InputError(f"expected J [N, N] and h [N], got J {J.shape} and h {h.shape}")
    if h.size < 2:
        raise InputError(f"expected at least 2 spins, got {h.size}")
    sparse = _check_indices(J) if isinstance(J, BCOO) else None
    entries = np.asarray(J.data if isinstance(J, BCOO) else J)
    if not (np.isfinite(entries).all() and np.isfinite(h).all()):
        raise InputError("expected finite J and h, got NaN or infinity")
    largest = _largest(entries, h)
    if largest > _LARGEST:
        raise InputError(
            f"expected couplings and fields of at most {_LARGEST:g} kT, got {largest:.3g}; "
            "divide J and h by a common factor"
        )
    _refuse_asymmetric(entries, sparse)
    diagonal = np.diagonal(entries) if sparse is None else entries[np.equal(*sparse)]
    if np.any(diagonal != 0):
        raise InputError("expected a zero diagonal of J; s_i^2 = 1, so set it to 0")
    return params


_CHECKED_ROWS = 512  # at once: temporaries stay small
_LARGEST = 1e15  # of a coupling or field in kT: squares and sums of energies stay finite in float32
_ASYMMETRIC = (
    "expected a symmetric J, got an asymmetric one; use J + J.T where each pair is stored once "
    "(a triangle), (J + J.T) / 2 where both entries are estimates of one coupling"
)


def as_arrays(params: Boltzmann) -> Boltzmann:
    """The parameters as arrays of floats: lists, whole numbers and scipy's sparse matrices too.

    Narrow whole numbers would overflow in sums. Arrays of floats and reduced couplings stay what
    they are.

    Raises:
      InputError: `params` is no machine, or J or h holds no real numbers.
    """
    if not isinstance(params, Boltzmann):
        raise InputError(f"expected a machine Boltzmann(J=..., h=...), got {type(params).__name__}")
    J, h = params.J, params.h
    if hasattr(J, "tocoo"):
        found = J.tocoo(copy=True)
        found.sum_duplicates()
        order = np.lexsort((found.col, found.row))
        indices: Any = np.stack([found.row, found.col], axis=1).astype(np.int32)[order]
        J = BCOO(
            (as_floats(found.data[order], _NUMBERS), indices),
            shape=found.shape,
            indices_sorted=True,
            unique_indices=True,
        )
    elif not isinstance(J, BCOO | struct.PyTreeNode):
        J = as_floats(J, _NUMBERS)
    elif isinstance(J, BCOO) and (data := as_floats(J.data, _NUMBERS)) is not J.data:
        J = BCOO((data, J.indices), shape=J.shape)
    h = as_floats(h, _NUMBERS)
    return params if J is params.J and h is params.h else Boltzmann(J=J, h=h)


_NUMBERS = "real numbers in J and h"


def as_floats(values: Any, expected: str) -> jax.Array:
    """An array [...] of floats: itself if it is one; lists and whole numbers in single precision.

    A numpy array stays one, so that nothing moves to a device without need. It serves as a JAX
    array in all that follows, and is typed as one.

    Raises:
      InputError: it holds no real numbers; `expected` says in the message what should be.
    """
    array: Any = values
    try:
        if type(values) is not np.ndarray and not isinstance(values, jax.Array):
            array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"expected {expected}, got ragged lists") from error
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    if array.dtype.kind not in "iub":
        raise InputError(f"expected {expected}, got {array.dtype}")
    return array.astype(np.float32)


def _largest(*arrays: np.ndarray | jax.Array) -> float:
    # Without a second array of that size: J of 10,000 spins is 400 MB.
    ends = [float(end) for array in arrays if array.size for end in (array.min(), array.max())]
    return max(map(abs, ends), default=0.0)


def has_energies(params: Boltzmann) -> bool:
    """Whether J and h are so small that energies and their squares are finite in float32."""
    J = params.J.data if isinstance(params.J, BCOO) else params.J
    return _largest(J, params.h) <= _LARGEST


def _check_indices(J: BCOO) -> np.ndarray:
    """Rows and columns [2, entries] of sparse couplings."""
    if J.n_batch or J.n_dense:
        raise InputError("expected a sparse J without batches or dense axes; make it again from J")
    places = np.asarray(J.indices).T
    if places.size and not 0 <= places.min() <= places.max() < J.shape[0]:
        raise InputError(f"expected couplings between spins 0 to {J.shape[0] - 1}, got others in J")
    return places


def _is_symmetric(entries: np.ndarray, places: np.ndarray | None) -> bool:
    """Whether couplings [N, N], or the entries at sparse places, are those of their transpose."""
    rounding = 1e-6 * min(1.0, _largest(entries))  # the couplings of a machine may all be small

    def close(J: np.ndarray, transposed: np.ndarray) -> bool:
        return np.allclose(J, transposed, rtol=1e-5, atol=rounding)

    if places is not None:
        found, values = _summed(places, entries)
        turned, others = _summed(places[::-1], entries)
        return np.array_equal(found, turned) and close(values, others)
    blocks = [slice(i, i + _CHECKED_ROWS) for i in range(0, len(entries), _CHECKED_ROWS)]
    return all(close(entries[rows], entries[:, rows].T) for rows in blocks)


def _summed(places: np.ndarray, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each place [2, entries] once, as one number in order, and the sum of what is stored there."""
    rows, columns = places.astype(np.int64)
    numbers, where = np.unique((rows << 32) + columns, return_inverse=True)
    return numbers, np.bincount(where, entries, len(numbers))


def checked(params: Boltzmann) -> Boltzmann:
    """The machine as arrays; checks J unless it is traced or in a reduced type."""
    params = as_arrays(params)
    J = params.J
    if not _is_at_hand(params):
        return params
    no_fields: Any = np.zeros(np.shape(params.h)[-1:])
    check(Boltzmann(J=J, h=no_fields))
    return params


def symmetric(params: Boltzmann) -> Boltzmann:
    """The machine as arrays; refuses a J that is no machine's unless it is traced or reduced.

    What is finite is asked for where energies are.

    Raises:
      InputError: J is asymmetric, such as a triangle.
    """
    params = as_arrays(params)
    J = params.J
    if not _is_at_hand(params) or len(J.shape) != 2:
        return params
    sparse = _check_indices(J) if isinstance(J, BCOO) else None
    entries = np.asarray(J.data if isinstance(J, BCOO) else J)
    if np.isfinite(entries).all():
        _refuse_asymmetric(entries, sparse)
    return params


def _is_at_hand(params: Boltzmann) -> bool:
    """Whether the entries of J can be looked at: neither traced nor of a reduced type."""
    known = isinstance(params.J, BCOO | jax.Array | np.ndarray)
    return known and not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(params))


def _refuse_asymmetric(entries: np.ndarray, places: np.ndarray | None) -> None:
    if not _is_symmetric(entries, places):
        raise InputError(_ASYMMETRIC + "; a sparse J stores both triangles" * (places is not None))


def as_spins(params: Boltzmann, spins: Any) -> jax.Array:
    """Spins [..., spins] of this machine as an array.

    Raises:
      InputError: no real numbers, or another number of spins.
    """
    if isinstance(params.J, struct.PyTreeNode):  # reduced couplings know spins of few bits
        return jnp.asarray(spins)
    expected = f"spins [..., {params.num_spins}] of numbers"
    spins = jnp.asarray(as_floats(spins, expected))  # numpy would take a sparse J for an object
    if spins.shape[-1:] != (params.num_spins,):
        raise InputError(f"expected {expected}, got shape {spins.shape}")
    return spins


def split_spins(num_spins: int, indices: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Indices [clamped] and [free] of spins; at least one of the first, two of the second.

    Raises:
      InputError: as in `condition`.
    """
    clamped = np.asarray(indices)
    if clamped.ndim != 1 or not np.issubdtype(clamped.dtype, np.integer):
        raise InputError(f"expected a list of spin indices, got {clamped.dtype} {clamped.shape}")
    if clamped.size == 0 or len(set(clamped.tolist())) < clamped.size:
        raise InputError(f"expected different spin indices, at least one, got {clamped.tolist()}")
    if clamped.min() < 0 or clamped.max() >= num_spins:
        raise InputError(f"expected indices in 0 to {num_spins - 1}, got {clamped.tolist()}")
    if clamped.size > num_spins - 2:
        raise InputError(f"expected at least 2 of {num_spins} spins free, got {clamped.size} fixed")
    return clamped, np.setdiff1d(np.arange(num_spins), clamped)
