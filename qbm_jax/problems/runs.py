"""A solver's run on an instance: what its replicas reach, and in which time."""

from typing import NamedTuple

import numpy as np

from qbm_jax.problems.time_to_solution import Estimate, expected_best, to_solution

ROUNDING = 1e-9  # of the best value: 99.5 % of an integer is not one in binary


class SolverRun(NamedTuple):
    """One run length at one setting on an instance.

    Attributes:
      budget: of products a replica.
      products: what was spent of it.
      value: of the tuned setting.
      shares: the objective as a fraction of the best known value, [calls, replicas]; NaN where a
        replica diverged.
      seconds: of a call, the median, compile time excluded.
      compile_seconds: apart.
    """

    budget: int
    products: float
    value: float
    shares: np.ndarray
    seconds: float
    compile_seconds: float

    @property
    def finite(self) -> np.ndarray:
        """Shares of the replicas that did not diverge, [finite replicas]."""
        return self.shares[np.isfinite(self.shares)]

    @property
    def best(self) -> float | None:
        """The largest share; None where all diverged."""
        return float(self.finite.max()) if self.finite.size else None

    @property
    def median(self) -> float | None:
        """The median share; None likewise."""
        return float(np.median(self.finite)) if self.finite.size else None

    def successes(self, level: float) -> int:
        """Replicas that reach a level."""
        return int(self.reached(level).sum())

    def call_successes(self, level: float) -> int:
        """Calls with at least one replica that reaches a level."""
        return int(self.reached(level).any(axis=1).sum())

    def reached(self, level: float) -> np.ndarray:
        """Which of [calls, replicas] reach a level, a share of the best; diverged ones do not."""
        return self.shares >= level - ROUNDING

    def solution(self, level: float) -> tuple[Estimate, Estimate]:
        """Seconds, and products of one replica after another, to solution on one instance."""
        successes, size = self.successes(level), self.shares.size
        seconds = to_solution(self.seconds, successes, size, self.shares.shape[1])
        return seconds, to_solution(self.products, successes, size)

    def best_within(self, seconds: float) -> float:
        """Expected best share of the calls that fit in a wall time; -inf where not one does."""
        calls = int(seconds / self.seconds)
        return expected_best(self.shares.ravel(), calls * self.shares.shape[1])
