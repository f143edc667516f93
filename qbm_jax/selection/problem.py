"""The choice as a quadratic problem of bits, and certified bounds on its lowest energy."""

import dataclasses
import math
from collections.abc import Callable
from itertools import combinations, product

import numpy as np

from qbm_jax.errors import InputError

MOST_CHOICES = 5_000_000  # that are enumerated
_MOST_EIGENVALUES = 1500  # cells up to which the diagonal's slack is computed
_STEPS = 300  # of Frank and Wolfe
_CHUNK = 2**16  # choices enumerated at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """E(m) = scale m'Km + linear'm + constant, with quotas[g] of the cells of each group g.

    Attributes:
      K: kernel [cells, cells], symmetric; its diagonal counts.
      linear: [cells].
      scale: of the quadratic term.
      constant: of what is chosen already.
      codes: group of each cell [cells].
      quotas: cells to choose of each group [groups].
    """

    K: np.ndarray
    linear: np.ndarray
    scale: float
    constant: float
    codes: np.ndarray
    quotas: np.ndarray

    @property
    def own(self) -> np.ndarray:
        """What each cell's pair with itself adds, scale K_ii [cells]."""
        return self.scale * np.diagonal(self.K)

    def energy(self, chosen: np.ndarray) -> float:
        """E of chosen cells, indices [chosen]."""
        inner = self.K[np.ix_(chosen, chosen)].sum(dtype=np.float64)
        return float(self.scale * inner + self.linear[chosen].sum() + self.constant)

    def fields(self, chosen: np.ndarray) -> np.ndarray:
        """2 scale K m + linear [cells]: what a cell adds to chosen ones, less its `own`."""
        return 2 * self.scale * self.K[:, chosen].sum(axis=1, dtype=np.float64) + self.linear

    def missing(self, chosen: np.ndarray) -> np.ndarray:
        """Cells that each group lacks, below 0 where it has too many [groups]."""
        counts = np.bincount(self.codes[chosen], minlength=len(self.quotas))
        return self.quotas - counts


def greedy(problem: Problem, chosen: np.ndarray | None = None) -> np.ndarray:
    """Chosen cells [k], one after another the one that adds the least energy, within the quotas.

    Args:
      problem: what to choose from.
      chosen: cells to begin with [any number]; where a group has too many of them, those that
        leave with the lowest energy leave first. None: none.
    """
    chosen = np.array([] if chosen is None else chosen, int)
    fields, missing = problem.fields(chosen), problem.missing(chosen)
    taken, own = np.zeros(len(fields), bool), problem.own
    taken[chosen] = True
    while missing.any():
        over = taken & (missing < 0)[problem.codes]
        if over.any():
            cell = int(np.argmin(np.where(over, own - fields, np.inf)))
        else:
            free = ~taken & (missing > 0)[problem.codes]
            cell = int(np.argmin(np.where(free, own + fields, np.inf)))
        sign = -1 if taken[cell] else 1
        taken[cell] ^= True
        missing[problem.codes[cell]] -= sign
        fields += sign * 2 * problem.scale * problem.K[cell]
    return np.flatnonzero(taken)


def descend(problem: Problem, chosen: np.ndarray) -> np.ndarray:
    """Swaps a chosen cell for another of its group while that lowers the energy; returns [k]."""
    chosen = np.array(chosen)
    fields, own = problem.fields(chosen), problem.own
    outside = np.ones(len(fields), bool)
    outside[chosen] = False
    tolerance = 1e-9 * (np.abs(fields).max() + np.abs(own).max()) + 1e-300
    improved = True
    while improved:
        improved = False
        for place, cell in enumerate(chosen):
            change = own + fields - 2 * problem.scale * problem.K[cell] + own[cell] - fields[cell]
            change = np.where(outside & (problem.codes == problem.codes[cell]), change, np.inf)
            other = int(np.argmin(change))
            if change[other] < -tolerance:
                fields += 2 * problem.scale * (problem.K[other] - problem.K[cell])
                outside[[cell, other]] = True, False
                chosen[place], improved = other, True
    return np.sort(chosen)


def random_choice(problem: Problem, rng: np.random.Generator) -> np.ndarray:
    """A random choice within the quotas, indices [k]."""
    return np.sort(
        np.concatenate([
            rng.choice(np.flatnonzero(problem.codes == group), quota, replace=False)
            for group, quota in enumerate(problem.quotas)
        ])
    )  # fmt: skip


def swaps(problem: Problem, num_starts: int, rng: np.random.Generator) -> np.ndarray:
    """The best of swap descents from the greedy choice and from random ones, indices [k]."""
    starts = [greedy(problem), *(random_choice(problem, rng) for _ in range(num_starts))]
    return min((descend(problem, start) for start in starts), key=problem.energy)


def exact(problem: Problem) -> np.ndarray:
    """The choice of lowest energy, by enumeration; the first of several, indices [k].

    Raises:
      InputError: more than `MOST_CHOICES` choices.
    """
    return lowest(
        problem.codes, problem.quotas, lambda fixed, last: _energies(problem, fixed, last)
    )


