"""The tables `obs` and `var` of a file, in every layout that anndata ever wrote.

A categorical column is a group of codes and categories (since anndata 0.8), an array of codes that
refers to `__categories` (0.7), or a field of codes whose categories are in `uns` (before 0.7).
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem

from qbm_jax.data.names import some, text
from qbm_jax.data.stored import member
from qbm_jax.errors import InputError

_STORAGE = (OSError, EOFError, zlib.error, MemoryError)
_OLD_CATEGORIES = "__categories"


def read_table(
    file: Any, name: str, path: Path, columns: Sequence[str] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """A table of an open h5ad or zarr file, and a note for each column that cannot be read.

    Args:
      file: the open file.
      name: "obs", "var" or "raw/var".
      path: the file's name, for messages.
      columns: these columns only; None: all.

    Raises:
      InputError: there is no such table or column, a column asked for cannot be read, or parts of
        the table are stored in other files.
    """
    table = member(file, name, path)
    if table is None:
        raise InputError(
            f"{path}: expected a table {name}, there is none (holds: {some(file)}); convert the "
            "file with anndata"
        )
    if isinstance(table, h5py.Dataset | zarr.Array):
        whole = _before_0_7(file, table, path)
        order, index = list(whole.columns), whole.index
        read = whole.__getitem__
    else:
        key = text(table.attrs["_index"])
        order, index = _order(table, key), pd.Index(_texts(_values(table[key])), name=key)

        def read(column: str) -> Any:
            return _column(table, column)

    if columns is not None:
        _check_there(order, columns, name, path)
    values, notes = {}, []
    for column in order if columns is None else dict.fromkeys(columns):
        try:
            values[column] = pd.Series(_checked(read(column), len(index)), index=index)
        except _STORAGE:
            raise
        except Exception as error:  # whatever anndata and pandas say about types they do not know
            reason = _first_line(error)
            if columns is not None:
                raise InputError(
                    f"{path}: column {column!r} of {name} cannot be read ({reason}); name another "
                    "column, or write it again as text"
                ) from error
            notes.append(f"Left out column {column!r} of {name}, which cannot be read: {reason}.")
    table = pd.DataFrame(values, index=index)
    if table.index.name == "_index":  # the name of an index without a name
        table.index.name = None
    return table, notes


def _order(table: Any, key: str) -> list[str]:
    """Names of the columns, in their order; each once."""
    if "column-order" in table.attrs:
        return list(dict.fromkeys(text(name) for name in table.attrs["column-order"]))
    return [name for name in table if name not in (key, _OLD_CATEGORIES)]


def _check_there(order: list[str], columns: Sequence[str], name: str, path: Path) -> None:
    for column in columns:
        if column not in order:
            raise InputError(
                f"{path}: expected column {column!r} in {name}, which has: {some(order, 40)}; "
                "name one of these"
            )


def _checked(values: Any, size: int) -> Any:
    if len(values) != size or np.ndim(values) != 1:
        raise ValueError(f"it has shape {np.shape(values)} for {size} rows")
    return values


def _column(table: Any, name: str) -> Any:
    """Values of one column: an array, a Categorical, or an array of pandas."""
    element = table[name]
    if not hasattr(element, "shape"):
        if text(element.attrs.get("encoding-type", "")) != "categorical":
            return _values(element)
        categories, ordered = element["categories"], element.attrs.get("ordered", False)
        return categorical(element["codes"][:], _values(categories), bool(ordered))
    categories = _old_categories(table, name, element)
    if categories is None:
        return _values(element)
    ordered = bool(categories.attrs.get("ordered", False))
    return categorical(element[:], _values(categories), ordered)


def _old_categories(table: Any, name: str, element: Any) -> Any | None:
    """Where anndata 0.7 put the categories of an array of codes; None for other columns."""
    reference = element.attrs.get("categories")
    if isinstance(reference, h5py.Reference) and reference:
        return table.file[reference]
    if _OLD_CATEGORIES in table and name in table[_OLD_CATEGORIES]:
        return table[_OLD_CATEGORIES][name]
    return None if reference is None else table[text(reference)]


def categorical(codes: np.ndarray, categories: Any, ordered: bool) -> pd.Categorical:
    """Codes [cells] and categories as stored; missing and repeated ones, as R writes, merge.

    Raises:
      ValueError: a code that stands for no category.
    """
    codes = np.asarray(codes).astype(np.int64)
    if len(codes) and not -1 <= codes.min() <= codes.max() < len(categories):
        raise ValueError(f"codes from {codes.min()} to {codes.max()}, {len(categories)} categories")
    merged, kept = pd.factorize(np.asarray(categories, dtype=object))
    kept = pd.Index(kept).infer_objects()
    return pd.Categorical.from_codes(np.append(merged, -1)[codes], kept, ordered=ordered)


def _values(element: Any) -> Any:
    """Values of an element as anndata reads them, but bytes as text."""
    values = read_elem(element)
    is_array = isinstance(values, np.ndarray)
    if is_array and (values.dtype.kind == "S" or values.dtype == object):
        return np.array([text(v) if isinstance(v, bytes) else v for v in values], dtype=object)
    return values


def _texts(values: Any) -> np.ndarray:
    return np.array([text(value) for value in values], dtype=object)


def _before_0_7(file: Any, table: Any, path: Path) -> pd.DataFrame:
    """A table stored as one array of records."""
    records = table[:]
    fields = list(records.dtype.names or ())
    if not fields:
        raise InputError(f"{path}: expected a table {table.name}, it is a plain array")
    key = next((name for name in ("index", "_index") if name in fields), fields[0])
    columns = {}
    for name in fields:
        if name == key:
            continue
        categories = member(file, f"uns/{name}_categories", path)
        values = records[name]
        if values.dtype.kind == "S" or values.dtype == object:
            values = _texts(values)
        if categories is not None and values.dtype.kind in "iu":
            values = categorical(values, _values(categories), False)
        columns[name] = values
    return pd.DataFrame(columns, index=pd.Index(_texts(records[key])))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
