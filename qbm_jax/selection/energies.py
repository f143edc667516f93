"""The objective of a pool: energies of choices, and the problem whose lowest one is sought."""

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.selection import blocks, kernels
from qbm_jax.selection.inputs import Pool
from qbm_jax.selection.options import SelectionOptions
from qbm_jax.selection.problem import Problem

_EXACT_ENTRIES = 2e9  # of the kernel behind an energy; of more, random features estimate it
_COPIES = 4  # of the kernel, in float64, while a block is chosen from
_BLOCK = 2**22  # entries of a kernel that are computed at a time


def energy_of(
    pool: Pool, kernel: kernels.SimilarityKernel, chosen: np.ndarray, options: SelectionOptions
) -> float:
    """E of chosen cells, places in the pool [k].

    No kernel is whole in memory. Means of more than `_EXACT_ENTRIES` entries are estimated by
    random features.
    """
    utility = 0.0
    if pool.utility is not None:
        utility = options.utility_weight * float(pool.utility[chosen].sum())
    every = pool.points[np.union1d(chosen, np.flatnonzero(pool.fixed))]
    if options.criterion == "facility":
        return -float(largest(kernel, pool.points, every.astype(np.float64)).mean()) - utility
    inner = _mean(kernel, every, every, options.seed)
    return inner - 2 * _mean(kernel, every, pool.points, options.seed) - utility


def _mean(
    kernel: kernels.SimilarityKernel, points: np.ndarray, pool: np.ndarray, seed: int
) -> float:
    """Mean entry of rows [n, dims] with those of the pool [m, dims]."""
    has_features = kernel.name != "distance"  # without, blocks take their time
    if len(points) * len(pool) > _EXACT_ENTRIES and has_features:
        return blocks.mean_entry(kernel, points, pool, seed)
    return float(kernel.means(points.astype(np.float64), pool.astype(np.float64)).mean())


def largest(kernel: kernels.SimilarityKernel, points: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Largest entry of each row [n, dims] with a chosen one, by blocks [n]."""
    width = max(1, _BLOCK // len(chosen))
    parts = [points[start : start + width] for start in range(0, len(points), width)]
    return np.concatenate([kernel(part.astype(np.float64), chosen).max(axis=1) for part in parts])


def problem_of(
    pool: Pool, kernel: kernels.SimilarityKernel, quotas: np.ndarray, utility_weight: float
) -> Problem:
    """The problem of the cells that are not labelled, with those that are as a constant."""
    free, points = ~pool.fixed, pool.points.astype(np.float64)
    utility = None if pool.utility is None else utility_weight * pool.utility[free]
    return mmd_problem(kernel, points[free], quotas, pool.codes[free], points[~free], utility)


def mmd_problem(
    kernel: kernels.SimilarityKernel,
    points: np.ndarray,
    quotas: np.ndarray,
    codes: np.ndarray | None = None,
    held: np.ndarray | None = None,
    utility: np.ndarray | None = None,
) -> Problem:
    """The squared MMD of chosen cells to all of them, but for the constant of the latter.

    Args:
      kernel: of two sets of points.
      points: cells to choose from [cells, dims].
      quotas: of these, to choose from each group [groups].
      codes: group of each cell [cells]; None: one group.
      held: cells that are chosen already [held, dims]; None: none.
      utility: what choosing a cell takes off the energy [cells]; None: nothing.
    """
    codes = np.zeros(len(points), int) if codes is None else codes
    num_held = 0 if held is None else len(held)
    num_chosen, num_cells = int(quotas.sum()) + num_held, len(points) + num_held
    K = kernel(points, points)
    sums, constant = K.sum(axis=1), 0.0
    linear = np.zeros(len(points))
    if held is not None and num_held:
        crossed = kernel(points, held)
        sums = sums + crossed.sum(axis=1)
        inner = float(kernel.means(held, held).sum()) * num_held
        constant = inner / num_chosen**2
        constant -= 2 * (inner + float(crossed.sum())) / (num_cells * num_chosen)
        linear += 2 * crossed.sum(axis=1) / num_chosen**2
    linear -= 2 * sums / (num_cells * num_chosen)
    if utility is not None:
        linear -= utility
    return Problem(0.5 * (K + K.T), linear, 1 / num_chosen**2, constant, codes, quotas)


def check_memory(num_free: int, num_cells: int, max_gib: float) -> None:
    """Raises InputError if the kernel of free cells with all has no room in `max_gib`.

    Args:
      num_free: cells to choose from.
      num_cells: these and the labelled ones.
      max_gib: of memory.
    """
    needed = _COPIES * 8 * num_free * num_cells / 2**30
    if needed > max_gib:
        cells = f"{num_free} cells"
        if num_free < num_cells:
            cells += f" with all {num_cells}, labelled ones included,"
        raise InputError(
            f"the kernel of {cells} needs {needed:,.1f} GiB, above max_gib={max_gib:g}; "
            "give block_size=2000 to choose from blocks of cells, or raise max_gib"
        )
