"""How alike two cells are: kernels between embeddings, exact or by random features."""

from typing import Any, NamedTuple

import numpy as np

from qbm_jax.errors import InputError

KERNELS = ("rbf", "cosine", "linear", "spins", "distance")
_SAMPLE = 1000  # points behind a median, evenly spaced in the order given
_BLOCK = 2**22  # entries of a kernel that are computed at a time
_TILE = 2**11  # most columns of a block, so that few rows do not meet a whole pool one by one


class SimilarityKernel(NamedTuple):
    """A kernel between rows of coordinates.

    With d the distance of two rows: "rbf" is exp(-d^2 / (2 scale^2)), "distance" is -d / scale,
    with which the squared MMD is the energy distance; "linear" and "cosine" have no scale. "spins"
    takes mean spins m and n of factorial posteriors. It is the mean over their draws of r^(number
    of spins that differ), r = (1 - c) / (1 + c), exactly: prod_i (1 + c m_i n_i) / (1 + c) with c
    the scale, since spins of two cells are independent.

    Attributes:
      name: one of `KERNELS`.
      scale: width or contrast c.
    """

    name: str
    scale: float = 1.0

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Entries [n, m] between rows [n, dims] and [m, dims]."""
        if self.name == "cosine":
            return _unit(first) @ _unit(second).T
        if self.name == "linear":
            return first @ second.T
        if self.name == "spins":
            return _overlap(first, second, self.scale)
        squared = _squared_distances(first, second)
        if self.name == "rbf":
            squared *= -0.5 / self.scale**2
            return np.exp(squared, out=squared)
        return -np.sqrt(squared, out=squared) / self.scale

    def means(self, points: np.ndarray, pool: np.ndarray) -> np.ndarray:
        """Mean entry of each row [n, dims] with all of the pool [m, dims], by blocks [n]."""
        total = np.zeros(len(points))
        tile = max(1, min(len(pool), _TILE))
        for start in range(0, len(points), width := _BLOCK // tile):
            rows = slice(start, start + width)
            for first in range(0, len(pool), tile):
                entries = self(points[rows], pool[first : first + tile])
                total[rows] += entries.sum(axis=1, dtype=np.float64)
        return total / len(pool)

    def features(
        self, dims: int, number: int, rng: np.random.Generator, centre: Any = 0.0
    ) -> "Features":
        """Random features whose products are the kernel's entries in the mean.

        Args:
          dims: of the coordinates.
          number: of features.
          rng: draws them.
          centre: of the coordinates [dims], which "rbf" takes off them: it knows differences alone,
            and float32 loses them far from 0.

        Raises:
          InputError: the kernel "distance" has none.
        """
        if self.name == "distance":
            raise InputError(
                'kernel "distance" has no random features, which many cells need; choose rbf'
            )
        if self.name == "rbf":
            drawn = rng.normal(size=(dims, number)) / self.scale
            phases = rng.uniform(0, 2 * np.pi, number)
            return Features(self, drawn.astype(np.float32), phases, centre)
        if self.name == "spins":
            chosen = rng.random((dims, number)) < self.scale / (1 + self.scale)
            return Features(self, chosen.astype(np.float32), np.zeros(number))
        return Features(self, np.eye(dims, dtype=np.float32), np.zeros(dims))


class Features(NamedTuple):
    """Features whose products are the kernel: of linear kernels exactly, else in the mean.

    Of "rbf" they are cosines (Rahimi and Recht 2007), of "spins" parities of random subsets of
    spins, each spin in one with probability c / (1 + c): their mean product is the kernel.

    Attributes:
      kernel: what they stand for.
      weights: frequencies, subsets or the identity, float32 [dims, features].
      phases: of the cosines [features].
      centre: what is taken off the coordinates first [dims].
    """

    kernel: SimilarityKernel
    weights: np.ndarray
    phases: np.ndarray
    centre: Any = 0.0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Features float32 [n, features] of rows [n, dims]."""
        points = np.asarray(points - self.centre, np.float32)
        if self.kernel.name in ("linear", "cosine"):
            return points if self.kernel.name == "linear" else _unit(points)
        number = self.weights.shape[1]
        if self.kernel.name == "rbf":
            angles = points @ self.weights + self.phases.astype(np.float32)
            return np.sqrt(np.float32(2 / number)) * np.cos(angles, out=angles)
        size = np.maximum(np.abs(points), 1e-30)  # parities as sums of logarithms and of signs
        parity = np.exp(np.log(size) @ self.weights)
        parity[(points < 0).astype(np.float32) @ self.weights % 2 == 1] *= -1
        return parity / np.sqrt(np.float32(number))

    def mean(self, points: np.ndarray) -> np.ndarray:
        """Mean features [features] of rows [n, dims], by blocks."""
        width = max(1, _BLOCK // self.weights.shape[1])
        total = np.zeros(self.weights.shape[1])
        for start in range(0, len(points), width):
            total += self(points[start : start + width]).sum(axis=0, dtype=np.float64)
        return total / len(points)


def build(name: str, points: np.ndarray, scale: float | None = None) -> SimilarityKernel:
    """The kernel for rows [n, dims]; where no scale is given, that of the median distance.

    "rbf" and "distance" then have as width the median distance of two rows; "spins" has the
    contrast at which two cells with the median number of differing spins have entry 1/e.

    Raises:
      InputError: a contrast above 1, mean spins outside of -1 to 1, or a scale where there is none.
    """
    if name in ("linear", "cosine"):
        if scale is not None:
            raise InputError(f"kernel {name} has no width, got {scale:g}; leave it out")
        return SimilarityKernel(name)
    if name == "spins":
        if np.abs(points).max() > 1 + 1e-5:
            raise InputError(
                f'kernel "spins" takes mean spins from -1 to 1, got {np.abs(points).max():.3g}; '
                "choose rbf for other coordinates"
            )
        if scale is not None and scale > 1:
            raise InputError(f"expected a contrast (scale) of at most 1, got {scale:g}")
        return SimilarityKernel(
            name, np.tanh(0.5 / _median_differing(points)) if scale is None else scale
        )
    return SimilarityKernel(name, median_distance(points) if scale is None else scale)


def median_distance(points: np.ndarray) -> float:
    """Median distance of two rows [n, dims]; of more than 1000 rows, of 1000 of them.

    Where more than half of the distances are 0, it is the median of the others, and 1 if all are.
    """
    rows = _some(points)
    return _typical(np.sqrt(_squared_distances(rows, rows)[np.triu_indices(len(rows), 1)]))


def _median_differing(points: np.ndarray) -> float:
    """The median over pairs of the expected number of spins that differ."""
    rows = _some(points)
    differing = 0.5 * (rows.shape[1] - rows @ rows.T)
    return _typical(differing[np.triu_indices(len(rows), 1)])


def _typical(values: np.ndarray) -> float:
    if (middle := np.median(values)) > 0:
        return float(middle)
    return float(np.median(values[values > 0])) if (values > 0).any() else 1.0


def _some(points: np.ndarray) -> np.ndarray:
    if len(points) <= _SAMPLE:
        return points.astype(np.float64)
    return points[np.linspace(0, len(points) - 1, _SAMPLE).astype(int)].astype(np.float64)


def _overlap(first: np.ndarray, second: np.ndarray, contrast: float) -> np.ndarray:
    """The exact kernel of spins, by blocks of rows: [n, m, dims] is never whole."""
    entries = np.empty((len(first), len(second)), np.result_type(first, second))
    width = max(1, _BLOCK // max(1, second.size))
    for start in range(0, len(first), width):
        rows = slice(start, start + width)
        product = contrast * first[rows, None, :] * second[None, :, :]
        product += 1
        product /= 1 + contrast
        entries[rows] = product.prod(axis=2)
    return entries


def _squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of rows [n, dims] to rows [m, dims], from their products: these cancel less around 0."""
    centre, alike = second.mean(axis=0), first is second
    second = second - centre
    first = second if alike else first - centre
    squared = first @ second.T
    squared *= -2
    squared += np.einsum("nd,nd->n", first, first)[:, None]
    squared += np.einsum("nd,nd->n", second, second)[None]
    return np.maximum(squared, 0, out=squared)


def _unit(points: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(points, axis=1, keepdims=True)
    return points / np.where(length > 0, length, 1)
