"""A progress bar with epoch, cells per second, time left and the terms; log lines without a tty."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Self

from tqdm import tqdm

from qbm_jax.data.cells import DROPPED
from qbm_jax.errors import InputError
from qbm_jax.training import Progress

LOGGER = logging.getLogger("qbm_jax")


def check_progress(on_progress: object) -> None:
    """Raises an InputError for what is neither a function nor None."""
    if on_progress is not None and not callable(on_progress):
        raise InputError(f"expected on_progress as a function, got {type(on_progress).__name__}")


def told_both(
    first: Callable[[Progress], None], second: Callable[[Progress], None] | None
) -> Callable[[Progress], None]:
    """The function that tells both; the second may be None."""
    if second is None:
        return first

    def tell(progress: Progress) -> None:
        first(progress)
        second(progress)

    return tell


class _Shown(logging.Handler):
    """Writes messages between the bars, where nobody has set up logging: in a notebook."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one, warnings with their level in front."""
        level = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        tqdm.write(level + record.getMessage(), file=sys.stderr)


@contextlib.contextmanager
def messages(enabled: bool) -> Iterator[None]:
    """Shows what is logged until the block ends, unless somebody listens to it already."""
    if not enabled or LOGGER.isEnabledFor(logging.INFO):
        yield
        return
    handler, level, passes_on = _Shown(), LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False  # warnings would be told twice
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = passes_on


def tell_notes(notes: Iterable[str]) -> None:
    """Logs notes on cells, a warning for each that tells what was dropped."""
    for note in notes:
        LOGGER.log(logging.WARNING if note.startswith(DROPPED) else logging.INFO, "%s", note)


def called(is_bound: bool) -> str:
    """What the number of a validation is called; not every one is a bound, `priors.has_bounds`."""
    return "ELBO" if is_bound else "objective of relaxed bits"


class ProgressBar:
    """Shows one training; use as a context and pass `update` to `training.train`."""

    def __init__(self, name: str, enabled: bool = True, is_bound: bool = True):
        """Opens the bar; `enabled=False` shows nothing.

        Where the number of the validation is no bound (`priors.has_bounds`), it is not called one.
        """
        self._name, self._called = name, called(is_bound)
        # Without a terminal lines of a log read better, where somebody listens (no notebook does).
        listens = LOGGER.isEnabledFor(logging.INFO) and not any(
            isinstance(handler, _Shown) for handler in LOGGER.handlers
        )
        self._logs = enabled and not sys.stderr.isatty() and listens
        self._bar = tqdm(
            desc=name,
            disable=not enabled or self._logs,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| epoch {n:.0f}/{total_fmt} "
            "[{elapsed}<{remaining}]{postfix}",
        )
        self._validation, self._has_steps = "", False

    def __enter__(self) -> Self:
        """Returns the bar."""
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the bar."""
        self._bar.close()

    def update(self, progress: Progress) -> None:
        """Shows a start, a dispatch or a validation."""
        values = progress.metrics
        self._bar.total = progress.num_epochs
        if progress.split == "start":
            self._bar.update(progress.epoch - self._bar.n)
        elif progress.split == "validation":
            self._validation = (
                f"{self._called} {values['elbo']:.1f} (log Z {values['log_z']:.1f} "
                f"± {values['log_z_standard_error']:.2f})"
            )
            if self._logs:
                LOGGER.info(
                    "%s: epoch %.0f/%d, %.0f cells/s, validation %s",
                    self._name, progress.epoch, progress.num_epochs,
                    progress.cells_per_second, self._validation,
                )  # fmt: skip
        elif not self._has_steps:  # these were compiled: what is left is told from the next on
            self._has_steps = True
            self._bar.reset()
            self._bar.initial = self._bar.n = self._bar.last_print_n = progress.epoch
        else:
            self._bar.update(progress.epoch - self._bar.n)
            self._bar.set_postfix_str(
                f"{progress.cells_per_second:.0f} cells/s, "
                f"reconstruction {values['reconstruction']:.1f}, "
                f"entropy {values['entropy']:.1f}, energy {values['expected_energy']:.1f}"
                + (f", validation {self._validation}" if self._validation else "")
            )
