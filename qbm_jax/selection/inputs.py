"""What a selector is given, checked once: coordinates, groups, quotas, utilities, labels."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import check, whole

REPRESENTATIONS = ("X_qbmvae", "X_pca")  # of obsm, the first that is there


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


def points_of(data: Any, model: Any, use_rep: str | None) -> np.ndarray:
    """Coordinates [cells, dims] of an array, an AnnData, or cells that a model embeds.

    Args:
      data: an array [cells, dims]; an AnnData; or with a model the path of a file, or cells of
        `qbm_jax.data` in memory or on disk, which are embedded block by block.
      model: a fitted model that embeds the data; None: they have coordinates.
      use_rep: key of `obsm`.

    Raises:
      InputError: no such key (those there are listed), no numbers, NaN, or fewer than two cells.
    """
    if model is not None:
        points = _embedded(data, model)
    elif hasattr(data, "obsm"):
        points = data.obsm[_representation(data.obsm, use_rep)]
    elif isinstance(data, str | os.PathLike):
        raise InputError(f"expected model= with the path {data}: its cells are embedded by it")
    else:
        points = data
    try:
        points = np.asarray(points)
        points = points.astype(np.float64 if points.dtype != np.float32 else np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected coordinates [cells, dims], got {type(data).__name__}"
        ) from error
    if points.ndim != 2 or len(points) < 2 or not points.shape[1]:
        raise InputError(
            f"expected coordinates [cells, dims] of 2 cells or more, got {points.shape}"
        )
    if bad := int((~np.isfinite(points)).any(axis=1).sum()):
        raise InputError(
            f"expected finite coordinates, got NaN or infinity in {bad} of {len(points)} cells; "
            "leave these cells out"
        )
    return points


def _representation(obsm: Mapping[str, Any], use_rep: str | None) -> str:
    known = ", ".join(obsm) or "none"
    if use_rep is None:
        for name in REPRESENTATIONS:
            if name in obsm:
                return name
        raise InputError(f"expected use_rep, a key of obsm; there are {known}")
    if use_rep not in obsm:
        raise InputError(f"no key {use_rep!r} in obsm; there are {known}")
    return use_rep


def _embedded(data: Any, model: Any) -> np.ndarray:
    if hasattr(data, "obsm"):
        return model.embed(data)
    if isinstance(data, str | os.PathLike):
        from qbm_jax.data.on_disk import open_cells

        data = open_cells(
            [Path(data)], gene_list=model.settings.genes, batch_column=model.settings.batch_column
        )
        if data.num_cells and data.rows[-1] >= data.num_cells:
            raise InputError(
                "expected counts in the model's genes in every cell of the file, got none in some; "
                "open it with qbm_jax.data.on_disk.open_cells and take cells.rows[indices_]"
            )
    if not hasattr(data, "reader"):
        return model.encode_cells(data)[0]
    points = np.empty((data.num_cells, model.vae.num_latents), np.float32)
    for rows, embedding, _ in model.encode_blocks(data):
        points[rows] = embedding
    return points


def column_of(data: Any, values: Any, what: str, num_cells: int) -> np.ndarray:
    """Values [cells]: given as such, or as the name of a column of `obs`.

    Raises:
      InputError: no such column, or another number of them.
    """
    if isinstance(values, str):
        if not hasattr(data, "obs") or values not in data.obs:
            known = ", ".join(map(str, getattr(data, "obs", ()))) or "none"
            raise InputError(f"no column {values!r} of obs for {what}; there are {known}")
        values = data.obs[values]
    found = np.asarray(values)
    if found.shape != (num_cells,):
        raise InputError(f"expected {what} [{num_cells} cells], got shape {found.shape}")
    return found


def checked_utility(values: np.ndarray) -> np.ndarray:
    """Utilities [cells] as numbers; warns if they are constant, which has no effect.

    Raises:
      InputError: no numbers, or not finite.
    """
    try:
        values = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("expected utility as numbers, one a cell") from error
    if not np.isfinite(values).all():
        raise InputError(f"expected finite utility, got {int((~np.isfinite(values)).sum())} others")
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
    given = np.asarray(labelled)
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
    found = np.asarray(given)
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
      InputError: fewer cells than groups, a quota of no group or above its size, or quotas that do
        not sum to the number.
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
