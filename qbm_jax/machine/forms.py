"""Other forms of a machine: of bits, as a QUBO has it, and without fields, through a gauge spin."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCOO

from qbm_jax.errors import InputError
from qbm_jax.machine.parameters import Boltzmann, as_arrays, as_floats, check, checked

_QUBO = (
    "a QUBO b'Qb has the opposite sign and twice the factor: take problems.from_qubo(Q), or linear "
    "= -diag(Q), quadratic = -(Q + Q') with a zero diagonal"
)


def spins_to_bits(spins: jax.Array) -> jax.Array:
    """Bits b = (1 + s)/2 [..., spins]."""
    return 0.5 * (1 + as_floats(spins, "spins as numbers"))


def bits_to_spins(bits: jax.Array) -> jax.Array:
    """Spins s = 2b - 1 [..., spins]."""
    return 2 * as_floats(bits, "bits as numbers") - 1


def from_bit_form(linear: jax.Array, quadratic: jax.Array) -> tuple[Boltzmann, jax.Array]:
    """Spin form of the bit-form machine E(b) = -a'b - 1/2 b'Wb.

    This is not a QUBO, E(b) = b'Qb, whose terms have the other sign (low energy is a small b'Qb)
    and no factor 1/2: for that, take `problems.from_qubo(Q)`. A Q with a diagonal or of one
    triangle is refused here; a symmetric Q without a diagonal cannot be told from a W.

    Args:
      linear: a [spins], minus the linear terms of a QUBO.
      quadratic: W [spins, spins], symmetric with zero diagonal, minus Q + Q' of a QUBO.

    Returns:
      The machine with J = W/4 and h = a/2 + (row sums of W)/4, and the constant c with
      E(b) = E(s) + c for every state: c = -sum(a)/2 - sum(W)/8. Hence log Z of the bit form is
      log Z of the spin form minus c.

    Raises:
      InputError: at concrete values, what `check` raises for (W, a).
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
