"""Batch normalisation (Ioffe and Szegedy 2015, 1502.03167) in steps that are pure functions."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


@jax.custom_vjp
def _followed(running: jax.Array, now: jax.Array) -> jax.Array:
    """Zeros, whose gradient by `running` is running - now: its steps of rate r make a mean."""
    del now
    return jnp.zeros_like(running)


_followed.defvjp(
    lambda running, now: (jnp.zeros_like(running), running - now),
    lambda gap, _: (gap, jnp.zeros_like(gap)),
)


class BatchNorm(nn.Module):
    """Batch normalisation: by the minibatch while training, by running statistics otherwise.

    Those are variables that the loss does not depend on. Their gradient is what the minibatch's
    are away from them, and the optimiser moves them by `RATE` of it (`training.state`), so that a
    step remains a pure function of parameters and gradients.
    """

    RATE = 0.01  # with the next, scvi-tools' own
    EPSILON = 1e-3
    COLLECTION = "statistics"

    @nn.compact
    def __call__(self, x: jax.Array, training: bool = False) -> jax.Array:
        """Normalises [cells, units] over the cells."""
        shape = x.shape[-1:]
        running = [
            self.variable(self.COLLECTION, name, start, shape).value
            for name, start in (("mean", jnp.zeros), ("variance", jnp.ones))
        ]
        if training:
            mean, variance = jnp.mean(x, axis=0), jnp.var(x, axis=0)
            unbiased = variance * (len(x) / max(len(x) - 1, 1))
            mean = mean + _followed(running[0], mean)
            variance = variance + _followed(running[1], unbiased)
        else:
            mean, variance = jax.lax.stop_gradient(running)
        slope = self.param("scale", nn.initializers.ones, shape) * batch_norm_scale(variance)
        bias = self.param("bias", nn.initializers.zeros, shape)
        return (x - mean[None]) * slope[None] + bias[None]


def batch_norm_scale(variance: jax.Array) -> jax.Array:
    """What batch normalisation multiplies by [units], before its learned scale, at a variance."""
    return jax.lax.rsqrt(variance + BatchNorm.EPSILON)


def is_statistic(path: tuple, _: Any) -> bool:
    """Whether a leaf of the parameters, by its path, is a running statistic of the cells."""
    return any(getattr(part, "key", None) == BatchNorm.COLLECTION for part in path)


def has_statistics(params: Any) -> bool:
    """Whether any network of these parameters normalises over the cells of a minibatch."""
    return any(is_statistic(*leaf) for leaf in jax.tree_util.tree_leaves_with_path(params))


def followed_in_part(params: Any, share: float) -> Any:
    """The parameters; their running statistics follow a share of what a pass of cells tells.

    A loss that passes the same cells several times takes shares of 1 together, so that its steps
    have the rate of one pass.
    """

    def in_part(path: tuple, leaf: jax.Array) -> jax.Array:
        if not is_statistic(path, leaf):
            return leaf
        still = jax.lax.stop_gradient(leaf)
        return still + share * (leaf - still)

    return jax.tree_util.tree_map_with_path(in_part, params)
