"""Tidy tables on disk."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from qbm_jax.whole_file import whole_file


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes CSV whole or not at all; what is not known (None or NaN) is empty."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            writer.writerow(["" if value is None or value != value else value for value in row])
