"""What a finished run left in its working directory, read and checked."""

from pathlib import Path
from typing import Any, NamedTuple

import anndata
import h5py
import numpy as np

from qbm_jax.data.h5ad import damage_named
from qbm_jax.data.write import QBM_ENERGY, energy_key
from qbm_jax.errors import InputError
from qbm_jax.runtime.json_file import parse_json
from qbm_jax.runtime.sealed import SEAL, broken_seal, other_file
from qbm_jax.study.claim import CLAIM

EMBEDDING_FILE = "embedding.h5ad"  # all cells
SCORES_FILE = "scores.json"
CHECKSUMS = "checksums"  # in the scores: of the files that were written before them
LOG_FILE = "metrics.jsonl"
SAMPLE_FILE = "sample.h5ad"  # those that are scored and drawn, where they are not all


class RunOutputs(NamedTuple):
    """The files of one run.

    Attributes:
      config: settings as given (config.json).
      scores: scores, bounds, sampler diagnostics, data and provenance (scores.json).
      history: one dictionary per logged line (metrics.jsonl).
      cells: embedded cells (embedding.h5ad; of a set on disk a sample, sample.h5ad).
    """

    config: dict[str, Any]
    scores: dict[str, Any]
    history: list[dict[str, Any]]
    cells: anndata.AnnData

    @property
    def simulated(self) -> bool:
        """Whether any file says that the cells are simulated."""
        marked = self.cells.uns.get("qbm_jax", {}).get("simulated", False)
        return bool(marked) or bool(self.scores["data"].get("simulated", False))

    @property
    def main(self) -> str:
        """Name of the run's own model."""
        return self.scores.get("main", "qbmvae")

    @property
    def batches(self) -> np.ndarray | None:
        """Batch of every cell as text [cells], or None."""
        return self._column("batch_column")

    @property
    def labels(self) -> np.ndarray | None:
        """Cell type of every cell as text [cells], or None."""
        return self._column("label_column")

    @property
    def energy(self) -> np.ndarray | None:
        """Energy of every cell [cells] in units of kT, or None."""
        keys = (QBM_ENERGY, energy_key(self.main, couplings=False))  # a run writes one at most
        written = [key for key in keys if key in self.cells.obs]
        return np.asarray(self.cells.obs[written[0]], np.float64) if written else None

    @property
    def couplings(self) -> np.ndarray | None:
        """J of the run's own model [spins, spins]; None where it has none, or all are 0."""
        J = self.cells.uns.get("qbm_jax", {}).get("J")
        return np.asarray(J, np.float64) if J is not None and np.any(J) else None

    @property
    def spins(self) -> np.ndarray | None:
        """Mean spins of every cell [cells, spins]; None where latents are numbers."""
        embedding = self.cells.obsm.get(f"X_{self.main}")
        return None if embedding is None or self.energy is None else np.asarray(embedding)

    def _column(self, field: str) -> np.ndarray | None:
        name = self.scores["data"].get(field)
        if name is None or name not in self.cells.obs:
            return None
        return np.asarray(self.cells.obs[name].astype(str))


def read(workdir: Path) -> RunOutputs:
    """Reads the outputs of a run.

    Raises:
      InputError: a file is missing, cannot be read, or holds something else than a run writes.
    """
    path = workdir / SCORES_FILE
    scores = _parse(_read_text(path), path)
    if fault := broken_seal(scores):
        raise InputError(f"{path} {fault}; run the same command again")
    shown = SAMPLE_FILE if (workdir / SAMPLE_FILE).exists() else EMBEDDING_FILE
    for name in (LOG_FILE, shown):
        if fault := file_fault(workdir, name, scores):
            raise InputError(f"{fault}; run the same command again")
    path = workdir / LOG_FILE
    history = [_parse(line, path) for line in _read_text(path).splitlines() if line.strip()]
    path = workdir / CLAIM
    config = _parse(_read_text(path), path)
    if SEAL in config and (fault := broken_seal(config)):
        raise InputError(f"{path} {fault}; start the run anew in another workdir")
    return RunOutputs(config, scores, history, _read_cells(workdir / shown))


def _read_cells(path: Path) -> anndata.AnnData:
    if not path.is_file():
        raise InputError(f"expected {path}, found no such file; finish the run first")
    with damage_named(path, Exception):  # a run wrote it: whatever does not fit is damage
        return anndata.read_h5ad(path)


def file_fault(workdir: Path, name: str, scores: dict[str, Any]) -> str:
    """Why a file is another than the one beside which these scores were written; "" if it is not.

    Args:
      workdir: of the run.
      name: of the file in it.
      scores: of the run.
    """
    return other_file(workdir / name, scores.get(CHECKSUMS, {}).get(name))


def embedding_fault(path: Path, num_cells: int) -> str:
    """Why a file of embedded cells is none of so many cells; "" if it is.

    It is opened and not read: a truncated file cannot be opened.
    """
    if not path.is_file():
        return f"expected {path}, found no such file"
    try:
        with h5py.File(path, "r") as file:
            found = {len(values) for values in file["obsm"].values() if hasattr(values, "shape")}
    except (OSError, KeyError, RuntimeError) as error:
        return f"{path} is damaged or truncated ({str(error).splitlines()[0]})"
    if found != {num_cells}:
        return f"expected embeddings of {num_cells} cells in {path}, found {sorted(found)}"
    return ""


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"expected text in UTF-8 in {path}, got {error}; rerun it") from error
    except OSError as error:
        raise InputError(f"expected {path}, {error.strerror}; finish the run first") from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise InputError(f"expected JSON in {path}, got {error}; rerun it") from error
    if not isinstance(value, dict):
        raise InputError(f"expected a JSON object in {path}, got {type(value).__name__}; rerun it")
    return value
