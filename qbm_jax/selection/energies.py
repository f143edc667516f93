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
    pool: Pool, kernel: kernels.Kernel, chosen: np.ndarray, options: SelectionOptions
) -> float:
    """E of chosen cells, places in the pool [k]; nothing larger than k times k is kept."""
    utility = 0.0
    if pool.utility is not None:
        utility = options.utility_weight * float(pool.utility[chosen].sum())
    every = np.union1d(chosen, np.flatnonzero(pool.fixed))
    entries = len(every) * len(pool.points)
    has_features = kernel.name != "distance"  # without, blocks take their time
    if entries > _EXACT_ENTRIES and options.criterion == "mmd" and has_features:
        points = pool.points[every]
        means = blocks.mean_entries(kernel, points, pool.points, options.seed)
    else:
        points, every_point = pool.points[every].astype(np.float64), pool.points
        if options.criterion == "facility":
            return -float(largest(kernel, every_point, points).mean()) - utility
        means = kernel.means(points, every_point.astype(np.float64))
    inner = kernel.means(points, points).mean()
    return float(inner - 2 * means.mean() - utility)


def largest(kernel: kernels.Kernel, points: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Largest entry of each row [n, dims] with a chosen one, by blocks [n]."""
    width = max(1, _BLOCK // len(chosen))
    parts = [points[start : start + width] for start in range(0, len(points), width)]
    return np.concatenate([kernel(part.astype(np.float64), chosen).max(axis=1) for part in parts])


def problem_of(
    pool: Pool, kernel: kernels.Kernel, quotas: np.ndarray, utility_weight: float
) -> Problem:
    """The problem of the cells that are not labelled, with those that are as a constant."""
    free, points = ~pool.fixed, pool.points.astype(np.float64)
    own, held = points[free], points[~free]
    total = int(quotas.sum()) + len(held)
    K = kernel(own, own)
    sums, constant = K.sum(axis=1), 0.0
    if len(held):
        crossed = kernel(own, held)
        sums = sums + crossed.sum(axis=1)
        inner = float(kernel.means(held, held).sum()) * len(held)
        constant = inner / total**2 - 2 * (inner + float(crossed.sum())) / (len(points) * total)
    linear = -2 * sums / (len(points) * total)
    if len(held):
        linear += 2 * crossed.sum(axis=1) / total**2
    if pool.utility is not None:
        linear -= utility_weight * pool.utility[free]
    return Problem(
        0.5 * (K + K.T), linear, 1 / total**2, constant, pool.codes[free], quotas
    )  # fmt: skip


def check_memory(num_cells: int, max_gib: float) -> None:
    """Raises InputError if the kernel of so many cells has no room in `max_gib`."""
    needed = _COPIES * 8 * num_cells**2 / 2**30
    if needed > max_gib:
        raise InputError(
            f"the kernel of {num_cells} cells needs {needed:,.1f} GiB, above max_gib={max_gib:g}; "
            "give block_size=2000 to choose from blocks of cells, or raise max_gib"
        )
