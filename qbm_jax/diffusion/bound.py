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
from qbm_jax.diffusion.network import NetworkShape, Params, causal_nll, token_nll
from qbm_jax.diffusion.schedule import SCHEDULES, draw_counts, draw_masks, low_discrepancy_times
from qbm_jax.errors import InputError
from qbm_jax.runtime import keys

ROWS = 64  # sequences in one call of a program
ESTIMATORS = ("counts", "times")
LONGEST_ENUMERATED = 12  # tokens, whose masks are all gone through
LEAST_DRAWS = 4  # behind an interval
LEAST_REACH = 30.0  # draws of equal weight; with fewer, resampled ones are none of the target
NUM_BOOTSTRAPS, NUM_CHOSEN = 200, 16


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

    One side needs draws of the target. They are resampled from those of the proposal, and are draws
    of the target as far as these reach: where too few of them carry the weight, the side is NaN.

    Attributes:
      low: not above the truth in expectation.
      low_standard_error: of `low`.
      high: not below the truth in expectation.
      high_standard_error: of `high`.
      reach: how many equal weights the weights are worth, (sum w)^2 / sum w^2, the smallest of all.
    """

    low: float
    low_standard_error: float
    high: float
    high_standard_error: float
    reach: float

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
    shape: NetworkShape,
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
      estimator: "counts", or "times" of the model's schedule, whose variance is larger: without an
        end for schedules linear and cosine, whose standard errors are therefore too small.
    """
    key = keys.key_of(seed, keys.BOUND)
    one_draw = _draw(shape, estimator)
    found = np.empty((len(tokens), num_draws))
    for draw in range(num_draws):
        done = 0
        for part, own in chunks(tokens):
            nll, weights, kl = one_draw(params, keys.named(key, "draw", draw, done), part, own)
            sums = np.asarray(nll, np.float64).sum(axis=1) * np.asarray(weights, np.float64)
            found[done : done + own, draw] = (sums + np.asarray(kl, np.float64))[:own]
            done += own
    value, variance = found.mean(), np.sum(found.var(axis=1, ddof=1)) / num_draws / len(tokens) ** 2
    if latent.has_latents(shape):
        log_z, error = latent.log_z(shape, params, keys.named(key, "log Z"))
        value, variance = value + log_z, variance + error**2
    return Bound(float(value / shape.length), float(math.sqrt(variance) / shape.length))


@functools.lru_cache(maxsize=32)
def _draw(
    shape: NetworkShape, estimator: str
) -> Callable[..., tuple[jax.Array, jax.Array, jax.Array]]:
    """Compiles (params, key, tokens, own) -> nll of masked tokens, weights, KL - log Z of each row.

    Times are even over all rows. The `own` first ones, which alone count, take them from all parts
    of the interval: neighbours' times would go together, and their mean err more than it tells.
    """

    @jax.jit
    def draw(
        params: Params, key: jax.Array, tokens: jax.Array, own: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        key_times, key_masks, key_latent = jax.random.split(key, 3)
        rows, length = tokens.shape
        places = jnp.arange(rows) * rows // own % rows  # each its own where all rows count
        if estimator == "counts":
            drawn = draw_counts(key_times, SCHEDULES["linear"], rows, length)
            counts, weights = (each[places] for each in drawn)
            masked = draw_masks(key_masks, counts, length)
        else:
            schedule = SCHEDULES[shape.options.schedule]
            times = low_discrepancy_times(key_times, rows)[places]
            weights = schedule.weight(times)
            masked = jax.random.uniform(key_masks, tokens.shape) < schedule.rate(times)[:, None]
        read, kl = None, jnp.zeros(rows)
        if latent.has_latents(shape):
            read, kl = latent.draw_posterior(shape, params, key_latent, tokens)
        return token_nll(shape, params, tokens, masked, read), weights, kl

    return draw


def exact_bound(shape: NetworkShape, params: Params, tokens: np.ndarray) -> np.ndarray:
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
    shape: NetworkShape, params: Params, row: np.ndarray, orders: np.ndarray
) -> np.ndarray:
    """Log p(x) of one sequence [length] in each of some orders [orders, length], float64 [orders].

    An order names the place of the first token, of the second, ...
    """
    ranks = np.argsort(orders, axis=1)
    masks = (ranks[:, None, :] >= np.arange(shape.length)[None, :, None]).reshape(-1, shape.length)
    nll = _nll_of_masks(shape, params, row, masks).reshape(*orders.shape, shape.length)
    return -np.take_along_axis(nll, orders[..., None], axis=2)[..., 0].sum(axis=1)


