"""Columns of `obs` to codes and names: experimental batches and cell types."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from qbm_jax.data.cells import UNLABELLED
from qbm_jax.data.names import alike, distinct, some, text
from qbm_jax.errors import InputError

BETWEEN = "+"  # columns that are one together
_MANY = 50  # from this many cells on, a group for every other cell means a wrong column

_MISSING = {"", "nan", "na", "n/a", "<na>", "none", "null", "nat"}
"""What missing values become where a column was once written as text, in lower case."""

_VAGUE = {"unknown", "unassigned", "undefined", "undetermined", "unclassified", "unannotated",
          "unlabeled", "not available", "not applicable", "?", "-"}  # fmt: skip
"""What annotators write where they mean no type, or a type of its own; in lower case."""

Groups = tuple[np.ndarray, tuple[str, ...], list[str]]
"""Codes [cells], names and notes."""

NoGroups = tuple[None, tuple[()], list[str]]
"""Where no column was given."""


def batches(obs: pd.DataFrame, column: str | None, source: str) -> Groups:
    """Codes int32 [cells], names and notes of the experimental batches; None: one batch.

    Text that reads like a missing value ("nan", "NA") is a batch like any other, with a note.

    Raises:
      InputError: no such column, a cell without a batch, or a column that holds no groups.
    """
    if column is None:
        codes = np.zeros(len(obs), dtype=np.int32)
        return codes, ("all",), ["No batch column: all cells are taken as one batch."]
    codes, names = distinct(column_of(obs, column, "batch", source))
    num_missing = int((codes < 0).sum())
    if num_missing:
        raise InputError(
            f"{source}: expected a batch for every cell, column {column!r} has none for "
            f"{num_missing} of {len(codes)} cells; fill the column or drop the cells"
        )
    _check_groups(names, len(obs), column, "batches", source)
    notes = _notes_on_single(codes, names, "Batch") + alike(names)
    notes += notes_on_missing(codes, names)
    if len(names) == 1:
        notes.append(f"Only one batch ({names[0]}): batch correction cannot be scored.")
    return codes, names, notes


def notes_on_missing(codes: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """A note on batches whose names read like missing values, if there are any."""
    read_as_missing = [name for name in names if _reads(name, _MISSING)]
    if not read_as_missing:
        return []
    return [
        f"Batches that read like missing values are taken as batches of their own: "
        f"{_sizes(codes, names, read_as_missing)}."
    ]


def joined(
    obs: pd.DataFrame, column: str | Sequence[str] | None, source: str
) -> tuple[pd.DataFrame, str | None]:
    """The table, and the column of its batches; several columns become one, "donor+protocol".

    A batch is then a combination of their values, "D1, 10x"; one value that is missing makes it
    missing.

    Raises:
      InputError: no such columns, the same one twice, or none.
    """
    if column is None or isinstance(column, str):
        return obs, column
    if not isinstance(column, list | tuple):
        raise _no_name(column, "batch", source)
    columns = list(column)
    if not columns or len(set(columns)) < len(columns):
        raise InputError(f"{source}: expected batch columns, each once, got {some(columns)}")
    if len(columns) == 1:
        return obs, columns[0]
    codes, names = zip(
        *(distinct(column_of(obs, each, "batch", source)) for each in columns), strict=True
    )
    rows = np.stack(codes, axis=1)
    found, place = np.unique(rows, axis=0, return_inverse=True)
    values = np.array([
        ", ".join(known[code] for known, code in zip(names, row, strict=True))
        if min(row) >= 0 else None
        for row in found
    ], object)  # fmt: skip
    known = [value for value in values if value is not None]
    if len(set(known)) < len(known):
        twice = next(value for value in known if known.count(value) > 1)
        raise InputError(
            f"{source}: two combinations of {some(columns)} read {twice!r}; rename their values"
        )
    name = BETWEEN.join(map(text, columns))
    if any(BETWEEN in text(each) for each in columns) or name in map(text, obs.columns):
        raise InputError(
            f"{source}: expected batch columns without {BETWEEN!r} in their names, and none called "
            f"{name!r}, got {some(columns)}; rename them"
        )
    return obs.assign(**{name: pd.Categorical(values[place.ravel()])}), name


def labels(obs: pd.DataFrame, column: str | None, source: str) -> Groups | NoGroups:
    """Codes int32 [cells], names and notes of the cell types; a missing one is `UNLABELLED`.

    Text that reads like a missing value ("", "nan", "None", "NA", and `UNLABELLED` itself) is no
    cell type either. Words such as "unknown" are types, with a note.

    Raises:
      InputError: no such column, an empty one, or a column that holds no groups.
    """
    if column is None:
        return None, (), ["No label column: cell types are not scored."]
    codes, names = distinct(column_of(obs, column, "label", source))
    no_type = [name for name in names if _reads(name, _MISSING) or name == UNLABELLED]
    types = [name for name in names if name not in no_type]
    if not types:
        raise InputError(
            f"{source}: expected cell types in column {column!r}, it is empty; "
            "name another label column or none"
        )
    written = f" (among them {_sizes(codes, names, no_type)})" if no_type else ""
    kept = (*types, UNLABELLED)
    to_kept = pd.Index(kept).get_indexer([*names, UNLABELLED])  # the last is for the code -1
    codes = np.where(to_kept < 0, len(types), to_kept)[codes].astype(np.int32)
    num_missing = int((codes == len(types)).sum())
    names = kept if num_missing else tuple(types)
    _check_groups(names, len(obs), column, "cell types", source)
    notes = _notes_on_single(codes, names, "Type") + alike(names)
    if num_missing:
        notes.append(f"{num_missing} cells have no label in {column!r}{written}: kept, not scored.")
    vague = [name for name in types if _reads(name, _VAGUE)]
    if vague:
        notes.append(
            f"Types that may mean no type are scored like any other: {_sizes(codes, names, vague)}."
        )
    if len(types) == 1:
        notes.append(f"Only one cell type in {column!r}: cell types cannot be scored.")
    return codes, names, notes


def column_of(obs: pd.DataFrame, column: str, role: str, source: str) -> pd.Series:
    """The one column of `obs` with this name, as text.

    Args:
      obs: the table of cells.
      column: its name.
      role: what the column tells, for the line that refuses.
      source: where the cells come from, likewise.

    Raises:
      InputError: there is no such column, or more than one.
    """
    if not pd.api.types.is_scalar(column):
        raise _no_name(column, role, source)
    names = [text(name) for name in obs.columns]
    found = names.count(text(column))
    if not found:
        raise InputError(
            f"{source}: expected {role} column {column!r} in obs, which has: "
            f"{some(names, 40)}; name one of these"
        )
    if found > 1:
        raise InputError(
            f"{source}: expected one {role} column {column!r} in obs, it is there {found} times; "
            "rename or drop the others"
        )
    return obs.iloc[:, names.index(text(column))]


def _no_name(column: object, role: str, source: str) -> InputError:
    return InputError(
        f"{source}: expected the name of a {role} column of obs, got {type(column).__name__}; put "
        "the values into obs and name their column"
    )


def _check_groups(names: tuple, num_cells: int, column: str, what: str, source: str) -> None:
    """Refuses a column of measurements or cell names where groups of cells are expected."""
    if num_cells >= _MANY and len(names) > num_cells // 2:
        raise InputError(
            f"{source}: expected {what} in column {column!r}, found {len(names)} different values "
            f"for {num_cells} cells; name a column of groups"
        )


def _notes_on_single(codes: np.ndarray, names: tuple[str, ...], what: str) -> list[str]:
    sizes = np.bincount(codes, minlength=len(names))
    single = [name for name, size in zip(names, sizes, strict=True) if size == 1]
    return [f"{what} with a single cell, kept: {some(single)}."] if single else []


def _reads(name: str, words: set[str]) -> bool:
    return name.strip().lower() in words


def _sizes(codes: np.ndarray, names: tuple[str, ...], chosen: list[str]) -> str:
    """The chosen names, quoted, with their numbers of cells."""
    return some([f"{name!r} ({int((codes == names.index(name)).sum())} cells)" for name in chosen])
