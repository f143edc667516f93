"""What came of every setting, a JSON file each: finished settings are not trained again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.workdir import write_json
from qbm_jax.errors import InputError

FOLDER = "results"


class Outcomes:
    """Finished, failed and stopped settings of a sweep; several processes may write theirs."""

    def __init__(self, workdir: Path):
        """Opens the folder, made at the first outcome."""
        self._folder = workdir / FOLDER

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """Those of these settings that are not finished; a failed one is not."""
        return [number for number in numbers if not self._finished(number).exists()]

    def unsettled(self, numbers: Sequence[int]) -> list[int]:
        """Those that are missing and were not stopped early."""
        return [number for number in self.missing(numbers) if not self._stopped(number).exists()]

    def finish(self, number: int, measured: dict[str, Any]) -> None:
        """Records what was measured of a setting; an earlier failure or stop counts no more."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._finished(number), measured)

    def fail(self, number: int, error: str) -> None:
        """Records the error of a setting that failed twice."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._failed(number), {"error": error})

    def stop(self, number: int, epoch: int, elbo: float) -> None:
        """Records that a setting was stopped early, with the bound that it had by then."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._stopped(number), {"epoch": epoch, "elbo": elbo})

    def finished(self, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """What was measured, by setting.

        Raises:
          InputError: a file is damaged.
        """
        done = [number for number in numbers if self._finished(number).exists()]
        return {number: _read(self._finished(number)) for number in done}

    def failures(self, numbers: Sequence[int]) -> dict[int, str]:
        """Why settings are not finished, by setting; those that nobody has begun are not here.

        Raises:
          InputError: a file is damaged.
        """
        failed = [number for number in self.missing(numbers) if self._failed(number).exists()]
        return {number: str(_read(self._failed(number))["error"]) for number in failed}

    def stopped(self, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Epoch and bound of the settings that were stopped early and not finished since.

        Raises:
          InputError: a file is damaged.
        """
        there = [number for number in self.missing(numbers) if self._stopped(number).exists()]
        return {number: _read(self._stopped(number)) for number in there}

    def _finished(self, number: int) -> Path:
        return self._folder / f"setting-{number:04d}.json"

    def _failed(self, number: int) -> Path:
        return self._folder / f"failed-{number:04d}.json"

    def _stopped(self, number: int) -> Path:
        return self._folder / f"stopped-{number:04d}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except ValueError as error:
        raise InputError(f"{path} is damaged; remove it and run the same command again") from error
