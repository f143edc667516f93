"""Bounds on -log p(x) with their errors; every sum is taken in float64.

A model of masked tokens has one bound, written in two ways (`schedule`): as an integral over times,
estimated with Bernoulli masks, and as a sum over numbers of masked tokens, whose weights are
bounded. It equals the mean over all orders of -log p(x) of an autoregressive model in that order.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.diffusion import latent
from qbm_jax.diffusion.network import Params, Shape, causal_nll, token_nll
from qbm_jax.diffusion.schedule import SCHEDULES, draw_counts, draw_masks, low_discrepancy_times
from qbm_jax.errors import InputError
from qbm_jax.runtime import keys

ROWS = 64  # sequences in one call of a program
ESTIMATORS = ("counts", "times")
LONGEST_ENUMERATED = 12  # tokens, whose masks are all gone through


class Bound(NamedTuple):
    """An upper bound on -log p(x), the mean over sequences.

    Attributes:
      value: in nats per token.
      standard_error: what the draws of masks, latents and log Z leave unknown of it.
    """

    value: float
    standard_error: float

    @property
    def bits(self) -> "Bound":
        """The same in bits per token."""
        return Bound(self.value / math.log(2), self.standard_error / math.log(2))


class Interval(NamedTuple):
    """An estimate from two sides.

    Attributes:
      low: not above the truth in expectation.
      low_standard_error: of `low`.
      high: not below the truth in expectation.
      high_standard_error: of `high`.
    """

    low: float
    low_standard_error: float
    high: float
    high_standard_error: float

    @property
    def width(self) -> float:
        """High minus low."""
        return self.high - self.low


def chunks(rows: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Parts [ROWS, ...] of rows [n, ...], filled up with the first row, and their own numbers."""
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        yield np.concatenate([part, np.repeat(rows[:1], ROWS - len(part), axis=0)]), len(part)


def in_chunks(function: Callable[..., Any], rows: np.ndarray) -> np.ndarray:
    """What a function gives for rows [n, ...], part by part, float64 [n, ...]."""
    found = [np.asarray(function(part), np.float64)[:own] for part, own in chunks(rows)]
    return np.concatenate(found)


def masked_bound(
    shape: Shape,
    params: Params,
    tokens: np.ndarray,
    seed: int = 0,
    num_draws: int = 8,
    estimator: str = "counts",
) -> Bound:
    """The bound of a model of masked tokens for sequences [n, length], in nats per token.

    Args:
      shape: of the model.
      params: its parameters.
      tokens: the sequences.
      seed: of all draws.
      num_draws: of masks (and latents) for every sequence, at least 2.
      estimator: "counts", or "times", of the model's schedule, whose variance is larger.
    """
    key = keys.key_of(seed, keys.BOUND)
    one_draw = _draw(shape, estimator)
    found = np.empty((len(tokens), num_draws))
    for draw in range(num_draws):
        done = 0
        for part, own in chunks(tokens):
            nll, weights, kl = one_draw(params, keys.named(key, "draw", draw, done), part)
            sums = np.asarray(nll, np.float64).sum(axis=1) * np.asarray(weights, np.float64)
            found[done : done + own, draw] = (sums + np.asarray(kl, np.float64))[:own]
            done += own
    value, variance = found.mean(), np.sum(found.var(axis=1, ddof=1)) / num_draws / len(tokens) ** 2
    if latent.has_latents(shape):
        log_z, error = latent.log_z(shape, params, keys.named(key, "log Z"))
        value, variance = value + log_z, variance + error**2
    return Bound(float(value / shape.length), float(math.sqrt(variance) / shape.length))


@functools.lru_cache(maxsize=32)
def _draw(shape: Shape, estimator: str) -> Callable[..., tuple[jax.Array, jax.Array, jax.Array]]:
    """Compiles (params, key, tokens) -> nll of masked tokens, weights, KL - log Z of each row."""

    @jax.jit
    def draw(params, key, tokens):
        key_times, key_masks, key_latent = jax.random.split(key, 3)
        rows, length = tokens.shape
        if estimator == "counts":
            counts, weights = draw_counts(key_times, SCHEDULES["linear"], rows, length)
            masked = draw_masks(key_masks, counts, length)
        else:
            schedule = SCHEDULES[shape.options.schedule]
            times = low_discrepancy_times(key_times, rows)
            weights = schedule.weight(times)
            masked = jax.random.uniform(key_masks, tokens.shape) < schedule.rate(times)[:, None]
        read, kl = None, jnp.zeros(rows)
        if latent.has_latents(shape):
            read, kl = latent.draw_posterior(shape, params, key_latent, tokens)
        return token_nll(shape, params, tokens, masked, read), weights, kl

    return draw


