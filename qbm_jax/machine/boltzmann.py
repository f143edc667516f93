"""The Boltzmann machine: its parameters and its one energy.

Conventions, stated here and nowhere else. Spins s take the values -1 and +1, and

    p(s) = exp(-E(s)) / Z,    E(s) = -1/2 s'Js - h's,

with J symmetric and zero on the diagonal; the inverse temperature is absorbed in J and h. The
local field f = Js + h fixes every conditional, P(s_i = +1 | rest) = sigmoid(2 f_i). Bits are
b = (1 + s)/2.
"""

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine.forms import (
    bits_to_spins,
    from_bit_form,
    remove_gauge_spin,
    spins_to_bits,
    to_bit_form,
    with_gauge_spin,
)
from qbm_jax.machine.parameters import (
    Boltzmann,
    as_arrays,
    as_floats,
    as_spins,
    check,
    checked,
    has_energies,
    split_spins,
    symmetric,
)

__all__ = [
    "Boltzmann", "as_arrays", "as_floats", "as_spins", "bits_to_spins", "check", "checked",
    "condition", "energy", "from_bit_form", "has_energies", "local_field", "remove_gauge_spin",
    "scale", "spins_to_bits", "split_spins", "symmetric", "symmetrise", "to_bit_form",
    "with_gauge_spin",
]  # fmt: skip


def local_field(params: Boltzmann, spins: jax.Array) -> jax.Array:
    """Field on every spin, f_i = h_i + sum_j J_ij s_j, in units of kT.

    It fixes all conditionals, P(s_i = +1 | rest) = sigmoid(2 f_i), so every sampler calls it and
    none derives it again.

    Args:
      params: the machine.
      spins: [..., spins], values -1 and +1 (or mean spins in between, for mean fields).

    Returns:
      The fields, same shape as `spins`.

    Raises:
      InputError: no machine (a J that is a triangle, among others), or no spins of it.
    """
    params = symmetric(params)
    return _local_field(params, as_spins(params, spins))


def _local_field(params: Boltzmann, spins: jax.Array) -> jax.Array:
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

    Raises:
      InputError: no machine (a J that is a triangle, among others), or no spins of it.
    """
    params = checked(params)
    spins = as_spins(params, spins)
    fields = _local_field(params, spins)
    h = jnp.broadcast_to(params.h, spins.shape)
    return -0.5 * jnp.sum(spins * (fields + h), axis=-1)  # fields = h + J s, so -1/2 s'(2h + J s)


def scale(params: Boltzmann, beta: jax.Array | float) -> Boltzmann:
    """The same machine at inverse temperature `beta`: p(s) proportional to exp(-beta E(s)).

    This is the only place for a temperature: J and h are in units of kT, so a machine at
    temperature T is `scale(params, 1 / T)`, for every sampler and for log Z.

    Raises:
      InputError: no machine, or no number.
    """
    params = symmetric(params)
    if not isinstance(beta, int | float | np.generic | np.ndarray | jax.Array):
        raise InputError(f"expected a number beta, got {beta!r}")
    if np.ndim(beta):
        raise InputError(
            f"expected one number beta, got shape {np.shape(beta)}; of several take one machine "
            "each, by a loop or jax.vmap"
        )
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
