"""What a run says while it trains: which model and seed, the time left of all, and the bounds."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from qbm_jax.fitted.document import Evaluated
from qbm_jax.objective.importance_weighted import has_bits
from qbm_jax.report.style import model_name
from qbm_jax.training import Progress

LOGGER = logging.getLogger("qbm_jax")
EVERY = 30.0  # seconds between two lines of the time left, at least


class TimeLeft:
    """How far all trainings of a run are; those of earlier calls count as done, not as time.

    The time of an epoch is that from the first dispatch of each training to its last: the first
    compiles.
    """

    def __init__(
        self, models: Sequence[str], num_seeds: int, clock: Callable[[], float] = time.monotonic
    ):
        """Nothing is trained yet; `clock` is in seconds."""
        self._models, self._num_seeds, self._clock = list(models), num_seeds, clock
        self._done = self._gained = 0.0  # trainings, by whom ever and in the time that counts
        self._size, self._share = 0, 0.0  # of those that train now: how many, and how far
        self._spent = 0.0  # seconds
        self._last: float | None = None  # the latest dispatch of those that train now
        self._told = -np.inf

    def begin(self, name: str, seeds: Sequence[int]) -> str:
        """The title of trainings that begin, all others that began before being through.

        Args:
          name: of the model.
          seeds: their numbers from 0.
        """
        self._done += self._size * (1.0 - self._share)
        self._size, self._share, self._last = len(seeds), 0.0, None
        place = f"model {self._models.index(name) + 1} of {len(self._models)}"
        first, last = seeds[0] + 1, seeds[-1] + 1
        which = f"seed {first}" if first == last else f"seeds {first} to {last}"
        return f"{name} ({place}), {which} of {self._num_seeds}"

    def update(self, progress: Progress) -> None:
        """Takes note of a dispatch, and tells the time left after a validation."""
        share, now = progress.epoch / progress.num_epochs, self._clock()
        gained, self._share = self._size * (share - self._share), share
        self._done += gained
        if progress.split == "start":
            return
        if self._last is not None:
            self._gained, self._spent = self._gained + gained, self._spent + now - self._last
        self._last = now
        if progress.split == "validation" and self._gained > 0 and now - self._told >= EVERY:
            self._told = now
            total = len(self._models) * self._num_seeds
            left = self._spent / self._gained * (total - self._done)
            LOGGER.info(
                "%.0f %% of all training is done; about %s left, then scores and report",
                100 * self._done / total, duration(left),
            )  # fmt: skip


def duration(seconds: float) -> str:
    """Seconds in words, as far as an estimate is worth."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def tell_bounds(runs: Mapping[str, Sequence[Evaluated]]) -> None:
    """Says the bounds of all models, and that one alone says nothing.

    Numbers of relaxed bits that are no bounds (`priors.has_bounds`) are told apart from them.
    """
    means = {
        name: float(np.mean([each.bound["elbo"] for each in found])) for name, found in runs.items()
    }
    bounds = [name for name, found in runs.items() if has_bits(found[0].model.vae)]
    if bounds:
        LOGGER.info(
            "validation ELBO, nats per cell: %s. A bound is good only by comparison, on the same "
            "cells and genes%s",
            _listed(means, bounds),
            ": higher is better" if len(bounds) > 1 else "; no other model was trained here",
        )
    if others := [name for name in runs if name not in bounds]:
        LOGGER.info(
            "validation objective of relaxed bits, nats per cell: %s. It is no bound, since these "
            "bits have no density under the prior: compare it with no other number",
            _listed(means, others),
        )


def _listed(means: Mapping[str, float], names: Sequence[str]) -> str:
    return ", ".join(f"{model_name(name)} {means[name]:.1f}" for name in names)
