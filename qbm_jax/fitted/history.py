"""What a training measured: a row for each dispatch and each validation, kept with the model."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from qbm_jax.training import Progress, Trained

SPLITS = ("train", "validation")
_CLOCKS = ("step", "epoch", "seconds")  # that count on from one training to the next
_OF_RUNS = ("model", "seed", "split")  # what a row of `metrics.jsonl` says beside the numbers


@dataclasses.dataclass(frozen=True, eq=False)
class History:
    """What a training measured, in the order of its steps.

    A training that went on from a checkpoint has the rows of its last call alone.

    Attributes:
      train: columns by name, each float64 [dispatches]: "step" and "epoch" so far, "seconds" since
        the start, "cells_per_second", and the means over the dispatch's minibatches, such as
        "reconstruction", "entropy", "expected_energy" (nats per cell).
      validation: columns by name, each float64 [validations]: the same four, and the bound on the
        validation cells with its terms ("elbo", "kl", "reconstruction", ...) and with the
        estimates of log Z, in nats.
      num_train_cells: cells trained on; None where nobody wrote it down.
      bound: on the validation cells, of the parameters that were kept (`report_epoch`), in nats per
        cell; None likewise.
    """

    train: Mapping[str, np.ndarray]
    validation: Mapping[str, np.ndarray]
    num_train_cells: int | None = None
    bound: float | None = None

    @staticmethod
    def from_rows(
        rows: Iterable[Mapping[str, Any]],
        num_train_cells: int | None = None,
        bound: float | None = None,
    ) -> "History":
        """The history of rows as `row_of` gives them; null and absent values are NaN."""
        by_split = {split: [row for row in rows if row["split"] == split] for split in SPLITS}
        train, validation = (_columns(by_split[split]) for split in SPLITS)
        return History(train, validation, num_train_cells, bound)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each row, those of both splits in the order of their steps."""
        rows = [
            {"split": split, **{name: float(values[i]) for name, values in columns.items()}}
            for split, columns in zip(SPLITS, (self.train, self.validation), strict=True)
            for i in range(len(columns.get("step", ())))
        ]
        return sorted(rows, key=lambda row: (row["step"], SPLITS.index(row["split"])))

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame, with a column "split" ("train" or "validation").

        Example:
          >>> frame = model.history
          >>> frame[frame.split == "validation"].plot("epoch", "elbo")
        """
        import pandas as pd

        rows = self.rows()
        return pd.DataFrame(rows).astype({"step": int}) if rows else pd.DataFrame()

    def after(self, earlier: "History") -> "History":
        """The rows of an earlier training and then these, their steps and times counted on."""
        ends = {name: float(earlier.train[name][-1]) for name in _CLOCKS if name in earlier.train}
        later = [{**row, **{n: row[n] + ends.get(n, 0) for n in _CLOCKS}} for row in self.rows()]
        return History.from_rows([*earlier.rows(), *later], self.num_train_cells, self.bound)

    def as_tree(self) -> dict[str, Any]:
        """A tree of arrays that `from_tree` reads."""
        facts = {"num_train_cells": self.num_train_cells, "bound": self.bound}
        told = {name: value for name, value in facts.items() if value is not None}
        return {"train": dict(self.train), "validation": dict(self.validation), **told}

    @staticmethod
    def from_tree(tree: Mapping[str, Any]) -> "History":
        """The history that gave this tree."""
        cells, bound = tree.get("num_train_cells"), tree.get("bound")
        return History(
            tree.get("train", {}),
            tree.get("validation", {}),
            None if cells is None else int(cells),
            None if bound is None else float(bound),
        )


def row_of(progress: Progress, seconds: float) -> dict[str, Any]:
    """A row of what was measured, as `metrics.jsonl` has it.

    Args:
      progress: of a dispatch or a validation.
      seconds: since the start.
    """
    return {
        "step": progress.step,
        "epoch": round(progress.epoch, 4),
        "seconds": round(seconds, 3),
        "split": progress.split,
        "cells_per_second": progress.cells_per_second,
        **progress.metrics,
    }


class Recorder:
    """Keeps what trainings report; `update` is their `on_progress`."""

    def __init__(self, on_progress: Callable[[Progress], None] = lambda progress: None):
        """Nothing yet; `on_progress` is told everything as well."""
        self._tell, self._start = on_progress, time.perf_counter()
        self._rows: dict[int, list[dict[str, Any]]] = {}

    def update(self, progress: Progress) -> None:
        """Keeps a row and tells it on; at a start those of an earlier attempt go."""
        if progress.split == "start":
            self._rows.pop(progress.seed, None)
        if progress.split in SPLITS:
            row = row_of(progress, time.perf_counter() - self._start)
            self._rows.setdefault(progress.seed, []).append(row)
        self._tell(progress)

    def history(self, seed: int, trained: Trained) -> History:
        """What was measured of one training of the call."""
        bound = float(trained.state.best_elbo)
        return History.from_rows(
            self._rows.get(seed, []),
            int(trained.train_cells.size),
            bound if math.isfinite(bound) else None,
        )


def _columns(rows: list[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for row in rows for name in row if name not in _OF_RUNS)
    values = {name: [row.get(name) for row in rows] for name in names}
    return {name: np.array(column, np.float64) for name, column in values.items()}