def exact_bound(shape: Shape, params: Params, tokens: np.ndarray) -> np.ndarray:
    """The bound of each sequence [n, length] by all its masks, float64 [n], in nats.

    Raises:
      InputError: more tokens than can be enumerated, or latents.
    """
    length = shape.length
    if length > LONGEST_ENUMERATED:
        raise InputError(
            f"expected a model of at most {LONGEST_ENUMERATED} tokens to go through all masks, got "
            f"one of {length}; use nll_bound"
        )
    masks = ((np.arange(1, 2**length)[:, None] >> np.arange(length)) & 1).astype(bool)
    counts = masks.sum(axis=1)
    weights = 1 / (counts * np.array([math.comb(length, k) for k in counts]))
    return np.array([weights @ _nll_of_masks(shape, params, row, masks).sum(1) for row in tokens])


def any_order_log_probs(
    shape: Shape, params: Params, row: np.ndarray, orders: np.ndarray
) -> np.ndarray:
    """Log p(x) of one sequence [length] in each of some orders [orders, length], float64 [orders].

    An order names the place of the first token, of the second, ...
    """
    ranks = np.argsort(orders, axis=1)
    masks = (ranks[:, None, :] >= np.arange(shape.length)[None, :, None]).reshape(-1, shape.length)
    nll = _nll_of_masks(shape, params, row, masks).reshape(*orders.shape, shape.length)
    return -np.take_along_axis(nll, orders[..., None], axis=2)[..., 0].sum(axis=1)


def order_interval(
    shape: Shape, params: Params, tokens: np.ndarray, rng: np.random.Generator, num_orders: int = 16
) -> Interval:
    """Log p(x) of the law that random orders draw, from two sides: the mean over rows, in nats.

    p(x) is the mean over orders of p in that order. Random orders give the lower side; one drawn by
    resampling from as many others, in the place of the first, gives the upper.
    """
    low, high = [], []
    for row in tokens:
        orders = rng.permuted(np.tile(np.arange(shape.length), (2 * num_orders, 1)), axis=1)
        both = any_order_log_probs(shape, params, row, orders)
        sides = sandwich(both[:num_orders], both[num_orders:], rng)
        low.append(sides[0])
        high.append(sides[1])
    return Interval(*mean_and_error(low), *mean_and_error(high))


def sandwich(
    log_weights: np.ndarray, others: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """Log of a mean weight, from below and from above in expectation (arXiv 1511.02543).

    Args:
      log_weights: of independent draws from a proposal [draws].
      others: of as many more draws, from which one is resampled by its weight: a draw from the
        target as far as they reach. It takes the place of the first of `log_weights`.
      rng: for the resampling.
    """
    chosen = others[np.argmax(others + rng.gumbel(size=others.shape))]
    mixed = np.concatenate([[chosen], log_weights[1:]])
    return log_mean_exp(log_weights), log_mean_exp(mixed)


def log_mean_exp(values: np.ndarray) -> float:
    """Log of the mean of exponentials of values [number], in float64."""
    values = np.asarray(values, np.float64)
    return float(np.logaddexp.reduce(values) - math.log(values.size))


def mean_and_error(values: Any) -> tuple[float, float]:
    """Mean of values [number] and its standard error; 0 of a single one."""
    values = np.asarray(values, np.float64)
    if values.size < 2:
        return float(values.mean()), 0.0
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(values.size))


def causal_log_probs(shape: Shape, params: Params, tokens: np.ndarray) -> np.ndarray:
    """Log p of each token of sequences [n, length] by a causal model, float64 [n, length]."""
    program = _causal(shape)
    return -in_chunks(lambda part: program(params, part), tokens)


@functools.lru_cache(maxsize=32)
def _causal(shape: Shape) -> Callable[..., jax.Array]:
    return jax.jit(functools.partial(causal_nll, shape))


def _nll_of_masks(shape: Shape, params: Params, row: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """-log p of the masked tokens of one sequence under masks [n, length], float64.

    Raises:
      InputError: the model has latents, over which nothing here sums.
    """
    if latent.has_latents(shape):
        raise InputError(
            f"expected a model without latents to go through masks or orders, got latents "
            f"{shape.options.latents}; use nll_bound"
        )
    program, rows = _masked(shape), np.tile(row, (ROWS, 1))
    return in_chunks(lambda part: program(params, rows, part), masks)


@functools.lru_cache(maxsize=32)
def _masked(shape: Shape) -> Callable[..., jax.Array]:
    return jax.jit(functools.partial(token_nll, shape))
