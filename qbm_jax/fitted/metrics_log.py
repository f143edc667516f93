"""`metrics.jsonl`: one object per line, appended; a resumed training forgets what it redoes."""

import errno
import json
import os
import time
from pathlib import Path
from typing import Any, Self

from qbm_jax.fitted.event_files import EventFiles
from qbm_jax.fitted.history import row_of
from qbm_jax.runtime.json_file import finite, parse_json
from qbm_jax.runtime.whole_file import write_whole
from qbm_jax.training import Progress


class MetricsLog:
    """The rows of all trainings in one workdir."""

    def __init__(self, path: Path, events: EventFiles | None = None):
        """Opens the file, made if absent; `events` are told the same."""
        self._path = path
        self._events = events
        self.resumed = False  # whether a training went on from a state of an earlier call
        self._start = time.perf_counter()

    def __enter__(self) -> Self:
        """Returns the log; a training is recorded within its context."""
        return self

    def __exit__(self, *error: object) -> None:
        """Completes the event files; every row is in `metrics.jsonl` already."""
        if self._events is not None:
            self._events.close()

    def record(self, model: str, seed: int, progress: Progress) -> None:
        """Appends a row; at a training's start, drops its rows later than the restored step."""
        if self._events is not None:
            self._events.record(model, seed, progress)
        if progress.split == "start":
            self.resumed = self.resumed or progress.step > 0
            self._drop_later(model, seed, progress.step)
            return
        seconds = time.perf_counter() - self._start
        row = {"model": model, "seed": seed, **row_of(progress, seconds)}
        self._append(json.dumps(finite(row), allow_nan=False) + "\n")

    def rows(self, model: str, seed: int) -> list[dict[str, Any]]:
        """The rows of one training, of all calls that took part in it."""
        rows = [row for line in _lines(self._path) if (row := _row(line))]
        return [row for row in rows if (row["model"], row["seed"]) == (model, seed)]

    def _append(self, line: str) -> None:
        """Adds the whole line or, where the disk is full, nothing of it."""
        with self._path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                if file.write(line.encode()) < len(line.encode()):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            except OSError as error:
                file.truncate(end)
                error.filename = str(self._path)
                raise

    def _drop_later(self, model: str, seed: int, step: int) -> None:
        lines = _lines(self._path)
        kept = [line for line in lines if _is_kept(line, model, seed, step)]
        write_whole(self._path, "".join(line + "\n" for line in kept))


def _row(line: str) -> dict[str, Any] | None:
    """A line as a row; None for what a killed process was writing, and for what is none."""
    try:
        row = parse_json(line)
    except ValueError:
        return None
    whole = isinstance(row, dict) and {"model", "seed", "step"} <= row.keys()
    return row if whole and isinstance(row["step"], int) else None


def _is_kept(line: str, model: str, seed: int, step: int) -> bool:
    row = _row(line)
    return row is not None and ((row["model"], row["seed"]) != (model, seed) or row["step"] <= step)


def _lines(path: Path) -> list[str]:
    """The lines that there are, without those that are no text."""
    if not path.exists():
        return []
    found = path.read_bytes().decode("utf-8", "replace").splitlines()
    return [line for line in found if "\ufffd" not in line]
