"""When a token is masked: rates that grow from 0 to 1, times, and numbers of masked tokens.

At time t of the process each token is masked with probability r(t), independently. The bound is

    -log p(x) <= int_0^1 r'(t)/r(t) E[sum over masked tokens of -log p(x_i | the others)] dt,

see arXiv 2406.03736 and 2406.07524. Given that k of L tokens are masked, which subset it is does
not depend on t, and the integral over t of r'/r times the law of k is 1/k for every r. So

    -log p(x) <= sum_(k=1)^L 1/k E[sum over k masked tokens of -log p(x_i | the others)],

which is the mean over all orders of an autoregressive model. The schedule decides only which k are
drawn how often. Numbers k have bounded weights; times do not (r'/r grows like 1/t).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Function = Callable[[jax.Array], jax.Array]
POWER = 2.0  # of the polynomial schedule


class MaskingSchedule(NamedTuple):
    """A rate of masking, increasing from 0 at time 0 to 1 at time 1.

    Attributes:
      rate: time -> r.
      time: r -> time, the inverse.
      weight: time -> r'(t) / r(t).
    """

    rate: Function
    time: Function
    weight: Function


SCHEDULES: dict[str, MaskingSchedule] = {
    "linear": MaskingSchedule(lambda t: t, lambda r: r, lambda t: 1 / t),
    "cosine": MaskingSchedule(
        lambda t: jnp.cos(0.5 * math.pi * (1 - t)),
        lambda r: 1 - (2 / math.pi) * jnp.arccos(jnp.clip(r, 0, 1)),
        lambda t: 0.5 * math.pi * jnp.tan(0.5 * math.pi * (1 - t)),
    ),
    "polynomial": MaskingSchedule(
        lambda t: t**POWER, lambda r: jnp.maximum(r, 0) ** (1 / POWER), lambda t: POWER / t
    ),
}


def low_discrepancy_times(key: jax.Array, number: int) -> jax.Array:
    """Times [number] in (0, 1), one in each of as many equal parts. Consumes the key.

    Each alone is uniform, so means over them are unbiased (arXiv 2107.00630).
    """
    times = (jax.random.uniform(key, ()) + jnp.arange(number) / number) % 1.0
    return jnp.maximum(times, jnp.finfo(jnp.float32).eps)  # where weights are finite


def draw_counts(
    key: jax.Array, schedule: MaskingSchedule, number: int, length: int
) -> tuple[jax.Array, jax.Array]:
    """Numbers of masked tokens k [number], from 1 to length, and weights [number].

    The mean of weight times (sum over the k masked tokens) is the bound. Consumes the key.
    """
    times = low_discrepancy_times(key, number)
    counts = 1 + jnp.clip(jnp.floor(length * schedule.rate(times)), 0, length - 1)
    share = schedule.time(counts / length) - schedule.time((counts - 1) / length)
    return counts.astype(jnp.int32), 1 / (counts * share)


def draw_masks(key: jax.Array, counts: jax.Array, length: int) -> jax.Array:
    """Masks [rows, length], True at `counts` [rows] random places of each. Consumes the key."""
    order = jnp.argsort(jax.random.uniform(key, (counts.shape[0], length)), axis=-1)
    ranks = jnp.argsort(order, axis=-1)
    return ranks < counts[:, None]
