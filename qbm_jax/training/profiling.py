"""A trace of some training steps, for Perfetto or TensorBoard's profiler."""

import logging
from pathlib import Path
from typing import Self

import jax

from qbm_jax.errors import InputError
from qbm_jax.training import Progress

LOGGER = logging.getLogger("qbm_jax")
FOLDER = "profile"


class Profile:
    """Traces the first training that goes on after its first dispatch; use as its context.

    The first dispatch is compilation, for the most part, and is left out. Only whole dispatches are
    traced, with the validations between them.
    """

    def __init__(self, num_steps: int, workdir: Path):
        """Traces at least `num_steps` optimiser steps into `workdir`/profile.

        Raises:
          InputError: not a whole number above 0.
        """
        if not isinstance(num_steps, int) or num_steps < 1:
            raise InputError(f"profile must be a whole number of steps above 0, got {num_steps!r}")
        self.folder = workdir / FOLDER
        self._num_steps = num_steps
        self._first: int | None = None  # step at which the trace began
        self._last = 0
        self._done = False

    def update(self, progress: Progress) -> None:
        """Begins or ends the trace; call it with every progress of a training."""
        if self._done or progress.split != "train" or progress.seed:
            return
        self._last = progress.step
        if self._first is None:
            self._first = progress.step
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # every call of Python would hide the device's work
            jax.profiler.start_trace(self.folder, profiler_options=options)
        elif progress.step - self._first >= self._num_steps:
            self._stop(self._first)

    def __enter__(self) -> Self:
        """Returns the profile; nothing is traced yet."""
        return self

    def __exit__(self, *error: object) -> None:
        """Ends a trace for which the training had too few steps."""
        if self._first is not None and not self._done:
            self._stop(self._first)

    def _stop(self, first: int) -> None:
        jax.profiler.stop_trace()
        self._done = True
        LOGGER.info(
            "profile: %d steps (%d asked for, in whole dispatches), after step %d, in %s",
            self._last - first, self._num_steps, first, self.folder,
        )  # fmt: skip