def lowest(
    codes: np.ndarray,
    quotas: np.ndarray,
    energies: Callable[[np.ndarray, np.ndarray], np.ndarray],
    chunk: int = _CHUNK,
) -> np.ndarray:
    """The choice of lowest energy among all within the quotas; the first of several, indices [k].

    Args:
      codes: group of each cell [cells].
      quotas: cells to choose of each group [groups].
      energies: (some cells [some], choices of the rest [choices, k - some]) -> energies [choices].
      chunk: choices of the rest at a time.

    Raises:
      InputError: more than `MOST_CHOICES` choices.
    """
    members = [np.flatnonzero(codes == g) for g in range(len(quotas))]
    sizes = [math.comb(len(m), int(q)) for m, q in zip(members, quotas, strict=True)]
    if math.prod(sizes) > MOST_CHOICES:
        raise InputError(
            f"expected at most {MOST_CHOICES} choices for solver exact, got "
            f"{math.prod(sizes):.3g}; choose solver greedy, swap or a sampler"
        )
    parts = [
        np.array(list(combinations(m.tolist(), int(q))), int).reshape(size, int(q))
        for m, q, size in zip(members, quotas, sizes, strict=True)
    ]
    best, least = np.array([], int), np.inf
    # All but the last group are walked through; the last one's choices are taken together.
    for first in product(*parts[:-1]):
        fixed = np.concatenate([*first, np.array([], int)]).astype(int)
        for start in range(0, len(parts[-1]), chunk):
            last = parts[-1][start : start + chunk]
            found = energies(fixed, last)
            place = int(np.argmin(found))
            if found[place] < least - 1e-12 * abs(least) or not best.size:
                least, best = found[place], np.sort(np.concatenate([fixed, last[place]]))
    return best


def _energies(problem: Problem, fixed: np.ndarray, last: np.ndarray) -> np.ndarray:
    mask = np.zeros((len(last), len(problem.linear)))
    np.put_along_axis(mask, last, 1.0, axis=1)
    mask[:, fixed] = 1
    return problem.scale * np.einsum("cn,cn->c", mask @ problem.K, mask) + mask @ problem.linear


def guarantee(problem: Problem, energy: float) -> float | None:
    """What no choice can fall below, given the energy of the greedy one.

    With no negative entry in K the gain -E is submodular; a reward c for each cell changes nothing
    at fixed k. The greedy choice S then has at least 1 - 1/e of the gain + ck of the best choice O,
    or half of it with several quotas (Nemhauser et al. 1978; Fisher et al. 1978), provided that the
    gain + c never falls where the proofs need it. Both add the first k - 1 cells of S to O, one
    after another (with quotas that suffices, since no cell of O adds more to those than the cell of
    S in its place did). The last of them meets 2k - 2 others: all k of O, and k - 2 of S. So c is
    the most energy that a cell adds to its 2k - 2 most similar ones.

    Returns:
      The bound; None where K has negative entries and there is no guarantee.
    """
    if problem.K.min() < -1e-12:
        return None
    k, num_cells = int(problem.quotas.sum()), len(problem.linear)
    others = problem.K - np.diag(np.diagonal(problem.K))
    place = num_cells - min(2 * k - 2, num_cells - 1)
    most = np.partition(others, min(place, num_cells - 1), axis=1)[:, place:].sum(axis=1)
    reward = max(0.0, float((problem.own + problem.linear + 2 * problem.scale * most).max()))
    share = 1 - math.exp(-1) if len(problem.quotas) == 1 else 0.5
    gain = problem.constant - energy + reward * k
    return problem.constant + reward * k - gain / share


def lower_bound(problem: Problem) -> float:
    """A certified lower bound on E: of the convex relaxation to 0 <= m <= 1 with the same quotas.

    Bits are their own squares, so the smallest eigenvalue of K on vectors of sum 0 moves from the
    quadratic to the linear term first. Frank and Wolfe's algorithm then minimises, and its duality
    gap makes each iterate a bound.
    """
    num_cells, slack = len(problem.linear), 0.0
    if 1 < num_cells <= _MOST_EIGENVALUES:
        centred = problem.K - problem.K.mean(axis=0) - problem.K.mean(axis=1)[:, None]
        centred = centred + problem.K.mean() + np.abs(problem.K).sum() / num_cells
        slack = max(0.0, float(np.linalg.eigvalsh(centred)[0]) - 1e-9 * np.abs(centred).max())
    linear = problem.linear + problem.scale * slack
    sizes = np.bincount(problem.codes, minlength=len(problem.quotas))
    m = (problem.quotas / np.maximum(sizes, 1))[problem.codes]
    product, best = problem.K @ m - slack * m, -np.inf
    for _ in range(_STEPS):
        gradient = 2 * problem.scale * product + linear
        vertex = _best_vertex(problem, gradient)
        gap = float(gradient @ (m - vertex))
        value = float(problem.scale * m @ product + linear @ m)
        best = max(best, value - gap)
        if gap <= 1e-7 * abs(value) + 1e-15:
            break
        direction = vertex - m
        along = problem.K @ direction - slack * direction
        curvature = 2 * problem.scale * float(direction @ along)
        step = 1.0 if curvature <= 0 else min(1.0, gap / curvature)
        m, product = m + step * direction, product + step * along
    return best + problem.constant


def _best_vertex(problem: Problem, gradient: np.ndarray) -> np.ndarray:
    vertex = np.zeros(len(gradient))
    for group, quota in enumerate(problem.quotas):
        members = np.flatnonzero(problem.codes == group)
        vertex[members[np.argsort(gradient[members], kind="stable")[:quota]]] = 1
    return vertex
