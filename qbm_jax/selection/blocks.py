"""Pools of any size in blocks of neighbouring cells; the kernel of all cells is never formed."""

from collections.abc import Callable, Iterator

import numpy as np

from qbm_jax.selection.inputs import Pool, proportional

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
    """Chosen cells [k]: of each block as many as its share of the group's free cells.

    Args:
      pool: the cells.
      quotas: of each group [groups].
      block_size: most cells of a block.
      choose_in: (rows of a block, how many) -> chosen rows.
    """
    chosen = []
    for group, quota in enumerate(quotas):
        rows = np.flatnonzero((pool.codes == group) & ~pool.fixed)
        if not quota:
            continue
        blocks = list(split(pool.points, rows, block_size))
        sizes = np.array([len(block) for block in blocks])
        if quota < len(blocks):  # blocks without a cell lose their neighbours' view, not their own
            shares = np.diff(np.round(quota * np.cumsum([0, *sizes]) / sizes.sum()).astype(int))
        else:
            shares = proportional(sizes, int(quota))
        for block, share in zip(blocks, shares, strict=True):
            if share == len(block):
                chosen.append(block)
            elif share:
                chosen.append(choose_in(block, int(share)))
    return np.sort(np.concatenate(chosen))


def mean_entries(kernel, points: np.ndarray, pool: np.ndarray, seed: int) -> np.ndarray:
    """Mean entry of each row [n, dims] with the pool, estimated by random features [n]."""
    features = kernel.features(pool.shape[1], _FEATURES, np.random.default_rng(seed))
    return features(points) @ features.mean(pool)
