"""Which cells are held out when: stratified folds, and one fold per batch (donor, technology)."""

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.metrics.checks import check_labels, check_names


def check_folds(labels: np.ndarray | None, num_folds: int) -> None:
    """Raises InputError unless every type has a cell for every fold; it names those without.

    It needs labels [cells] alone, so that a task can be refused before anything is trained.
    """
    names, sizes = np.unique(check_labels(labels, "stratified folds"), return_counts=True)
    if num_folds < 2:
        raise InputError(f"expected at least 2 folds, got {num_folds}")
    if (small := sizes < num_folds).any():
        listed = ", ".join(f"{n} ({s})" for n, s in zip(names[small], sizes[small], strict=True))
        raise InputError(
            f"expected at least {num_folds} cells of every type for {num_folds} folds, got fewer of"
            f" {listed}; use fewer folds or leave these types out"
        )


def stratified_folds(
    labels: np.ndarray,
    num_folds: int = 5,
    seed: int = 0,
    batch: np.ndarray | None = None,
    *,
    strict: bool = True,
) -> np.ndarray:
    """Fold of every cell, with types (and batches within them) spread evenly over the folds.

    Sizes differ between folds by at most one cell: in total, in every type, and in every batch of
    a type.

    Args:
      labels: type of every cell [cells].
      num_folds: two or more.
      seed: of the order of the cells within a stratum.
      batch: batch of every cell [cells], or None.
      strict: refuse a type with fewer cells than folds; else it is missing from some folds, and
        a type of one cell is never trained on when it is tested.

    Returns:
      Fold codes, integers [cells] in [0, num_folds).

    Raises:
      InputError: no labels, one type, fewer than two folds, or, if strict, a type too small.
    """
    if strict:
        check_folds(labels, num_folds)
    types = np.unique(check_labels(labels, "stratified folds"), return_inverse=True)[1]
    if batch is None:
        batch = np.zeros(len(types), int)
    else:
        check_names(batch, "batch", len(types))
        batch = np.unique(batch, return_inverse=True)[1]
    random = np.random.default_rng(seed).permutation(len(types))
    order = np.lexsort((random, batch, types))  # types in turn, batches within, shuffled within
    folds = np.empty(len(types), dtype=int)
    folds[order] = np.arange(len(types)) % num_folds
    return folds


def batch_folds(batch: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Leave one batch (donor, technology) out: fold of every cell [cells], and the folds' names.

    Raises:
      InputError: a single batch.
    """
    names, folds = np.unique(check_names(batch, "donor"), return_inverse=True)
    if len(names) < 2:
        raise InputError(
            f"expected at least two donors to leave one out, got {', '.join(names) or 'none'};"
            " use stratified folds"
        )
    return folds, tuple(names.tolist())
