"""Couplings of any scale and any mean made equal to the eye of an optimiser.

Three things starve or blow up machines that move all spins at once with one step: couplings of
another scale, rows of different scales, and eigenvalues far outside the bulk of the spectrum, such
as the one of the uniform mode where couplings have a mean (Max-Cut with weights 0 and 1). Dividing
by the largest eigenvalue would starve the others, dividing by their root mean square would leave
the largest unstable. So, with u_i the typical field of spin i,

    u_i^2 = (sum_j J_ij^2) times the share of the bulk,    J' = U^-1/2 J U^-1/2,

all rows of J' are of one size, and the bulk of its eigenvalues is that of independent couplings,
within -2 to 2 (Wigner's semicircle). Its outliers v_k, eigenvalues l_k, are known from Lanczos
iterations. Positive ones are modes that grow first, which nothing forbids. Negative ones are stiff:
a machine that follows dx/dt = F(x) by explicit steps overshoots along them. The cure is the
linearly implicit step for these modes alone, which multiplies F by

    1 - sum_k a_k U^-1/2 v_k v_k' U^1/2,    a_k = K_k / (1 + K_k),    K_k = (rate) |l_k|,

an invertible matrix: where F vanishes stays where it was, so no minimum moves.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax.experimental.sparse import BCOO

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.couplings import summed
from qbm_jax.samplers.numerics import spectrum

_EDGE = 2.5  # eigenvalues beyond, in units of the bulk's root mean square, are outliers
_NUM_OUTLIERS = 8
_SPINS_OF_AN_OUTLIER = 4  # at least, beside each: of few eigenvalues most stand out from the rest
_NUM_PRODUCTS = 32
_SMALLEST_ROW = 1e-6  # of the largest coupling
_LARGEST_FIELD = 64.0  # h_i / u_i at most, so that u_i > 0 where a spin is not coupled


class Conditioning(struct.PyTreeNode):
    """What a machine has to know of the scales in its couplings.

    Attributes:
      unit: u [spins], the typical field that the bulk of couplings sends to each spin; above 0.
      left: v_k' U^1/2 [outliers, spins]; 0 where there is no outlier.
      right: v_k' U^-1/2 [outliers, spins]; 0 where there is no outlier.
      stiffness: -l_k [outliers], or 0 for positive outliers and where there is none.
    """

    unit: jax.Array
    left: jax.Array
    right: jax.Array
    stiffness: jax.Array


def conditioning(params: Boltzmann) -> Conditioning:
    """The scales of a machine's couplings, dense or sparse; pure, at the cost of 32 products."""
    J = summed(params.J)  # squares of parts are no square of their sum
    values = J.data if isinstance(J, BCOO) else J
    tiny = jnp.finfo(values.dtype).tiny
    # Squares of values as they are would overflow; times a row, `largest` must not become 0.
    largest = jnp.maximum(jnp.max(jnp.abs(values), initial=0), tiny / _SMALLEST_ROW)
    norms = jnp.maximum(jnp.sqrt(_row_sums((values / largest) ** 2, J)), _SMALLEST_ROW)
    root = jnp.sqrt(norms)
    square = jnp.sum(_row_sums((_scaled(values, root, J) / largest) ** 2, J))
    ritz = spectrum.lanczos(
        lambda vector: ((vector / root) @ J) / (largest * root),
        params.num_spins,
        jnp.sqrt(square),
        _NUM_PRODUCTS,
    )
    values, vectors, share = _outliers(ritz, square, params.num_spins)
    unit = jnp.maximum(norms * share * largest, jnp.abs(params.h) / _LARGEST_FIELD)
    return Conditioning(
        unit=jnp.maximum(unit, tiny),
        left=vectors * root[None, :],
        right=vectors / root[None, :],
        stiffness=jnp.maximum(-values, 0) / share,
    )


def _outliers(
    ritz: spectrum.RitzPairs, square: jax.Array, num_spins: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Values and vectors of the outliers, else 0, and the root mean square of the bulk.

    An eigenvalue is an outlier if it is large beside all that are smaller: outliers cannot hide
    each other. At most a quarter of all are: below 16 spins the smallest ones would otherwise be
    taken for the bulk, and a unit made of them.
    """
    order = jnp.argsort(-jnp.abs(ritz.values))
    first = order[:_NUM_OUTLIERS]
    values, residuals = ritz.values[first], ritz.residuals[first]
    left = jnp.maximum(square - jnp.cumsum(values**2), 1e-6 * square)  # of the squares, without it
    few = jnp.arange(first.size) < num_spins // _SPINS_OF_AN_OUTLIER
    beyond = few & (values**2 * num_spins > _EDGE**2 * left)
    is_outlier = jnp.cumsum(beyond[::-1])[::-1] > 0
    # What is left beyond the edge must not be unstable either.
    rest = jnp.where(is_outlier, 0, jnp.abs(values))
    rest = jnp.maximum(
        jnp.max(rest), jnp.max(jnp.abs(ritz.values[order[_NUM_OUTLIERS:]]), initial=0)
    )
    square = square - jnp.sum(jnp.where(is_outlier, values**2, 0))
    share = jnp.maximum(jnp.sqrt(jnp.maximum(square, 0) / num_spins), rest / _EDGE)
    share = jnp.maximum(share, 1e-3)
    known = is_outlier & (residuals < 0.1 * jnp.abs(values))
    return jnp.where(known, values, 0), jnp.where(known[:, None], ritz.vectors[first], 0), share


def damp(
    conditions: Conditioning,
    force: jax.Array,
    rate: jax.Array | float,
    gains: jax.Array | None = None,
    weighted: bool = False,
) -> jax.Array:
    """The force [chains, spins] of a linearly implicit step along the stiff modes.

    Args:
      conditions: of the couplings in it.
      force: F; where it is 0 the result is.
      rate: what the step multiplies J' by.
      gains: e [chains, spins]: 1 for spins that are free to move and 0 for those that are held, or
        `weighted`.
      weighted: gains are above 0, and the couplings in the force are E J'.
    """

    def damped(force: jax.Array) -> jax.Array:
        along = (force if gains is None or weighted else force * gains) @ conditions.left.T
        if gains is None:
            K = rate * conditions.stiffness
            return force - (along * (K / (1 + K))[None, :]) @ conditions.right
        overlap = gains @ (conditions.left * conditions.right).T
        K = (rate * conditions.stiffness)[None, :]
        return force - gains * ((along * (K / (1 + K * overlap))) @ conditions.right)

    # Most couplings have no stiff mode, and products in few bits cost less than this.
    return jax.lax.cond(jnp.any(conditions.stiffness > 0), damped, lambda force: force, force)


def _scaled(values: jax.Array, root: jax.Array, J: jax.Array | BCOO) -> jax.Array:
    """Values of J_ij / (root_i root_j), in the layout of J's own."""
    if isinstance(J, BCOO):
        return values / (root[J.indices[:, 0]] * root[J.indices[:, 1]])
    return values / (root[:, None] * root[None, :])


def _row_sums(values: jax.Array, J: jax.Array | BCOO) -> jax.Array:
    """Sums [spins] over the rows of what has the layout of J's values."""
    if isinstance(J, BCOO):
        return jnp.zeros(J.shape[0], values.dtype).at[J.indices[:, 0]].add(values)
    return jnp.sum(values, axis=1)
