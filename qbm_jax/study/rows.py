"""Tidy tables on disk, and what of a measurement goes into one."""

import csv
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from qbm_jax.errors import InputError
from qbm_jax.runtime.whole_file import whole_file

# A spreadsheet takes an entry that begins so for a formula; with the wide forms of the four signs.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes CSV whole or not at all; what is not known (None or NaN) is empty.

    Text that a spreadsheet would run as a formula has an apostrophe in front, see `safe`.
    """
    with (
        whole_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(map(safe, header))
        for row in rows:
            writer.writerow(map(safe, row))


def as_rows(
    records: Sequence[Any], columns: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """What is written of records of one kind: a dict each.

    Args:
      records: named tuples, such as `standing.Standing`, or dicts that are rows already.
      columns: their names, and what they are of a record, where dots lead into its parts; None:
        its fields.
    """
    if columns is None:
        return [dict(each) if isinstance(each, dict) else each._asdict() for each in records]
    parts = {name: attrgetter(path) for name, path in columns.items()}
    return [{name: part(record) for name, part in parts.items()} for record in records]


def read_table(path: Path, texts: Collection[str] = ()) -> list[dict[str, str | float | None]]:
    """The rows of a table that `write_table` wrote: numbers, texts, and None for what is empty.

    Args:
      path: the file.
      texts: columns of names, which stay text where they look like numbers.

    Raises:
      InputError: the file is damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        names = [_text(name) for name in header]
        pairs = [list(zip(names, row, strict=True)) for row in rows]
    except (ValueError, csv.Error) as error:
        raise InputError(f"expected a table in {path}, got {error}; make it anew") from error
    return [
        {name: _text(entry) if name in texts else _value(entry) for name, entry in row}
        for row in pairs
    ]


def safe(value: Any) -> Any:
    """An entry as it is written: names that look like formulas stay text, numbers stay numbers."""
    if isinstance(value, str):
        return f"'{value}" if _looks_run(value) and not _is_number(value) else value
    return "" if value is None or value != value else value


def numbers(tree: Any, prefix: str = "") -> list[tuple[str, float]]:
    """Dotted names and values of all numbers and truth values; long lists (traces) are left out."""
    items: Iterable[tuple[Any, Any]]
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list) and all(isinstance(item, dict) for item in tree):
        items = enumerate(tree)
    elif isinstance(tree, bool | int | float):
        return [(prefix.removesuffix("."), tree)]
    else:
        return []
    return [number for name, item in items for number in numbers(item, f"{prefix}{name}.")]


def _text(entry: str) -> str:
    """A name as it was before `safe`."""
    return entry[1:] if entry.startswith("'") and _looks_run(entry) else entry


def _looks_run(text: str) -> bool:
    """Whether it begins as a formula, behind apostrophes that are the name's own or `safe`'s."""
    return text.lstrip("'").startswith(FORMULA)


def _value(entry: str) -> str | float | None:
    if not entry:
        return None
    return float(entry) if _is_number(entry) or entry in ("inf", "-inf") else _text(entry)


def _is_number(text: str) -> bool:
    """Whether a text is a number by itself, such as a batch called -1: no formula either."""
    try:
        return not text[0].isspace() and math.isfinite(float(text))
    except ValueError:
        return False
