"""What came of every setting, a JSON file each: finished settings are not trained again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qbm_jax.study.sealed_file import read_sealed, write_sealed

FOLDER = "results"


class Outcomes:
    """Finished, failed and stopped settings of a sweep; several processes may write theirs."""

    def __init__(self, workdir: Path):
        """Opens the folder, made at the first outcome."""
        self._workdir = workdir

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """Those of these settings that are not finished; a failed one is not."""
        done = self.finished(numbers)
        return [number for number in numbers if number not in done]

    def unsettled(self, numbers: Sequence[int]) -> list[int]:
        """Those that are missing and were not stopped early."""
        stopped = self.stopped(numbers)
        return [number for number in self.missing(numbers) if number not in stopped]

    def finish(self, number: int, measured: dict[str, Any]) -> None:
        """Records what was measured of a setting; an earlier failure or stop counts no more."""
        self._write("setting", number, measured)

    def fail(self, number: int, error: str) -> None:
        """Records the error of a setting that failed twice."""
        self._write("failed", number, {"error": error})

    def stop(self, number: int, epoch: int, elbo: float) -> None:
        """Records that a setting was stopped early, with the bound that it had by then."""
        self._write("stopped", number, {"epoch": epoch, "elbo": elbo})

    def finished(self, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """What was measured, by setting; a file that is damaged or of another run is none."""
        return self._there("setting", numbers)

    def failures(self, numbers: Sequence[int]) -> dict[int, str]:
        """Why settings are not finished, by setting; those that nobody has begun are not here."""
        failed = self._unfinished("failed", numbers)
        return {number: str(found["error"]) for number, found in failed.items()}

    def stopped(self, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Epoch and bound of the settings that were stopped early and not finished since."""
        return self._unfinished("stopped", numbers)

    def _unfinished(self, kind: str, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Failed or stopped settings; the few that are so are all whose other file is read."""
        found = self._there(kind, numbers)
        left = self.missing(list(found))
        return {number: content for number, content in found.items() if number in left}

    def _path(self, kind: str, number: int) -> Path:
        return self._workdir / FOLDER / f"{kind}-{number:04d}.json"

    def _write(self, kind: str, number: int, content: dict[str, Any]) -> None:
        path = self._path(kind, number)
        path.parent.mkdir(exist_ok=True)  # never the workdir itself, which somebody may have moved
        write_sealed(path, content, self._workdir, {kind: number})

    def _there(self, kind: str, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        found = ((n, read_sealed(self._path(kind, n), self._workdir, {kind: n})) for n in numbers)
        return {number: content for number, content in found if content is not None}
