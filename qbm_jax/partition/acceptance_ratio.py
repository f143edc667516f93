"""Ratios of partition functions from log weights, with the influence of every draw on them.

Log weights x have two laws, whose densities differ by the factor exp(x) Z_0 / Z_1: E[exp(x)] is
Z_1 / Z_0 under the first and E[exp(-x)] is Z_0 / Z_1 under the second. All estimates here are
smooth functions of means over draws, so to first order an estimate's error is a sum of one term a
draw, its influence (the infinitesimal jackknife; Efron and Stein, Ann. Stat. 9, 1981). Draws that
are not independent (of one chain, or with a common ancestor) have their influences added first.
"""

import jax
import jax.numpy as jnp

_BISECTIONS = 40  # of the interval of all log weights: 1e-12 of its width


def acceptance_ratio(
    forward: jax.Array, reverse: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log (Z_1 / Z_0) from log weights of both laws, and the influences of all draws.

    It is the root L of sum_forward sigmoid(x - L) = sum_reverse sigmoid(L - x), for equal numbers
    of draws: the estimate of least variance (Bennett, J. Comput. Phys. 22, 1976; maximum likelihood
    by Shirts et al., PRL 91, 140601, 2003).

    Args:
      forward: x of draws of the first law, [...].
      reverse: x of draws of the second law, the same shape.

    Returns:
      L, and the influence of each forward and of each reverse draw on L, in the shape of the draws.
    """

    def halve(_: jax.Array, interval: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = interval
        middle = 0.5 * (low + high)
        up, down = jax.nn.sigmoid(forward - middle), jax.nn.sigmoid(middle - reverse)
        too_low = jnp.sum(up) > jnp.sum(down)
        return jnp.where(too_low, middle, low), jnp.where(too_low, high, middle)

    low = jnp.minimum(forward.min(), reverse.min()) - 1
    high = jnp.maximum(forward.max(), reverse.max()) + 1
    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (low, high))
    root = 0.5 * (low + high)
    up, down = jax.nn.log_sigmoid(forward - root), jax.nn.log_sigmoid(root - reverse)
    return root, _relative_deviation(up), -_relative_deviation(down)


def log_mean_exp(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log of the mean of exp(values) [...] over all axes, and the influence of each value on it."""
    estimate = jax.nn.logsumexp(values) - jnp.log(jnp.float32(values.size))
    return estimate, _relative_deviation(values)


def variance(influences: jax.Array, sizes: jax.Array | None = None) -> jax.Array:
    """Variance of an estimate from influences [n] of n independent chains, paths or families.

    Args:
      influences: summed over each.
      sizes: paths in each family, if they differ; few large families are worth as many equal ones
        as their sizes' effective number. A single one leaves the variance unknown: infinite.
    """
    sizes = jnp.ones_like(influences) if sizes is None else sizes
    count = jnp.square(jnp.sum(sizes)) / jnp.sum(jnp.square(sizes))
    return jnp.sum(jnp.square(influences)) * count / (count - 1)


def _relative_deviation(log_values: jax.Array) -> jax.Array:
    """Each exp(value) over the sum of all, minus its share 1/n if all were equal."""
    return jax.nn.softmax(log_values, axis=None) - 1 / log_values.size