def order_interval(
    shape: NetworkShape,
    params: Params,
    tokens: np.ndarray,
    rng: np.random.Generator,
    num_orders: int = 16,
) -> Interval:
    """Log p(x) of the law that random orders draw, from two sides: the mean over rows, in nats.

    p(x) is the mean over orders of p in that order, so that random orders are draws of a proposal
    of weights p(x in this order). Errors are those of the estimate for these rows.
    """
    found = []
    for row in tokens:
        orders = rng.permuted(np.tile(np.arange(shape.length), (num_orders, 1)), axis=1)
        found.append(log_mean_interval(any_order_log_probs(shape, params, row, orders), rng))
    low, low_error, high, high_error, reach = np.transpose(found)
    errors = [math.hypot(*each) / len(found) for each in (low_error, high_error)]
    return Interval(low.mean(), errors[0], high.mean(), errors[1], reach.min())


def log_mean_interval(log_weights: np.ndarray, rng: np.random.Generator) -> Interval:
    """Log of the mean weight of independent draws of a proposal [draws], from two sides.

    The lower side is the log of their mean. For the upper one, a draw of the target takes the place
    of one of the proposal (arXiv 1511.02543): the draws are halved, and from each half one is
    resampled by its weight for the other. Errors are those of resampled draws (bootstrap).

    Raises:
      InputError: fewer than 4 draws.
    """
    values = np.asarray(log_weights, np.float64)
    if values.size < LEAST_DRAWS:
        raise InputError(f"expected at least {LEAST_DRAWS} draws, got {values.size}")
    again = rng.choice(values, (NUM_BOOTSTRAPS, values.size))
    low, high = log_mean_exp(values), _from_above(values, rng)
    low_error = np.std([log_mean_exp(each) for each in again], ddof=1)
    high_error = float(np.std([_from_above(each, rng) for each in again], ddof=1))
    reach = float(np.exp(2 * np.logaddexp.reduce(values) - np.logaddexp.reduce(2 * values)))
    if reach < LEAST_REACH:
        high = high_error = math.nan
    return Interval(low, float(low_error), high, float(high_error), reach)


def _from_above(log_weights: np.ndarray, rng: np.random.Generator) -> float:
    """The mean over both halves of log mean weights with a draw of the target among them."""
    halves = np.array_split(log_weights, 2)
    found = []
    for own, others in (halves, halves[::-1]):
        noise = rng.gumbel(size=(NUM_CHOSEN, others.size))
        chosen = others[np.argmax(others + noise, axis=1)]
        rest = np.logaddexp.reduce(own[1:])
        found += list(np.logaddexp(chosen, rest) - math.log(own.size))
    return float(np.mean(found))


def log_mean_exp(values: np.ndarray) -> float:
    """Log of the mean of exponentials of values [number], in float64."""
    values = np.asarray(values, np.float64)
    return float(np.logaddexp.reduce(values) - math.log(values.size))


def causal_log_probs(shape: NetworkShape, params: Params, tokens: np.ndarray) -> np.ndarray:
    """Log p of each token of sequences [n, length] by a causal model, float64 [n, length]."""
    program = _causal(shape)
    return -in_chunks(lambda part: program(params, part), tokens)


@functools.lru_cache(maxsize=32)
def _causal(shape: NetworkShape) -> Callable[..., jax.Array]:
    return jax.jit(functools.partial(causal_nll, shape))


def _nll_of_masks(
    shape: NetworkShape, params: Params, row: np.ndarray, masks: np.ndarray
) -> np.ndarray:
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
def _masked(shape: NetworkShape) -> Callable[..., jax.Array]:
    return jax.jit(functools.partial(token_nll, shape))
