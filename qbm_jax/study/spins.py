"""What a reader sees first of spins: the strongest couplings, those that tell groups apart."""

import numpy as np


def strongest(J: np.ndarray, number: int | None = None) -> list[tuple[int, int, float]]:
    """The pairs of spins with the largest |J|, the strongest first: (spin, later spin, coupling).

    Args:
      J: couplings [spins, spins].
      number: of pairs; None: all.
    """
    first, second = np.triu_indices(len(J), 1)
    order = np.argsort(-np.abs(J[first, second]), kind="stable")[:number]
    return [(int(first[i]), int(second[i]), float(J[first[i], second[i]])) for i in order]


def most_different(means: np.ndarray) -> np.ndarray:
    """Spins in the order of their range over groups [groups, spins], the widest first [spins]."""
    return np.argsort(-np.ptp(means, axis=0), kind="stable")
