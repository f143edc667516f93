"""Columns of `obs` to codes and names: experimental batches and cell types."""

import numpy as np
import pandas as pd

from qbm_jax.data.cells import UNLABELLED
from qbm_jax.data.h5ad import some
from qbm_jax.errors import InputError

_MANY = 50  # from this many cells on, a group for every other cell means a wrong column


Groups = tuple[np.ndarray | None, tuple[str, ...], list[str]]
"""Codes [cells], names and notes."""


def batches(obs: pd.DataFrame, column: str | None, source: str) -> Groups:
    """Codes int32 [cells], names and notes of the experimental batches; None: one batch.

    Raises:
        InputError: no such column, a cell without a batch, or a column that holds no groups.
    """
    if column is None:
        codes = np.zeros(len(obs), dtype=np.int32)
        return codes, ("all",), ["No batch column: all cells are taken as one batch."]
    values = _column(obs, column, "batch", source)
    if values.isna().any():
        raise InputError(
            f"{source}: expected a batch for every cell, column {column!r} has none for "
            f"{int(values.isna().sum())} of {len(values)} cells; fill the column or drop the cells"
        )
    codes, names = _encode(values)
    _check_groups(names, len(obs), column, "batches", source)
    notes = _notes_on_single(codes, names, "Batch")
    if len(names) == 1:
        notes.append(f"Only one batch ({names[0]}): batch correction cannot be scored.")
    return codes, names, notes


def labels(obs: pd.DataFrame, column: str | None, source: str) -> Groups:
    """Codes int32 [cells], names and notes of the cell types; a missing one is `UNLABELLED`.

    Raises:
        InputError: no such column, an empty one, or a column that holds no groups.
    """
    if column is None:
        return None, (), ["No label column: cell types are not scored."]
    values = _column(obs, column, "label", source)
    missing = values.isna().to_numpy()
    if missing.all():
        raise InputError(
            f"{source}: expected cell types in column {column!r}, it is empty; "
            "name another label column or none"
        )
    if missing.any():
        values = values.astype(object).where(~missing, UNLABELLED)
    codes, names = _encode(values)
    _check_groups(names, len(obs), column, "cell types", source)
    notes = _notes_on_single(codes, names, "Type")
    if missing.any():
        notes.append(f"{int(missing.sum())} cells have no label in {column!r}: kept, not scored.")
    if len(set(names) - {UNLABELLED}) == 1:
        notes.append(f"Only one cell type in {column!r}: cell types cannot be scored.")
    return codes, names, notes


def _column(obs: pd.DataFrame, column: str, role: str, source: str) -> pd.Series:
    if column not in obs.columns:
        raise InputError(
            f"{source}: expected {role} column {column!r} in obs, which has: "
            f"{some(obs.columns, 40)}; name one of these"
        )
    return obs[column]


def _encode(values: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes int32 and names as text; categories keep their order, others are sorted."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        names = [str(name) for name in values.cat.remove_unused_categories().cat.categories]
    elif pd.api.types.is_numeric_dtype(values.dtype):
        names = [str(number) for number in sorted(values.unique())]
    else:
        names = sorted({str(value) for value in values})
    names = list(dict.fromkeys(names))  # the categories 1 and "1" are one name
    return pd.Index(names).get_indexer(values.astype(str)).astype(np.int32), tuple(names)


def _check_groups(names: tuple, num_cells: int, column: str, what: str, source: str) -> None:
    """Refuses a column of measurements or cell names where groups of cells are expected."""
    if num_cells >= _MANY and len(names) > num_cells // 2:
        raise InputError(
            f"{source}: expected {what} in column {column!r}, found {len(names)} different values "
            f"for {num_cells} cells; name a column of groups"
        )


def _notes_on_single(codes: np.ndarray, names: tuple[str, ...], what: str) -> list[str]:
    single = [name for name, size in zip(names, np.bincount(codes), strict=True) if size == 1]
    return [f"{what} with a single cell, kept: {some(single)}."] if single else []
