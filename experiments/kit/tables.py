"""Tidy tables on disk."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from qbm_jax.runtime.whole_file import whole_file

# A spreadsheet takes a cell that begins so for a formula; with the wide forms of the four signs.
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


def safe(value: Any) -> Any:
    """A cell as it is written: names that look like formulas stay text, numbers stay numbers."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) and not _is_number(value) else value
    return "" if value is None or value != value else value


def _is_number(text: str) -> bool:
    """Whether a text is a number by itself, such as a batch called -1: no formula either."""
    try:
        return not text[0].isspace() and math.isfinite(float(text))
    except ValueError:
        return False
