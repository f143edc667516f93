"""Eigenvalue bounds, Cholesky factors and Chebyshev square roots of the couplings."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCOO


def eigenvalue_bounds(J: jax.Array | BCOO, num_iterations: int = 32) -> tuple[jax.Array, jax.Array]:
    """Lower and upper bound of the eigenvalues of J [spins, spins], symmetric, trace zero.

    The extreme Ritz values are moved outwards by the norms of their residuals (Zhou and Li 2011,
    Linear Algebra Appl. 435, 480, "safeguarded" bounds). Safe but for start vectors that all but
    miss the extreme eigenvector: who relies on it verifies it, or adds a margin.
    """
    values = J.data if isinstance(J, BCOO) else J
    norm = jnp.sqrt(jnp.sum(values**2))
    ritz = lanczos(lambda vector: vector @ J, J.shape[0], norm, num_iterations)
    return jnp.min(ritz.values - ritz.residuals), jnp.max(ritz.values + ritz.residuals)


class RitzPairs(NamedTuple):
    """Approximate eigenpairs of a symmetric matrix; those at the ends of the spectrum are best.

    Attributes:
      values: [pairs], increasing.
      vectors: [pairs, spins], orthonormal but for those that a null space left at 0.
      residuals: [pairs], the norm of (A - value) vector: an eigenvalue is as near.
    """

    values: jax.Array
    vectors: jax.Array
    residuals: jax.Array


def lanczos(
    product: Callable[[jax.Array], jax.Array], size: int, norm: jax.Array, num_iterations: int
) -> RitzPairs:
    """Ritz pairs by Lanczos with full reorthogonalisation from a fixed random vector.

    Args:
      product: A times a vector [size], A symmetric and of trace zero.
      size: of A.
      norm: Frobenius norm of A, what rounding is measured by.
      num_iterations: products; at most `size` of them are made.
    """
    steps = min(num_iterations, size)
    start = jax.random.normal(jax.random.key(0), (size,), norm.dtype)
    rounding = 1e-6 * (norm + jnp.finfo(norm.dtype).tiny)

    def iterate(
        k: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        basis, alpha, beta, vector = carry
        basis = basis.at[k].set(vector)
        image = product(vector)
        alpha = alpha.at[k].set(vector @ image)
        for _ in range(2):  # the second pass removes what rounding left of the first
            image = image - (basis @ image) @ basis
        length = jnp.linalg.norm(image)
        # An invariant subspace was found (length is rounding): zeros from here on, which add Ritz
        # values 0, inside the spectrum of a matrix of trace zero.
        length = jnp.where(length > rounding, length, 0)
        vector = jnp.where(length > 0, image / jnp.where(length > 0, length, 1), 0)
        return basis, alpha, beta.at[k].set(length), vector

    zeros = jnp.zeros(steps, norm.dtype)
    carry = (jnp.zeros((steps, size), norm.dtype), zeros, zeros, start / jnp.linalg.norm(start))
    basis, alpha, beta, _ = jax.lax.fori_loop(0, steps, iterate, carry)
    values, vectors = jnp.linalg.eigh(
        jnp.diag(alpha) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1)
    )
    return RitzPairs(values, vectors.T @ basis, beta[-1] * jnp.abs(vectors[-1]))


def cholesky(matrix: jax.Array) -> jax.Array:
    """Lower Cholesky factor of a symmetric matrix [spins, spins]; NaN if not positive definite.

    On a CPU it is built from products in blocks of rows. Where other processes hold the cores, the
    spinning threads of jax's LAPACK take 350 ms for N = 256 (0.3 ms if limited to one thread); this
    one takes 1 ms there, and at N = 1024 as long as LAPACK on one thread, 30 ms.
    """
    return jax.lax.platform_dependent(
        matrix,
        cpu=_blocked_cholesky,
        default=lambda m: jnp.linalg.cholesky(m, symmetrize_input=False),
    )


def _blocked_cholesky(matrix: jax.Array, block_size: int = 16) -> jax.Array:
    """Row blocks of U = L' in turn: U'U = matrix."""
    num_blocks, remainder = divmod(matrix.shape[0], block_size)

    def add_block(b: jax.Array, upper: jax.Array) -> jax.Array:
        return _factor_rows(matrix, upper, b * block_size, block_size)

    upper = jnp.zeros_like(matrix)
    if num_blocks:  # else a block would be larger than the matrix
        upper = jax.lax.fori_loop(0, num_blocks, add_block, upper)
    if remainder:
        upper = _factor_rows(matrix, upper, num_blocks * block_size, remainder)
    return upper.T


def _factor_rows(
    matrix: jax.Array, upper: jax.Array, first: jax.Array | int, size: int
) -> jax.Array:
    """Fills rows [first, first + size) of the factor, given those above."""
    above = jax.lax.dynamic_slice_in_dim(upper, first, size, axis=1)
    rows = jax.lax.dynamic_slice_in_dim(matrix, first, size) - above.T @ upper

    def factor_row(i: jax.Array, rows: jax.Array) -> jax.Array:
        row = rows[i] / jnp.sqrt(rows[i, first + i])
        multipliers = jax.lax.dynamic_slice_in_dim(row, first, size)
        multipliers = jnp.where(jnp.arange(size) > i, multipliers, 0)
        return (rows - multipliers[:, None] * row[None, :]).at[i].set(row)

    rows = jax.lax.fori_loop(0, size, factor_row, rows)
    columns = jnp.arange(matrix.shape[0])[None, :]
    rows = jnp.where(columns >= first + jnp.arange(size)[:, None], rows, 0)
    return jax.lax.dynamic_update_slice_in_dim(upper, rows, first, axis=0)


def chebyshev_square_root(lower: jax.Array, upper: jax.Array, degree: int) -> jax.Array:
    """Chebyshev coefficients [degree + 1] of sqrt(x) on [lower, upper]; NaN if lower < 0.

    The error falls like exp(-2 degree sqrt(lower/upper)) (Trefethen 2013, theorem 8.2).
    """
    angles = jnp.pi * (jnp.arange(degree + 1) + 0.5) / (degree + 1)
    nodes = 0.5 * (upper + lower) + 0.5 * (upper - lower) * jnp.cos(angles)
    cosines = jnp.cos(jnp.arange(degree + 1)[:, None] * angles[None, :])
    coefficients = 2 / (degree + 1) * cosines @ jnp.sqrt(nodes)
    return coefficients.at[0].divide(2).astype(lower.dtype)


def apply_chebyshev(
    coefficients: jax.Array,
    lower: jax.Array,
    upper: jax.Array,
    product: Callable[[jax.Array], jax.Array],
    vectors: jax.Array,
) -> jax.Array:
    """Sum of c_k T_k(A') v by Clenshaw's recurrence, A' = A moved to [-1, 1].

    Args:
      coefficients: [degree + 1].
      lower: of the interval that holds the eigenvalues of A.
      upper: of that interval.
      product: v -> A v for vectors [chains, spins].
      vectors: [chains, spins].
    """

    def mapped(v: jax.Array) -> jax.Array:
        return (2 * product(v) - (upper + lower) * v) / (upper - lower)

    def recur(
        carry: tuple[jax.Array, jax.Array], coefficient: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        b1, b2 = carry
        return (coefficient * vectors + 2 * mapped(b1) - b2, b1), None

    zeros = jnp.zeros_like(vectors)
    (b1, b2), _ = jax.lax.scan(recur, (zeros, zeros), coefficients[:0:-1])
    return coefficients[0] * vectors + mapped(b1) - b2
