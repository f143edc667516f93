"""Guided decoding: among several candidates for the whole text, one of low energy is taken."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import check, fraction, pairs, positive, whole

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

    def __post_init__(self):
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
            "window": pairs(fraction(), fraction(), "two times between 0 and 1"),
        }
        given = (self.window,) if np.ndim(self.window) == 1 else self.window
        values = {"num_candidates": self.num_candidates, "temperature": self.temperature}
        for name, value in {**values, "window": given}.items():
            found = check(name, value, kinds[name])
            object.__setattr__(self, name, found[0] if name == "window" else found)
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
            found = np.asarray(self.energy(candidates.reshape(-1, length)), np.float64)
            if found.shape != (rows * number,) or not np.isfinite(found).all():
                raise InputError(
                    f"expected energy to give {rows * number} finite numbers, one a sequence, got "
                    f"shape {found.shape}, {np.sum(~np.isfinite(found))} of them not finite"
                )
            energies = found.reshape(rows, number)
        noise = rng.gumbel(size=energies.shape)
        return np.argmax(noise - energies / self.temperature, axis=1)
