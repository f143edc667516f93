"""What a selector is given, checked once: groups, quotas, utilities, labels."""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import check, shown, whole

LARGEST = 1e100  # of coordinates and utilities: sums of squares and their products stay numbers


class Pool(NamedTuple):
    """The cells to choose from in an order that depends on the cells alone, not on their rows.

    Attributes:
      points: coordinates [cells, dims].
      utility: of each cell [cells]; None: none has any.
      codes: group of each cell [cells], 0 without groups.
      names: of the groups.
      fixed: whether a cell is labelled already [cells].
      order: row of each cell as it was given [cells].
    """

    points: np.ndarray
    utility: np.ndarray | None
    codes: np.ndarray
    names: tuple[str, ...]
    fixed: np.ndarray
    order: np.ndarray


def listed(values: Any, what: str) -> np.ndarray:
    """The values as an array.

    Raises:
      InputError: lists of unequal lengths, of which there is none.
    """
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"expected {what} one each, got lists of unequal lengths") from error


def checked_utility(values: np.ndarray) -> np.ndarray:
    """Utilities [cells] as numbers; warns if they are constant, which has no effect.

    Raises:
      InputError: no numbers, not finite, or above 1e100.
    """
    try:
        if np.iscomplexobj(values):
            raise TypeError
        values = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("expected utility as numbers, one a cell") from error
    if not np.isfinite(values).all():
        raise InputError(f"expected finite utility, got {int((~np.isfinite(values)).sum())} others")
    if (largest := float(np.abs(values).max())) > LARGEST:
        raise InputError(f"expected utility of at most {LARGEST:g}, got {largest:.3g}; divide it")
    if np.ptp(values) == 0:
        warnings.warn("the utility is constant and without effect on the choice", stacklevel=4)
    return values


def labelled_mask(labelled: Any, num_cells: int) -> np.ndarray:
    """Which cells are labelled already [cells], from a mask or indices; None: none.

    Raises:
      InputError: indices out of range or repeated, or a mask of another length.
    """
    fixed = np.zeros(num_cells, bool)
    if labelled is None:
        return fixed
    given = listed(labelled, "labelled")
    if given.dtype == bool:
        if given.shape != fixed.shape:
            raise InputError(f"expected a mask labelled [{num_cells}], got shape {given.shape}")
        return given.copy()
    fixed[checked_indices(given, num_cells, "labelled")] = True
    return fixed


def checked_indices(given: Any, num_cells: int, what: str) -> np.ndarray:
    """Distinct indices [chosen] of cells.

    Raises:
      InputError: no integers, out of range, or repeated.
    """
    found = listed(given, what)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise InputError(
            f"expected {what} as whole numbers [cells], got {found.dtype} {found.shape}"
        )
    found = found.astype(int)
    if found.size and (found.min() < 0 or found.max() >= num_cells):
        raise InputError(
            f"expected {what} from 0 to {num_cells - 1}, got {found.min()} to {found.max()}"
        )
    if len(np.unique(found)) < len(found):
        raise InputError(f"expected {what} once each, got some twice; take np.unique of them")
    return found


def checked_labels(values: Any, number: int, what: str) -> np.ndarray:
    """A label of each cell [cells], as numbers or text.

    Raises:
      InputError: another shape, or a label that is missing.
    """
    found = listed(values, what)
    if found.shape != (number,):
        raise InputError(f"expected {what} [{number} cells], one each, got shape {found.shape}")
    if missing := _missing(found):
        raise InputError(
            f"expected a label of each cell in {what}, got none of {missing}; leave these out"
        )
    return np.array(found.tolist())


def check_one_kind(first: np.ndarray, second: np.ndarray, what: str) -> None:
    """Raises InputError for labels [cells] that are numbers where others are text."""
    kinds = ["numbers" if each.dtype.kind in "biuf" else "text" for each in (first, second)]
    if kinds[0] != kinds[1]:
        raise InputError(f"expected {what} of one kind, got {kinds[0]} and {kinds[1]}")


def checked_groups(groups: np.ndarray) -> np.ndarray:
    """The group of each cell [cells].

    Raises:
      InputError: a cell without one, which would else be of a group of its own, with a quota.
    """
    if missing := _missing(groups):
        raise InputError(
            f"expected a group of each cell, got none of {missing} of {len(groups)}; fill them, or "
            "leave these cells out"
        )
    return groups


