"""Signals to stop: at once where nothing is lost, after a save while a model is trained."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

LOGGER = logging.getLogger("qbm_jax")
AGAIN = 0.05  # seconds after which an interrupt that was dropped is raised again
# The last two say that the time given by a batch system or `ulimit -t` is nearly over.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)


class StopRequest:
    """Remembers a signal until the training loop asks; outside training it stops at once."""

    def __init__(self) -> None:
        """Installs the handlers."""
        self.signal = 0
        self._deferred = False
        self._terminals = [number for number in (1, 2) if os.isatty(number)]
        self._tell = sys.unraisablehook
        self._install()

    def _install(self) -> None:
        sys.unraisablehook = self._not_lost
        signal.signal(signal.SIGALRM, self._interrupt)
        for number in SIGNALS:
            # Under nohup SIGHUP is ignored: the run is meant to outlive its terminal.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._remember)

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self.signal != 0

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within this context a signal is remembered; a second Ctrl-C interrupts all the same.

        Raises:
          KeyboardInterrupt: on leaving, if a signal came and nobody asked.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.signal:
            raise KeyboardInterrupt

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        if number == signal.SIGHUP:
            self._leave_terminals()
        self._interrupt(number, frame)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        LOGGER.warning("stop asked for: finishing this dispatch, then saving")

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if not self._deferred:
            raise KeyboardInterrupt

    def _not_lost(self, unraisable: Any) -> None:
        """Interrupts again, a little later, if the interrupt met a callback that nobody can leave.

        Python drops what is raised in those of the garbage collector, of weak references and of C.
        """
        if self.signal and unraisable.exc_type is KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            self._tell(unraisable)

    def _leave_terminals(self) -> None:
        """Writes nothing to a closed terminal: that would be an error, in the way of the save."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in self._terminals:
            os.dup2(nowhere, number)
        os.close(nowhere)
