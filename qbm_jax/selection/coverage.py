"""Facility location, how well every cell is covered by its most similar chosen one, as QUBOs.

F(S) = mean_i max_{j in S} w_ij is no quadratic function of bits. Around a choice S it has an exact
expansion to second order in single additions and removals. That is a QUBO; its solution is the next
S, as long as F grows.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from qbm_jax.runtime.options import check, whole
from qbm_jax.runtime.options import seed as seed_kind
from qbm_jax.selection import kernels
from qbm_jax.selection.coordinates import points_of
from qbm_jax.selection.energies import mmd_problem
from qbm_jax.selection.problem import Problem, descend, greedy, lowest

_ROUNDS = 12
_ENTRIES = 2**22  # of similarities that are compared at a time
_WIDTHS = (0.0625, 0.125, 0.25, 0.5, 1.0)  # of a kernel, in median distances
Solve = Callable[[Problem], list[np.ndarray]]


def value(similarity: np.ndarray, chosen: np.ndarray) -> float:
    """F of chosen cells, from similarities [cells, candidates]."""
    return float(similarity[:, chosen].max(axis=1).mean())


def lazy_greedy(
    similarity: np.ndarray,
    codes: np.ndarray,
    quotas: np.ndarray,
    extra: np.ndarray | None = None,
    covered: np.ndarray | None = None,
) -> np.ndarray:
    """The greedy choice [k] for F, at least 1 - 1/e of the best (half of it with several quotas).

    Gains never grow, so that a cell is looked at again only while its old gain is the largest
    (Minoux 1978).

    Args:
      similarity: of each cell to each candidate [cells, candidates], none below 0.
      codes: group of each candidate [candidates].
      quotas: candidates to choose of each group [groups].
      extra: what else each candidate adds [candidates]; None: nothing.
      covered: similarity to what is chosen already [cells]; None: 0.
    """
    best = np.zeros(len(similarity)) if covered is None else covered.copy()
    extra = np.zeros(similarity.shape[1]) if extra is None else extra
    gains = np.maximum(similarity - best[:, None], 0).mean(axis=0) + extra
    left, chosen = quotas.copy(), []
    gains[left[codes] == 0] = -np.inf
    while left.any():
        fresh: set[int] = set()
        while (cell := int(np.argmax(gains))) not in fresh:
            gains[cell] = np.maximum(similarity[:, cell] - best, 0).mean() + extra[cell]
            fresh.add(cell)
        chosen.append(cell)
        best = np.maximum(best, similarity[:, cell])
        left[codes[cell]] -= 1
        gains[cell] = -np.inf
        if not left[codes[cell]]:
            gains[codes == codes[cell]] = -np.inf
    return np.sort(np.array(chosen, int))


def exact(
    similarity: np.ndarray,
    codes: np.ndarray,
    quotas: np.ndarray,
    extra: np.ndarray,
    covered: np.ndarray | None = None,
) -> np.ndarray:
    """The choice [k] of the largest F, by enumeration; arguments as of `lazy_greedy`.

    Raises:
      InputError: more choices than `problem.MOST_CHOICES`.
    """
    least = np.full(len(similarity), -np.inf) if covered is None else covered

    def energies(fixed: np.ndarray, last: np.ndarray) -> np.ndarray:
        held = np.maximum(similarity[:, fixed].max(axis=1, initial=-np.inf), least)
        best = np.repeat(held[:, None], len(last), axis=1)
        for cells in last.T:
            np.maximum(best, similarity[:, cells], out=best)
        return -best.mean(axis=0) - extra[fixed].sum() - extra[last].sum(axis=1)

    return lowest(codes, quotas, energies, max(1, _ENTRIES // len(similarity)))


def expansion(
    similarity: np.ndarray,
    chosen: np.ndarray,
    candidates: np.ndarray,
    extra: np.ndarray,
    covered: np.ndarray | None = None,
    with_pairs: bool = True,
) -> Problem:
    """-F near a choice as a problem of the candidates' bits, exact for one change and for two.

    Args:
      similarity: as in `lazy_greedy`.
      chosen: the choice [k].
      candidates: all of the choice, and others [candidates].
      extra: as in `lazy_greedy`.
      covered: likewise.
      with_pairs: whether two cells may be added at once; a single swap does not need that, which
        is most of the time.
    """
    held = similarity[:, chosen]
    others = np.zeros((len(similarity), 3))
    padded = np.column_stack(
        [held, others if covered is None else np.column_stack([covered, others])]
    )
    rank = np.argsort(-padded, axis=1, kind="stable")[:, :3]
    first, second, third = np.take_along_axis(padded, rank, axis=1).T
    inside = np.isin(candidates, chosen)
    number = len(similarity)
    gains, pairs = np.zeros(len(candidates)), np.zeros((len(candidates), len(candidates)))
    places = {int(cell): place for place, cell in enumerate(candidates)}
    slots = np.array(
        [places[int(cell)] for cell in chosen] + [-1] * (padded.shape[1] - len(chosen))
    )
    owner, runner = slots[rank[:, 0]], slots[rank[:, 1]]
    np.add.at(gains, owner[owner >= 0], -(first - second)[owner >= 0])
    both = (owner >= 0) & (runner >= 0)
    np.add.at(pairs, (owner[both], runner[both]), -(second - third)[both])
    outside = np.flatnonzero(~inside)
    added = np.maximum(similarity[:, candidates[outside]] - first[:, None], 0)
    gains[outside] = added.sum(axis=0)
    for place, cell in enumerate(outside):
        if with_pairs:
            pairs[cell, outside[place + 1 :]] = -np.minimum(
                added[:, place, None], added[:, place + 1 :]
            ).sum(axis=0)
        again = np.clip(similarity[:, candidates[cell]] - second, 0, first - second)
        np.add.at(pairs[cell], owner[owner >= 0], again[owner >= 0])
    pairs = (pairs + pairs.T) / number
    np.fill_diagonal(pairs, 0)
    gains = gains / number + np.where(inside, -1, 1) * extra[candidates]
    # The bits say what is chosen, the expansion what changes: x = start + sign m.
    sign, start = np.where(inside, -1.0, 1.0), inside.astype(float)
    return Problem(
        K=-0.5 * sign[:, None] * pairs * sign[None],
        linear=-sign * (gains + pairs @ start),
        scale=1.0,
        constant=float(-gains @ start - 0.5 * start @ pairs @ start),
        codes=np.zeros(len(candidates), int),
        quotas=np.array([len(chosen)]),
    )


def improve(
    similarity: np.ndarray,
    chosen: np.ndarray,
    codes: np.ndarray,
    quotas: np.ndarray,
    extra: np.ndarray,
    solve: Solve,
    covered: np.ndarray | None = None,
    num_swaps: int = 20,
) -> np.ndarray:
    """Solves expansions around the choice, one after another, while F grows; returns [k].

    Each solution changes a given number of cells of each group, an eighth of the choice at first;
    where F does not grow, half as many. Of several solutions the one with the largest F is taken.
    For one change the expansion is exact: at the end the best swaps are read off it.

    Args:
      similarity: as in `lazy_greedy`.
      chosen: where to begin [k].
      codes: as in `lazy_greedy`.
      quotas: likewise.
      extra: likewise.
      solve: problem -> choices [k].
      covered: as in `lazy_greedy`.
      num_swaps: at most, at the end.
    """

    def worth(choice: np.ndarray) -> float:
        best = similarity[:, choice].max(axis=1)
        if covered is not None:
            best = np.maximum(best, covered)
        return float(best.mean() + extra[choice].sum())

    current, most = worth(chosen), max(2, len(chosen) // 8)
    for _ in range(_ROUNDS):
        candidates = _promising(similarity, chosen, quotas[codes] > 0, extra, covered)
        inside = np.isin(candidates, chosen)
        if inside.all():
            break
        own = codes[candidates]
        outside = np.bincount(own[~inside], minlength=len(quotas))
        changes = np.minimum(np.minimum(most, quotas), outside)
        problem = dataclasses.replace(
            expansion(similarity, chosen, candidates, extra, covered),
            codes=2 * own + inside, quotas=np.column_stack([changes, quotas - changes]).ravel(),
        )  # fmt: skip
        better = max((candidates[each] for each in solve(problem)), key=worth)
        if worth(better) > current + 1e-12:
            chosen, current = np.sort(better), worth(better)
        elif (most := most // 2) < 2:
            break
    for _ in range(num_swaps):
        candidates = _promising(similarity, chosen, quotas[codes] > 0, extra, covered)
        problem = expansion(similarity, chosen, candidates, extra, covered, with_pairs=False)
        swapped = candidates[best_swap(problem, np.isin(candidates, chosen), codes[candidates])]
        if worth(swapped) <= current + 1e-12:
            break
        chosen, current = np.sort(swapped), worth(swapped)
    return chosen


def best_swap(problem: Problem, inside: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The choice [k] after the swap within a group that lowers the energy most, or raises it least.

    It is as it was where no other candidate is of the group of a chosen one.

    Args:
      problem: of the candidates.
      inside: which of them are chosen [candidates].
      codes: their groups [candidates].
    """
    chosen, others = np.flatnonzero(inside), np.flatnonzero(~inside)
    fields, own = problem.fields(chosen), problem.own
    change = (own - fields)[chosen, None] + (own + fields)[None, others]
    change = change - 2 * problem.scale * problem.K[np.ix_(chosen, others)]
    change[codes[chosen, None] != codes[None, others]] = np.inf
    if not np.isfinite(change).any():
        return chosen
    out, new = np.unravel_index(np.argmin(change), change.shape)
    return np.append(np.delete(chosen, out), others[new])