def _missing(values: np.ndarray) -> int:
    """How many of the values [cells] are none."""
    # NaN, of pandas and numpy, is not equal to itself.
    return sum(one is None or str(one) == "<NA>" or one != one for one in values.tolist())


def check_groups(groups: Any, quotas: Any) -> None:
    """Raises InputError for quotas that are no dict, or without groups."""
    if quotas is None:
        return
    if not isinstance(quotas, Mapping):
        raise InputError(f"expected quotas as a dict of numbers by group, got {shown(quotas)}")
    if groups is None:
        raise InputError(f"expected groups= with quotas, got none for {shown(dict(quotas))}")


def pool_of(
    points: np.ndarray, utility: np.ndarray | None, groups: np.ndarray | None, fixed: np.ndarray
) -> Pool:
    """The pool in its own order: cells with equal bytes stay together, whatever rows they had."""
    names, codes = np.unique(
        np.zeros(len(points), "U1") if groups is None else groups.astype(str), return_inverse=True
    )
    extra = [codes, fixed] + ([] if utility is None else [utility])
    rows = np.column_stack([points, *extra]).astype(np.float64) + 0.0  # no -0
    order = np.argsort(
        np.ascontiguousarray(rows).view(f"V{rows.shape[1] * 8}").ravel(), kind="stable"
    )
    return Pool(
        points[order], None if utility is None else utility[order], codes[order],
        tuple(map(str, names)), fixed[order], order,
    )  # fmt: skip


def checked_number(num_selected: Any) -> int:
    """The number of cells to choose.

    Raises:
      InputError: no whole number of at least 1.
    """
    return check("num_selected", num_selected, whole(1))


def quotas_of(pool: Pool, number: int, quotas: Mapping[Any, int] | None) -> np.ndarray:
    """Cells to choose of each group [groups].

    In proportion to the groups' free cells by largest remainders, at least one of each; or as
    given.

    Raises:
      InputError: fewer cells than groups, a quota of no group or above its size, two of one group,
        or quotas that do not sum to the number.
    """
    sizes = np.bincount(pool.codes[~pool.fixed], minlength=len(pool.names))
    if number > sizes.sum() or (number == sizes.sum() and not pool.fixed.any()):
        raise InputError(
            f"expected num_selected below the {sizes.sum()} cells that are not labelled, "
            f"got {number}; choose fewer"
        )
    if quotas is None:
        return proportional(sizes, number)
    given = {str(name): check(f"quota of {name}", q, whole(0)) for name, q in quotas.items()}
    if len(given) < len(quotas):
        raise InputError(f"expected one quota for each group, got {shown(dict(quotas))}")
    if unknown := sorted(set(given) - set(pool.names)):
        raise InputError(
            f"quotas of no group: {', '.join(unknown)}; there are {', '.join(pool.names)}"
        )
    if number < sum(q > 0 for q in given.values()):
        raise InputError(f"expected num_selected of at least the {len(given)} quotas, got {number}")
    found = np.array([given.get(name, 0) for name in pool.names])
    for name, quota, size in zip(pool.names, found, sizes, strict=True):
        if quota > size:
            raise InputError(f"quota {quota} of group {name} is above its size, {size} free cells")
    if found.sum() != number:
        raise InputError(f"expected quotas that sum to num_selected {number}, got {found.sum()}")
    return found


def proportional(sizes: np.ndarray, number: int) -> np.ndarray:
    """Shares of a number by largest remainders, at least one where there is any [groups].

    Raises:
      InputError: fewer than one each.
    """
    there = (sizes > 0).astype(int)
    if number < there.sum():
        raise InputError(
            f"expected num_selected of at least {there.sum()}, one for each group, got {number}"
        )
    exact = number * sizes / sizes.sum()
    found = np.minimum(np.maximum(np.floor(exact).astype(int), there), sizes)
    while found.sum() < number:
        found[np.argmax(np.where(found < sizes, exact - found, -np.inf))] += 1
    while found.sum() > number:
        found[np.argmin(np.where(found > there, exact - found, np.inf))] -= 1
    return found
