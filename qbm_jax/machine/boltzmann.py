"""The Boltzmann machine: its parameters and its one energy.

Conventions, stated here and nowhere else. Spins s take the values -1 and +1, and

    p(s) = exp(-E(s)) / Z,    E(s) = -1/2 s'Js - h's,

with J symmetric and zero on the diagonal; the inverse temperature is absorbed in J and h. The
local field f = Js + h fixes every conditional, P(s_i = +1 | rest) = sigmoid(2 f_i). Bits are
b = (1 + s)/2.
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
    h = np.asarray(params.h)
    if isinstance(params.J, BCOO):
        _check_sparse(params.J, h)
        return params
    J = np.asarray(params.J)
    if J.ndim != 2 or J.shape[0] != J.shape[1] or h.shape != J.shape[:1]:
        raise InputError(f"expected J [N, N] and h [N], got J {J.shape} and h {h.shape}")
    if h.size < 2:
        raise InputError(f"expected at least 2 spins, got {h.size}")
    if not (np.isfinite(J).all() and np.isfinite(h).all()):
        raise InputError("expected finite J and h, got NaN or infinity")
    rows = range(0, h.size, _CHECKED_ROWS)  # in blocks: temporaries stay small
    _check_size(J, h)
    if not all(_close(J[i : i + _CHECKED_ROWS], J[:, i : i + _CHECKED_ROWS].T) for i in rows):
        raise InputError(_ASYMMETRIC)
    if np.any(np.diagonal(J) != 0):
        raise InputError("expected a zero diagonal of J; s_i^2 = 1, so set it to 0")
    return params


_CHECKED_ROWS = 512
_LARGEST = 1e15  # of a coupling or field in kT: squares and sums of energies stay finite in float32
_QUBO = "a QUBO b'Qb is linear = -diag(Q), quadratic = -(Q + Q') with a zero diagonal"
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
        J = BCOO((as_floats(found.data[order], _NUMBERS), indices), shape=found.shape)
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


def _check_size(*arrays: np.ndarray) -> None:
    largest = _largest(*arrays)
    if largest > _LARGEST:
        raise InputError(
            f"expected couplings and fields of at most {_LARGEST:g} kT, got {largest:.3g}; "
            "divide J and h by a common factor"
        )


def _close(J: np.ndarray, transposed: np.ndarray) -> bool:
    return np.allclose(J, transposed, rtol=1e-5, atol=1e-6)


def _check_sparse(J: BCOO, h: np.ndarray) -> None:
    """`check` for sparse couplings, without making them dense."""
    shape = J.shape
    if len(shape) != 2 or shape[0] != shape[1] or h.shape != shape[:1]:
        raise InputError(f"expected J [N, N] and h [N], got J {shape} and h {h.shape}")
    if h.size < 2:
        raise InputError(f"expected at least 2 spins, got {h.size}")
    if J.n_batch or J.n_dense:
        raise InputError("expected a sparse J without batches or dense axes; make it again from J")
    data, (rows, columns) = np.asarray(J.data), np.asarray(J.indices).T
    if (
        rows.size
        and not 0 <= min(rows.min(), columns.min()) <= max(rows.max(), columns.max()) < h.size
    ):
        raise InputError(f"expected couplings between spins 0 to {h.size - 1}, got others in J")
    if not (np.isfinite(data).all() and np.isfinite(h).all()):
        raise InputError("expected finite J and h, got NaN or infinity")
    _check_size(data, h)
    if np.any(data[rows == columns] != 0):
        raise InputError("expected a zero diagonal of J; s_i^2 = 1, so set it to 0")
    down, across = np.lexsort((columns, rows)), np.lexsort((rows, columns))
    same = np.array_equal(rows[down], columns[across]) and np.array_equal(
        columns[down], rows[across]
    )
    if not (same and _close(data[down], data[across])):
        raise InputError(_ASYMMETRIC + "; a sparse J stores both triangles")


def checked(params: Boltzmann) -> Boltzmann:
    """The machine as arrays; checks J unless it is traced or in a reduced type."""
    params = as_arrays(params)
    J = params.J
    known = isinstance(J, BCOO | jax.Array | np.ndarray)
    if not known or any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(params)):
        return params
    no_fields: Any = np.zeros(np.shape(params.h)[-1:])
    check(Boltzmann(J=J, h=no_fields))
    return params


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


def local_field(params: Boltzmann, spins: jax.Array) -> jax.Array:
    """Field on every spin, f_i = h_i + sum_j J_ij s_j, in units of kT.

    It fixes all conditionals, P(s_i = +1 | rest) = sigmoid(2 f_i), so every sampler calls it and
    none derives it again.

    Args:
      params: the machine.
      spins: [..., spins], values -1 and +1 (or mean spins in between, for mean fields).

    Returns:
      The fields, same shape as `spins`.
    """
    params = as_arrays(params)
    spins = as_spins(params, spins)
    h = jnp.broadcast_to(params.h, spins.shape)
    return h + spins @ params.J  # J is symmetric: s'J is (Js)'


def energy(params: Boltzmann, spins: jax.Array) -> jax.Array:
    """E(s) = -1/2 s'Js - h's, in units of kT; low energy is probable.

    Because J has a zero diagonal, this is also the exact expectation of E under a law that is
    factorial over spins, when `spins` holds its mean spins in [-1, 1].

    Args:
      params: the machine.
      spins: [..., spins].

    Returns:
      Energies of shape [...].
    """
    params = checked(params)
    spins = as_spins(params, spins)
    fields = local_field(params, spins)
    h = jnp.broadcast_to(params.h, spins.shape)
    return -0.5 * jnp.sum(spins * (fields + h), axis=-1)  # fields = h + J s, so -1/2 s'(2h + J s)


def scale(params: Boltzmann, beta: jax.Array | float) -> Boltzmann:
    """The same machine at inverse temperature `beta`: p(s) proportional to exp(-beta E(s)).

    Raises:
      InputError: no machine, or no number.
    """
    params = as_arrays(params)
    if not isinstance(beta, int | float | np.generic | np.ndarray | jax.Array):
        raise InputError(f"expected a number beta, got {beta!r}")
    beta = float(beta) if isinstance(beta, int) else beta  # JAX's whole numbers end at 2^31
    return Boltzmann(J=beta * params.J, h=beta * params.h)


def condition(params: Boltzmann, indices: jax.Array, values: jax.Array) -> Boltzmann:
    """The machine of the other spins, given those at `indices`: J_FF and h_F + J_FC s_C.

    Its law is p(s_F | s_C), and E(s) differs from its energy by a constant of s_C alone.

    Args:
      params: the machine, J dense.
      indices: of the clamped spins, concrete integers, no two equal.
      values: of the clamped spins [..., clamped]; leading axes become those of the fields.

    Raises:
      InputError: indices are out of range or repeated, no spin is clamped or fewer than two stay
        free, values are of another number of spins, or J is sparse or no machine has it.
    """
    params = checked(params)
    clamped, free = split_spins(params.num_spins, indices)
    J = params.dense_J
    expected = f"values [..., {clamped.size}] of the clamped spins"
    values = as_floats(values, expected)
    if values.shape[-1:] != clamped.shape:
        raise InputError(f"expected {expected}, got shape {values.shape}")
    drive = values @ J[np.ix_(clamped, free)]
    h = jnp.broadcast_to(params.h[free], drive.shape) + drive
    return Boltzmann(J=J[np.ix_(free, free)], h=h)


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


def symmetrise(matrix: jax.Array) -> jax.Array:
    """Couplings [spins, spins] from any square matrix: its symmetric part with a zero diagonal.

    It is a projection, so gradients with respect to a free matrix respect the constraints on J.

    Raises:
      InputError: the matrix is not square, or not of numbers.
    """
    expected = "a square matrix of numbers"
    dense = matrix.toarray() if hasattr(matrix, "toarray") else matrix
    matrix = as_floats(dense, expected)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"expected {expected}, got shape {matrix.shape}")
    symmetric = 0.5 * (matrix + matrix.T)
    return symmetric * (1 - jnp.eye(matrix.shape[0], dtype=matrix.dtype))


def spins_to_bits(spins: jax.Array) -> jax.Array:
    """Bits b = (1 + s)/2 [..., spins]."""
    return 0.5 * (1 + as_floats(spins, "spins as numbers"))


def bits_to_spins(bits: jax.Array) -> jax.Array:
    """Spins s = 2b - 1 [..., spins]."""
    return 2 * as_floats(bits, "bits as numbers") - 1


def from_bit_form(linear: jax.Array, quadratic: jax.Array) -> tuple[Boltzmann, jax.Array]:
    """Spin form of the bit-form machine E(b) = -a'b - 1/2 b'Wb.

    Args:
      linear: a [spins].
      quadratic: W [spins, spins], symmetric with zero diagonal.

    Returns:
      The machine with J = W/4 and h = a/2 + (row sums of W)/4, and the constant c with
      E(b) = E(s) + c for every state: c = -sum(a)/2 - sum(W)/8. Hence log Z of the bit form is
      log Z of the spin form minus c.

    Raises:
      InputError: at concrete values, what `check` raises for (W, a). A matrix Q of a QUBO, with
        E(b) = b'Qb, is a = -diag(Q) and W = -(Q + Q') without its diagonal.
    """
    machine = as_arrays(Boltzmann(J=quadratic, h=linear))
    linear = machine.h
    W: Any = machine.J  # dense or sparse: both divide and sum
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in (linear, W)):
        try:
            check(machine)
        except InputError as error:
            raise InputError(f"bit form with W as J: {error}; {_QUBO}") from error
    params = Boltzmann(J=W / 4, h=linear / 2 + _row_sums(W) / 4)
    return params, -linear.sum() / 2 - W.sum() / 8


def to_bit_form(params: Boltzmann) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Inverse of `from_bit_form`: a [spins], W [spins, spins] and the scalar c.

    Raises:
      InputError: at concrete values, a J that is no machine's.
    """
    params = checked(params)
    quadratic = 4 * params.J
    linear = 2 * params.h - _row_sums(quadratic) / 2
    return linear, quadratic, -linear.sum() / 2 - quadratic.sum() / 8


def _row_sums(matrix: jax.Array | BCOO) -> jax.Array:
    if isinstance(matrix, BCOO):
        return matrix @ jnp.ones(matrix.shape[1], matrix.dtype)
    return matrix.sum(axis=1)


def with_gauge_spin(params: Boltzmann) -> Boltzmann:
    """The field-free machine of N + 1 spins for an Ising machine without fields.

    The last spin couples to spin i with h_i; undo it with `remove_gauge_spin`.

    Raises:
      InputError: J is sparse, or not the couplings of a machine.
    """
    params = checked(params)
    top = jnp.concatenate([params.dense_J, params.h[:, None]], axis=1)
    bottom = jnp.append(params.h, jnp.zeros((), params.h.dtype))
    return Boltzmann(J=jnp.concatenate([top, bottom[None]], axis=0), h=jnp.zeros_like(bottom))


def remove_gauge_spin(spins: jax.Array) -> jax.Array:
    """Spins [..., N] of the machine with fields, from those of `with_gauge_spin` [..., N + 1].

    They are s_i times the last spin.
    """
    spins = as_floats(spins, "spins")
    return spins[..., :-1] * spins[..., -1:]
