"""TensorBoard's event files: the numbers of `metrics.jsonl` for those who watch a run there."""

import importlib
from pathlib import Path
from typing import Any

from qbm_jax.errors import InputError
from qbm_jax.training import Progress

FOLDER = "tensorboard"


class EventFiles:
    """Events of all trainings below one folder, one TensorBoard run for each model and seed."""

    def __init__(self, workdir: Path):
        """Writes nothing yet.

        Raises:
          InputError: tensorboardX is not installed.
        """
        try:
            self._writer = importlib.import_module("tensorboardX").SummaryWriter
        except ImportError as error:
            raise InputError(
                'TensorBoard\'s event files need tensorboardX: pip install "qbm_jax[tensorboard]", '
                "or leave them out; metrics.jsonl has the same numbers"
            ) from error
        self._folder = workdir / FOLDER
        self._open: dict[tuple[str, int], Any] = {}

    def record(self, model: str, seed: int, progress: Progress) -> None:
        """Adds the metrics at this step; a training's start takes back what comes after it."""
        if progress.split == "start":
            self._open[model, seed] = self._writer(
                str(self._folder / f"{model}-seed{seed}"),
                purge_step=progress.step + 1,
                filename_suffix=f".{progress.step}",  # the time in the name is of whole seconds
            )
            return
        writer = self._open[model, seed]
        for name, value in progress.metrics.items():
            writer.add_scalar(f"{progress.split}/{name}", value, progress.step)
        writer.flush()  # what a killed process has not written is written again when it goes on

    def close(self) -> None:
        """Writes what is still to be written; further records need a start."""
        while self._open:
            self._open.popitem()[1].close()
