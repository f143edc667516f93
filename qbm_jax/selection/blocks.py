"""Pools of any size in blocks of neighbouring cells; the kernel of all cells is never formed."""

from collections.abc import Callable, Iterator

import numpy as np

from qbm_jax.selection.inputs import Pool, proportional
from qbm_jax.selection.kernels import SimilarityKernel

_FEATURES = 512  # random ones behind the estimate of an energy
_SAMPLE = 256  # cells of a block that its longest direction is found on


def split(points: np.ndarray, rows: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Parts of `rows`, of nearly equal sizes of at most `most`, by halves along long directions.

    A direction is the first principal one of some cells of the part.
    """
    if len(rows) <= most:
        yield rows
        return
    some = points[rows[np.linspace(0, len(rows) - 1, _SAMPLE).astype(int)]].astype(np.float64)
    direction = np.linalg.svd(some - some.mean(axis=0), full_matrices=False)[2][0]
    direction *= np.sign(direction[np.argmax(np.abs(direction))])
    along = points[rows] @ direction.astype(points.dtype)
    order = np.argpartition(along, len(rows) // 2)
    for part in (order[: len(rows) // 2], order[len(rows) // 2 :]):
        yield from split(points, rows[np.sort(part)], most)


def choose(
    pool: Pool,
    quotas: np.ndarray,
    block_size: int,
    choose_in: Callable[[np.ndarray, int], np.ndarray],
) -> np.ndarray:
    """Chosen cells [k]: of each block its share of the group's quota, see `shares`.

    Args:
      pool: the cells; labelled ones lie in the blocks with the others and are not chosen.
      quotas: of each group [groups].
      block_size: most cells of a block.
      choose_in: (rows of a block, how many) -> chosen rows, none of them labelled.
    """
    chosen = []
    for group, quota in enumerate(quotas):
        if not quota:
            continue
        rows = np.flatnonzero(pool.codes == group)
        blocks = list(split(pool.points, rows, block_size))
        free = [block[~pool.fixed[block]] for block in blocks]
        sizes = np.array([len(each) for each in free])
        held = np.array([len(block) for block in blocks]) - sizes
        for place, share in enumerate(shares(sizes, held, int(quota))):
            if share == sizes[place]:
                chosen.append(free[place])
            elif share:
                chosen.append(choose_in(blocks[place], int(share)))
    return np.sort(np.concatenate(chosen))


def shares(free: np.ndarray, held: np.ndarray, number: int) -> np.ndarray:
    """How many cells to choose of each block [blocks].

    Chosen and labelled cells together are the same share of each block, but for blocks with more
    labelled ones than that, which get none. Without labelled cells each block gets at least one,
    where there are enough; blocks without any lose their neighbours' view, not their own.

    Args:
      free: cells of each block that are not labelled [blocks].
      held: labelled ones [blocks].
      number: of cells to choose, at most all free ones.
    """
    if number >= len(free) and not held.any():
        return proportional(free, number)
    sizes = free + held
    order = np.argsort(held / sizes, kind="stable")
    level = ((number + np.cumsum(held[order])) / np.cumsum(sizes[order])).min()
    exact = np.maximum(level * sizes - held, 0)
    # Sums are rounded, so that the few cells of many small shares spread over all blocks.
    ends = np.floor(np.round(np.cumsum([0, *exact]), 6) + 0.5)
    return np.diff(ends).astype(int)


def mean_entry(kernel: SimilarityKernel, points: np.ndarray, pool: np.ndarray, seed: int) -> float:
    """Mean entry of rows [n, dims] with those of the pool [m, dims], by random features."""
    rng, centre = np.random.default_rng(seed), pool.mean(axis=0, dtype=np.float64)
    features = kernel.features(pool.shape[1], _FEATURES, rng, centre)
    return float(features.mean(points) @ features.mean(pool))
