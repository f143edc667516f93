"""One rule for the text of a value, whatever type of pandas or of a file stores it."""

import unicodedata
from collections.abc import Iterable

import numpy as np
import pandas as pd


def text(value: object) -> str:
    r"""A value as text; bytes, as R writes them, are decoded (what is no UTF-8 is escaped).

    NUL is escaped: for pandas and HDF5 it ends a text, and "a" and "a\0" would be one.
    """
    decoded = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return decoded.replace("\0", "\\x00")


def some(names: Iterable[object], limit: int = 10) -> str:
    """The first names in words, with the number of those left out."""
    texts = [text(name) for name in names]
    rest = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return (", ".join(texts[:limit]) or "none") + rest


def distinct(values: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes and names of the different values of a column of any dtype.

    The text of a value is made once and the codes point to it, so that they agree for every dtype.
    Categories keep their order; numbers, dates and intervals ascend by value, others by their text.
    Values of the same text, as 1 and "1", are one.

    Returns:
      Codes int32 [values], -1 where a value is missing, and the names of the values that occur.
    """
    if isinstance(values.dtype, pd.SparseDtype):
        values = values.sparse.to_dense()
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, uniques = values.cat.codes.to_numpy(), values.cat.categories
        texts = _texts(uniques)
        order = list(range(len(texts)))
    else:
        if pd.api.types.is_string_dtype(values.dtype):  # objects: 1 and True are one to pandas
            values = values.map(text, na_action="ignore")
        codes, uniques = pd.factorize(values)
        texts = _texts(uniques)
        order = _ascending(list(uniques), texts)
    present = set(np.unique(codes).tolist())
    names = list(dict.fromkeys(texts[i] for i in order if i in present))
    position = {name: i for i, name in enumerate(names)}
    to_name = [position.get(each, -1) for each in texts]
    return np.array([*to_name, -1], np.int32)[codes], tuple(names)


def alike(names: Iterable[str]) -> list[str]:
    """A note on each set of names that look the same, as "b1" and "b1 ", or 1 and 1.0 as text.

    They differ in spaces, in Unicode's forms, or because missing values made whole numbers floats.
    """
    by_look: dict[str, list[str]] = {}
    for name in names:
        look = " ".join(unicodedata.normalize("NFKC", name.replace("\\x00", "")).split())
        number = look.removesuffix(".0")
        look = number if number.removeprefix("-").isdecimal() else look
        by_look.setdefault(look, []).append(name)
    return [
        f"Names that look the same are kept apart: {some(map(ascii, same))}."
        for same in by_look.values()
        if len(same) > 1
    ]


def unique_name(name: str, taken: Iterable[str]) -> str:
    """The name, or the name with the first number that makes it none of those taken."""
    taken, candidate, number = set(taken), name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _texts(uniques: pd.Index | np.ndarray) -> list[str]:
    if pd.api.types.is_datetime64_any_dtype(uniques):
        uniques = pd.Index(uniques).astype(str)  # dates alone where no value has a time of day
    return [text(value) for value in uniques]


def _ascending(uniques: list, texts: list[str]) -> list[int]:
    try:
        return sorted(range(len(uniques)), key=uniques.__getitem__)
    except TypeError:
        return sorted(range(len(texts)), key=texts.__getitem__)
