"""What a task measures of a group of trainings."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Row = tuple[str, str, int, float]  # task, metric, seed, value


class Measured(NamedTuple):
    """Numbers of a group, remarks, and small arrays for the figures (of the first seed)."""

    rows: list[Row]
    notes: list[str]
    pictures: dict[str, Any]


Task = Callable[..., Measured]  # of (config, study, method, group, clusters by seed)


def rows_of(task: str, seed: int, values: dict[str, float]) -> list[Row]:
    """One row a metric."""
    return [(task, name, seed, float(value)) for name, value in values.items()]


def merged(results: list[Measured]) -> Measured:
    """Several results as one."""
    pictures = {}
    for result in results:
        pictures |= result.pictures
    rows = [row for result in results for row in result.rows]
    notes = [note for result in results for note in result.notes]
    return Measured(rows, list(dict.fromkeys(notes)), pictures)


def short_list(values: np.ndarray) -> list[float]:
    """An array for JSON, in as many digits as a figure needs."""
    return [round(float(value), 4) for value in values]
