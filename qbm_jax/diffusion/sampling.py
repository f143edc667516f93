"""Drawing sequences: unknown tokens are uncovered step by step.

All noise is float64 of numpy: float32 Gumbel noise is cut off at the top and lowers the temperature
in silence (arXiv 2409.02908).

* ancestral: in the step from time t to u each unknown token is uncovered with probability
  1 - r(u)/r(t). Tokens of one step are independent given those before it: exact as steps grow.
* first_hitting: one token a step, in a random order: exact, since the network knows no time.
* confidence: in each step the places where the network is surest, each drawn from its law there; an
  order that depends on what is known, whose law is another than that of random orders.
"""

import itertools
from collections.abc import Callable, Generator, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from qbm_jax.diffusion.guide import EnergyGuide
from qbm_jax.diffusion.schedule import SCHEDULES
from qbm_jax.errors import InputError

METHODS = ("ancestral", "first_hitting", "confidence")
Predict = Callable[[np.ndarray], np.ndarray]  # tokens [n, L] -> log probabilities [n, L, symbols]


def draw(
    predict: Predict,
    tokens: np.ndarray,
    mask: int,
    rng: np.random.Generator,
    *,
    method: str,
    steps: int,
    schedule: str = "linear",
    temperature: float = 0.0,
    guide: EnergyGuide | None = None,
) -> np.ndarray:
    """Sequences [n, length] with every mask in them uncovered.

    Args:
      predict: the network.
      tokens: [n, length], with `mask` where a token is unknown; the others stay.
      mask: the token that stands for an unknown one.
      rng: for all draws.
      method: a name in `METHODS`.
      steps: how many; first_hitting takes one a token.
      schedule: of the ancestral method.
      temperature: of the noise on confidences, which falls to 0 at the end.
      guide: chooses among candidates; None draws one.
    """
    tokens, unknown = tokens.copy(), tokens == mask
    reveal: Any
    if method == "confidence":
        reveal = _by_confidence(rng, unknown, steps, temperature)
        next(reveal)
    elif method == "ancestral":
        reveal = _ancestral(rng, unknown, steps, schedule)
    else:
        steps = int(unknown.sum(axis=1).max())
        reveal = _one_by_one(rng, unknown)
    for step in range(steps):
        places = None if method == "confidence" else next(reveal)
        if places is not None and not places.any():
            continue  # the law of the network is the same in the next step
        laws = predict(tokens)
        unknown = tokens == mask
        guided = guide if guide is not None and guide.covers(1 - step / steps) else None
        drawn = _candidates(rng, laws, tokens, unknown, guided)
        if places is None:
            places = reveal.send(laws.max(axis=2))
        tokens = np.where(places, drawn, tokens)
    return tokens


def _candidates(
    rng: np.random.Generator,
    laws: np.ndarray,
    tokens: np.ndarray,
    unknown: np.ndarray,
    guide: EnergyGuide | None,
) -> np.ndarray:
    """Sequences with all unknown tokens drawn [n, L]; with a guide, those that it takes."""
    number = guide.num_candidates if guide is not None else 1
    some = np.repeat(tokens[:, None], number, axis=1)
    found = np.zeros(some.shape)
    every = np.repeat(unknown[:, None], number, axis=1)
    of_unknown = np.repeat(laws[:, None], number, axis=1)[every]
    symbols = draw_symbols(rng, of_unknown)
    some[every] = symbols
    found[every] = np.take_along_axis(of_unknown, symbols[:, None], axis=1)[:, 0]
    if guide is None:
        return some[:, 0]
    chosen = guide.choose(rng, some, found.sum(axis=2))
    return some[np.arange(len(tokens)), chosen]


def draw_symbols(rng: np.random.Generator, laws: np.ndarray) -> np.ndarray:
    """A symbol for each row of log probabilities [rows, symbols], in float64.

    Raises:
      InputError: a law that is none, of parameters that are not finite.
    """
    laws = np.asarray(laws, np.float64)
    highest = laws.max(axis=1, keepdims=True, initial=-np.inf)
    if not np.isfinite(highest).all():
        raise InputError(
            f"expected probabilities of the network, got none in {np.sum(~np.isfinite(highest))} "
            f"of {len(laws)} places; its parameters are not finite, so fit it again"
        )
    cumulated = np.cumsum(np.exp(laws - highest), axis=1)
    below = cumulated <= rng.random((len(laws), 1)) * cumulated[:, -1:]
    return below.sum(axis=1)


def _ancestral(
    rng: np.random.Generator, unknown: np.ndarray, steps: int, schedule: str
) -> Iterator[np.ndarray]:
    """Places [n, L] that each step uncovers."""
    rates = np.asarray(SCHEDULES[schedule].rate(jnp.linspace(1, 0, steps + 1)), np.float64)
    rates[0], rates[-1] = 1.0, 0.0
    unknown = unknown.copy()
    for before, after in itertools.pairwise(rates):
        places = unknown & (rng.random(unknown.shape) < 1 - after / before)
        unknown &= ~places
        yield places


def _one_by_one(rng: np.random.Generator, unknown: np.ndarray) -> Iterator[np.ndarray]:
    """Places [n, L] that each step uncovers: one of each row, in random orders."""
    ranks = np.argsort(np.argsort(np.where(unknown, rng.random(unknown.shape), 2.0), 1), 1)
    for step in range(int(unknown.sum(axis=1).max())):
        yield unknown & (ranks == step)


def _by_confidence(
    rng: np.random.Generator, unknown: np.ndarray, steps: int, temperature: float
) -> Generator[np.ndarray, np.ndarray, None]:
    """Takes the network's certainties [n, L], gives the places that the step uncovers."""
    unknown, total = unknown.copy(), unknown.sum(axis=1)
    places = np.zeros_like(unknown)
    for step in range(1, steps + 1):
        confidence = yield places
        noise = temperature * (1 - step / steps) * rng.gumbel(size=unknown.shape)
        order = np.argsort(np.argsort(np.where(unknown, -(confidence + noise), np.inf), 1), 1)
        left = total - total * step // steps  # unknown ones after this step
        places = unknown & (order < (unknown.sum(axis=1) - left)[:, None])
        unknown &= ~places
    yield places
