"""`metrics.jsonl`: one object per line, appended; a resumed training forgets what it redoes."""

import json
import time
from pathlib import Path

from experiments.workdir import finite
from qbm_jax.training import Progress


class MetricsLog:
    """The rows of all trainings in one workdir."""

    def __init__(self, path: Path):
        """Opens the file, made if absent."""
        self._path = path
        self.resumed = False  # whether a training went on from a state of an earlier call
        self._start = time.perf_counter()

    def record(self, model: str, seed: int, progress: Progress) -> None:
        """Appends a row; at a training's start, drops its rows later than the restored step."""
        if progress.split == "start":
            self.resumed = self.resumed or progress.step > 0
            self._drop_later(model, seed, progress.step)
            return
        row = {
            "model": model,
            "seed": seed,
            "step": progress.step,
            "epoch": round(progress.epoch, 4),
            "seconds": round(time.perf_counter() - self._start, 3),
            "split": progress.split,
            "cells_per_second": progress.cells_per_second,
            **progress.metrics,
        }
        with self._path.open("a") as file:
            file.write(json.dumps(finite(row), allow_nan=False) + "\n")

    def _drop_later(self, model: str, seed: int, step: int) -> None:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        kept = [line for line in lines if _is_kept(line, model, seed, step)]
        temporary = self._path.with_name(self._path.name + ".tmp")
        temporary.write_text("".join(line + "\n" for line in kept))
        temporary.replace(self._path)


def _is_kept(line: str, model: str, seed: int, step: int) -> bool:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:  # the line that a killed process was writing
        return False
    return (row["model"], row["seed"]) != (model, seed) or row["step"] <= step
