"""Machines in the sign of problems: E(s) = sum_i a_i s_i + sum over i < j of b_ij s_i s_j.

Public codes for Ising problems, and files of graphs, write biases a and b with this sign, so that
a = -h and b = -J. Here alone the sign is turned. Numbers stay in double precision.
"""

from typing import Any, NamedTuple

import numpy as np
from jax.experimental.sparse import BCOO

from qbm_jax.errors import InputError
from qbm_jax.machine.parameters import Boltzmann, check

MOST_DENSE = 1024  # spins whose couplings are kept dense, in 8 MiB
_SPARSE_SHARE = 0.1  # of the pairs: above it products with a dense J are faster


class Biases(NamedTuple):
    """Biases of spins and of pairs, in float64.

    Attributes:
      linear: a [spins].
      rows: i of every pair that has a bias, int64 [pairs].
      columns: j of every pair; above its i where `biases` made it.
      values: b_ij [pairs].
    """

    linear: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray


def biases(params: Boltzmann) -> Biases:
    """The biases of a machine, dense or sparse, each pair once and in the order of rows.

    Raises:
      InputError: `params` is no machine.
    """
    params = check(params)
    if isinstance(params.J, BCOO):
        rows, columns = np.asarray(params.J.indices, np.int64).T
        values = np.asarray(params.J.data, np.float64)
    else:
        J: Any = np.asarray(params.J, np.float64)
        rows, columns = np.nonzero(J)
        values = J[rows, columns]
    linear = -np.asarray(params.h, np.float64)
    above = rows < columns
    pairs, values = _summed(len(linear), rows[above], columns[above], -values[above])
    rows, columns = pairs[:, values != 0]
    return Biases(linear, rows, columns, values[values != 0])


def without_fields(params: Boltzmann) -> Biases:
    """The biases of a machine that has no fields.

    Raises:
      InputError: it has.
    """
    found = biases(params)
    if found.linear.any():
        raise InputError(
            "expected a machine without fields, got h other than 0; a graph's weights are those of "
            "pairs (machine.boltzmann.with_gauge_spin makes couplings of fields)"
        )
    return found


def from_biases(given: Biases) -> Boltzmann:
    """The machine of biases; pairs may come in any order, and several times: they add up.

    Raises:
      InputError: what `check` raises.
    """
    J = couplings(len(given.linear), given.rows, given.columns, -np.asarray(given.values))
    h: Any = 0.0 - np.asarray(given.linear, np.float64)  # no -0
    params = Boltzmann(J=J, h=h)
    check(params)
    return params


def couplings(num_spins: int, rows: Any, columns: Any, values: Any) -> Any:
    """Symmetric couplings with J_ij and J_ji the sum of what is given for either.

    Args:
      num_spins: N.
      rows: [pairs].
      columns: [pairs], nowhere equal to `rows`.
      values: [pairs].

    Returns:
      A numpy array in float64 up to `MOST_DENSE` spins and where many pairs are coupled, else a
      `BCOO` with both triangles stored, in JAX's own precision.
    """
    rows, columns = np.asarray(rows, np.int64), np.asarray(columns, np.int64)
    values = np.asarray(values, np.float64)
    if num_spins <= MOST_DENSE or len(values) > _SPARSE_SHARE * num_spins**2 / 2:
        J: Any = np.zeros((num_spins, num_spins))
        np.add.at(J, (rows, columns), values)
        return J + J.T
    first, second = np.minimum(rows, columns), np.maximum(rows, columns)
    pairs, summed = _summed(num_spins, first, second, values)
    upper = pairs.T.astype(np.int32)
    indices: Any = np.concatenate([upper, upper[:, ::-1]])
    order = np.lexsort((indices[:, 1], indices[:, 0]))
    data: Any = np.tile(summed, 2)[order]
    shape = (num_spins, num_spins)
    return BCOO((data, indices[order]), shape=shape, indices_sorted=True, unique_indices=True)


def _summed(num_spins: int, rows: Any, columns: Any, values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Every pair once, int64 [2, pairs] in the order of rows, and the sums of its values."""
    pairs, place = np.unique(rows * num_spins + columns, return_inverse=True)
    return np.stack(np.divmod(pairs, num_spins)), np.bincount(place, values, len(pairs))


def check_pairs(what: str, first: Any, second: Any) -> None:
    """Raises InputError for a pair of a spin with itself: s_i^2 = 1, a constant and no coupling."""
    for one, other in zip(first, second, strict=True):
        if one == other:
            raise InputError(
                f"expected {what} between different variables, got a self-loop of {one!r}; remove "
                "it, s^2 = 1 makes it a constant"
            )
