"""Quadratic problems of bits: E(b) = b'Qb + offset, b = (1 + s)/2."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, as_floats
from qbm_jax.machine.opposite_sign import Biases, biases, from_biases
from qbm_jax.problems.labels import check_labels, order_of, refuse_lone
from qbm_jax.runtime.options import check as check_number
from qbm_jax.runtime.options import finite, shown


class _Entries(NamedTuple):
    """Entries of Q at [entries] rows and columns, several of one place adding up."""

    num_bits: int
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray


def from_qubo(
    Q: Any, offset: float = 0.0, labels: Iterable[Hashable] | None = None
) -> tuple[Boltzmann, float]:
    """The machine of a QUBO, E(b) = b'Qb + offset, low energy being probable.

    b'Qb is the sum over all entries of Q: an upper triangle stores each pair once, a symmetric
    matrix half of it on either side, and Q_ii is the linear term of bit i.

    Args:
      Q: a square matrix (lists, array, scipy sparse), or a dict of values by (label, label).
      offset: added to every energy.
      labels: of a dict, the order of the spins; None: that in which the dict names them.

    Returns:
      The machine in units of kT at temperature 1 (`machine.boltzmann.scale` changes it) and a
      constant, with E(b) equal to the machine's energy of s = 2b - 1 plus the constant. Both are in
      double precision, but for couplings of more than 1024 spins with few pairs: these are sparse,
      each rounded to single precision.

    Raises:
      InputError: an empty or higher-order Q, one that is not finite, or labels that are not its.
    """
    is_dict = isinstance(Q, Mapping) and not hasattr(Q, "tocoo")  # scipy's dok is both
    entries = _of_dict(Q, labels) if is_dict else _of_matrix(Q, labels)
    if not entries.num_bits:
        raise InputError("expected a QUBO with variables, got an empty one")
    refuse_lone(entries.num_bits, "QUBO", "bit", '{("free", "free"): 0}')
    linear = np.zeros(entries.num_bits)
    own = entries.rows == entries.columns
    np.add.at(linear, entries.rows[own], entries.values[own] / 2)
    rows, columns, values = (each[~own] for each in entries[1:])
    constant = linear.sum() + values.sum() / 4 + check_number("offset", offset, finite())
    for ends in (rows, columns):
        np.add.at(linear, ends, values / 4)
    return from_biases(Biases(linear, rows, columns, values / 4)), float(constant)


def to_qubo(
    params: Boltzmann,
    offset: float = 0.0,
    labels: Iterable[Hashable] | None = None,
    form: str = "dict",
) -> tuple[Any, float]:
    """The QUBO of a machine: (Q, constant), the energy plus `offset` being b'Qb + constant.

    Args:
      params: the machine, dense or sparse.
      offset: of the energy, as `from_qubo` returns it.
      labels: of the spins, for a dict; None: 0 to N - 1.
      form: "dict" by (label, label), each pair once, or "matrix", a dense upper triangle.

    Raises:
      InputError: no machine, another number of labels, or an unknown form.
    """
    if form not in ("dict", "matrix"):
        raise InputError(f"expected form 'dict' or 'matrix', got {shown(form)}")
    linear, rows, columns, values = biases(params)
    names = check_labels(labels, len(linear))
    diagonal, values = 2 * linear, 4 * values
    for ends in (rows, columns):
        np.subtract.at(diagonal, ends, values / 2)
    constant = check_number("offset", offset, finite()) - linear.sum() + values.sum() / 4
    if form == "matrix":
        Q = np.diag(diagonal)
        Q[rows, columns] = values
        return Q, float(constant)
    found = {(name, name): float(value) for name, value in zip(names, diagonal, strict=True)}
    pairs = zip(rows, columns, values, strict=True)
    return found | {(names[i], names[j]): float(b) for i, j, b in pairs}, float(constant)


def _of_matrix(Q: Any, labels: Iterable[Hashable] | None) -> _Entries:
    if labels is not None:
        raise InputError("labels are of a dict; the bits of a matrix are in its own order")
    if hasattr(Q, "tocoo"):
        found = Q.tocoo()
        rows, columns, values = found.row, found.col, found.data
    elif hasattr(Q, "indices") and hasattr(Q, "data"):  # JAX's sparse
        Q = Q.to_bcoo() if hasattr(Q, "to_bcoo") else Q
        places, values = np.asarray(Q.indices), np.asarray(Q.data)
        inside = (places < Q.shape).all(axis=1)  # it pads with places behind the end
        (rows, columns), values = places[inside].T, values[inside]
    else:
        Q = _doubles(Q, "a square matrix Q of numbers")
        if Q.ndim != 2:
            raise InputError(f"expected a square matrix Q, got shape {Q.shape}")
        rows, columns = np.nonzero(Q)
        values = Q[rows, columns]
    if Q.shape[0] != Q.shape[1]:
        raise InputError(f"expected a square matrix Q, got shape {Q.shape}")
    values = _doubles(values, "real numbers in Q")
    return _Entries(Q.shape[0], np.asarray(rows), np.asarray(columns), values)


def _of_dict(Q: Mapping, labels: Iterable[Hashable] | None) -> _Entries:
    for pair in Q:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise InputError(
                f"expected pairs (label, label) as keys of a QUBO, got {shown(pair)}; reduce "
                "higher orders first, for example by dimod.make_quadratic"
            )
    known = list(dict.fromkeys(label for pair in Q for label in pair))
    names = order_of(labels, known)
    place = {name: number for number, name in enumerate(names)}
    indices = np.array([(place[u], place[v]) for u, v in Q], np.int64).reshape(-1, 2)
    values = _doubles(list(Q.values()), "real numbers in Q")
    if values.ndim != 1:
        raise InputError(f"expected a real number for each pair in Q, got shape {values.shape[1:]}")
    return _Entries(len(names), indices[:, 0], indices[:, 1], values)


def _doubles(values: Any, expected: str) -> np.ndarray:
    """Real numbers in double precision, whole ones too: `as_floats` rounds those beyond 2^24."""
    as_floats(values, expected)
    return np.asarray(values, np.float64)
