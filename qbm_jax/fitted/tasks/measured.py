"""What a task measures of a group of trainings."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from qbm_jax.metrics.classification import Classification
from qbm_jax.metrics.clustering import Clusters

Row = tuple[str, str, int, float]  # task, metric, seed, value
RECALL = "recall@"  # with the abundance, in per cent


class Scale(NamedTuple):
    """How much of each task.

    Attributes:
      seed: root of all randomness, of the run.
      max_scored_cells: larger sets are scored on a stratified subsample.
      posterior_draws: of each held-out cell, for the reported bounds.
      importance_samples: of each held-out cell, for the importance-weighted bounds.
      log_z_temperatures: of the AIS behind the reported bounds.
      max_generated: cells drawn from the prior, at most.
    """

    seed: int
    max_scored_cells: int
    posterior_draws: int
    importance_samples: int
    log_z_temperatures: int
    max_generated: int


class Measured(NamedTuple):
    """Numbers of a group, remarks, and small arrays for the figures (of the first seed)."""

    rows: list[Row]
    notes: list[str]
    pictures: dict[str, Any]


class Shared(NamedTuple):
    """What several tasks read of a group, per seed; empty where no task asks for it.

    Attributes:
      clusters: Leiden clusters of all cells.
      named: types of the held-out cells, by trees on the other cells.
    """

    clusters: list[Clusters]
    named: list[Classification]


Task = Callable[..., Measured]  # of (scale, study, group, what tasks share)


def of_unseen_cells(task: str, metric: str) -> bool:
    """Whether a metric is of the cells that a seed holds out; the others are of all cells."""
    if task == "rare":
        return metric == "rare_f1" or metric.startswith((RECALL, "f1:"))
    if task == "energy":
        return metric.startswith("auroc")
    return task in ("classification", "generation", "bound")


def rows_of(task: str, seed: int, values: dict[str, float]) -> list[Row]:
    """One row a metric."""
    return [(task, name, seed, float(value)) for name, value in values.items()]


def merged(results: list[Measured]) -> Measured:
    """Several results as one."""
    pictures: dict[str, Any] = {}
    for result in results:
        pictures |= result.pictures
    rows = [row for result in results for row in result.rows]
    notes = [note for result in results for note in result.notes]
    return Measured(rows, list(dict.fromkeys(notes)), pictures)


def short_list(values: np.ndarray) -> list[float]:
    """An array [values] for JSON, in as many digits as a figure needs."""
    return [round(float(value), 4) for value in values]
