"""Guided decoding: among several candidates for the whole text, one of low energy is taken."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import Kind, check, fraction, positive, several, shown, whole

Energy = Callable[[np.ndarray], Any]
PROPOSAL = "proposal"


@dataclasses.dataclass(frozen=True)
class EnergyGuide:
    """Takes candidate k of K with probability proportional to exp(-E_k / T).

    In every step within the window the network draws K candidates for all unknown tokens; those
    that the step uncovers are taken from the chosen one. Low energy is probable.

    Attributes:
      energy: sequences [rows, length] -> energies [rows], in nats; or "proposal": minus the log
        probability that the network gave the candidate.
      num_candidates: K.
      temperature: T, above 0; a small one takes the best of K.
      window: (first, last) times of the steps that are guided; sampling goes from 1 to 0.
    """

    energy: Energy | str
    num_candidates: int = 8
    temperature: float = 1.0
    window: tuple[float, float] = (1.0, 0.0)

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
          InputError: no energy, one candidate, a temperature of 0 or infinity, or a window that
            ends before it begins.
        """
        if not callable(self.energy) and self.energy != PROPOSAL:
            raise InputError(
                f"energy must be a function of sequences [rows, length], or {PROPOSAL!r}, got "
                f"{self.energy!r}"
            )
        kinds = {
            "num_candidates": whole(2),
            "temperature": positive(),
            "window": Kind("two times between 0 and 1", _two_times),
        }
        for name, kind in kinds.items():
            object.__setattr__(self, name, check(name, getattr(self, name), kind))
        if self.window[0] < self.window[1]:
            raise InputError(
                f"window must go from a later to an earlier time, such as (1.0, 0.0), got "
                f"{self.window}"
            )

    def covers(self, time: float) -> bool:
        """Whether a step at this time is guided."""
        return self.window[1] <= time <= self.window[0]

    def choose(
        self, rng: np.random.Generator, candidates: np.ndarray, log_probs: np.ndarray
    ) -> np.ndarray:
        """Which candidate is taken, indices [rows].

        Args:
          rng: for the choice.
          candidates: [rows, K, length].
          log_probs: of their new tokens under the network [rows, K].

        Raises:
          InputError: energies of another shape, or not finite.
        """
        rows, number, length = candidates.shape
        energies = -log_probs
        if callable(self.energy):
            given = self.energy(candidates.reshape(-1, length).copy())  # it may change its own
            energies = _energies(given, rows * number).reshape(rows, number)
        noise = rng.gumbel(size=energies.shape)
        return np.argmax(noise - energies / self.temperature, axis=1)


def check_guide(guide: Any) -> None:
    """Raises an InputError unless it is a guide, or None."""
    if not isinstance(guide, EnergyGuide | None):
        raise InputError(
            f"guide must be an EnergyGuide or None, got {shown(guide)}; give an energy as "
            f"EnergyGuide(energy)"
        )


def _two_times(value: Any) -> tuple[float, float]:
    """The two times of a window. Raises a ValueError unless they are two between 0 and 1."""
    first, last = several(fraction(), "").read(value)
    return first, last


def _energies(given: Any, number: int) -> np.ndarray:
    """What an energy gave for a number of sequences, float64 [number].

    Raises:
      InputError: it is of another shape, or not finite.
    """
    expected = f"expected energy to give {number} finite numbers, one a sequence, got"
    try:
        found = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:  # texts, or parts of unequal length
        raise InputError(f"{expected} {shown(given)}") from error
    if found.shape != (number,) or not np.isfinite(found).all():
        raise InputError(
            f"{expected} shape {found.shape}, {np.sum(~np.isfinite(found))} of them not finite"
        )
    return found
