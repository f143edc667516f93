"""Tables of cells and genes that result files can hold: names and types, told before training.

anndata reads tables that it cannot write: with a column `_index`, as Seurat makes it, with a name
twice, or with intervals or dates.
"""

from typing import Any, NamedTuple

import pandas as pd

from qbm_jax.data.names import distinct, some, text, unique_name
from qbm_jax.data.write import reserved


class Kept(NamedTuple):
    """A table that can be written, what became of its names, and what is said about it."""

    table: pd.DataFrame
    names: dict[str, str]  # of each column of the input, as text; of a repeated one the first
    notes: list[str]

    def name_of(self, column: str | None) -> str | None:
        """The name that a column of the input has now."""
        return None if column is None else self.names.get(text(column), column)


def writable(table: pd.DataFrame, what: str) -> Kept:
    """The same table, with other names and types only where it could not be written.

    Args:
      table: `obs` or `var`, left unchanged.
      what: "obs" or "var", for the notes.
    """
    names: dict[str, str] = {}
    kept: list[str] = []
    notes, needed = [], reserved(what)
    given = [text(name) for name in table.columns]
    for name in given:
        free = _possible(name, what)
        taken = kept if free == name else [*kept, *given]
        if free in needed:
            taken = [*taken, free]
        free = unique_name(free, taken)
        kept.append(free)
        names.setdefault(name, free)
        if free != name:
            notes.append(
                f"Column {name!r} of {what} has a name that files cannot hold or keep for results: "
                f"it is kept as {free!r}."
            )
    table = table.copy(deep=False) if kept == list(table.columns) else table.set_axis(kept, axis=1)
    as_text = [name for name in kept if not _can_be_written(table[name])]
    for name in as_text:
        codes, values = distinct(table[name])
        table[name] = pd.Categorical.from_codes(codes, list(values))
    if as_text:
        notes.append(f"Columns of {what} of types that files cannot hold are kept as text: "
                     f"{some(as_text)}.")  # fmt: skip
    if table.index.name is not None and _hides(table):
        notes.append(f"The name {text(table.index.name)!r} of the index of {what} is left out: a "
                     "column has it.")  # fmt: skip
        table = table.rename_axis(None)
    num_repeated = int(table.index.duplicated().sum())
    if num_repeated:
        notes.append(f"{num_repeated} rows of {what} repeat the name of another; they are kept "
                     "apart by their position.")  # fmt: skip
    return Kept(table, names, notes)


def _possible(name: str, what: str) -> str:
    """The name without what HDF5 takes for a path or the end of a text."""
    name = name.replace("/", "_").replace("\0", "_")
    return f"{what}_column" if name in ("", ".", "..") else name


def _can_be_written(values: pd.Series) -> bool:
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _is_plain(dtype.categories.dtype, dtype.categories)
    return _is_plain(dtype, values)


def _is_plain(dtype: Any, values: pd.Series | pd.Index) -> bool:
    if pd.api.types.is_object_dtype(dtype):
        return pd.api.types.infer_dtype(values, skipna=True) in ("string", "empty") and (
            len(values) == 0 or bool(values.notna().any())
        )
    if isinstance(dtype, pd.StringDtype | pd.BooleanDtype):
        return True
    if pd.api.types.is_extension_array_dtype(dtype):
        return pd.api.types.is_integer_dtype(dtype) and not isinstance(dtype, pd.SparseDtype)
    return dtype.kind in "biufc"


def _hides(table: pd.DataFrame) -> bool:
    """A column has the name of the index, and other values."""
    name = text(table.index.name)
    return name in table.columns and list(map(text, table[name])) != list(map(text, table.index))