def _promising(
    similarity: np.ndarray,
    chosen: np.ndarray,
    wanted: np.ndarray,
    extra: np.ndarray,
    covered: np.ndarray | None,
) -> np.ndarray:
    """The choice, and as many cells of the largest gains, at least 100 [candidates].

    They are of groups that have a quota, `wanted` [candidates], and so can be swapped for.
    """
    best = similarity[:, chosen].max(axis=1)
    if covered is not None:
        best = np.maximum(best, covered)
    gains = np.maximum(similarity - best[:, None], 0).mean(axis=0) + extra
    gains[~wanted] = -np.inf
    gains[chosen] = -np.inf
    number = min(int(wanted.sum()) - len(chosen), max(len(chosen), 100))
    return np.union1d(chosen, np.argsort(-gains, kind="stable")[:number])


def width_by_coverage(points: Any, number: int, seed: int = 0) -> float:
    """The width of an rbf kernel whose MMD choice, greedy and swapped, covers held-out cells best.

    Half of the cells are chosen from; coverage is the mean distance of the other half to the
    nearest chosen cell. To choose as many as half of the cells or more, fewer are held out.

    Args:
      points: coordinates [cells, dims].
      number: of cells to choose, at most all but two.
      seed: of the halves.

    Raises:
      InputError: no such coordinates, number or seed.
    """
    points = points_of(points, None, None)
    number = check("number", number, whole(1, len(points) - 2))
    seed = check("seed", seed, seed_kind())
    rows = np.random.default_rng(seed).permutation(len(points))
    half = max(number + 1, len(points) // 2)
    pool, held_out = points[rows[:half]].astype(np.float64), points[rows[half:]].astype(np.float64)
    median = kernels.median_distance(pool)
    distance = kernels.SimilarityKernel("distance")

    def uncovered(width: float) -> float:
        problem = mmd_problem(kernels.SimilarityKernel("rbf", width), pool, np.array([number]))
        chosen = descend(problem, greedy(problem))
        return float(-distance(held_out, pool[chosen]).max(axis=1).mean())

    return min((factor * median for factor in _WIDTHS), key=uncovered)
