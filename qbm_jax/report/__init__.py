"""From a finished working directory to its report, figures and table; computes nothing new.

python -m qbm_jax.report WORKDIR
"""

from pathlib import Path

from qbm_jax.errors import InputError
from qbm_jax.report import markdown, tables
from qbm_jax.report.run_outputs import CHECKSUMS, EMBEDDING_FILE, LOG_FILE, SCORES_FILE, read
from qbm_jax.runtime.whole_file import remove_unfinished
from qbm_jax.study.rows import write_table
from qbm_jax.study.standing import COLUMNS

__all__ = ["CHECKSUMS", "EMBEDDING_FILE", "LOG_FILE", "SCORES_FILE", "read", "write"]


def write(workdir: str | Path) -> Path:
    """Writes `report.md`, `report.html`, `figures/*.png` and `results.csv` from the other files.

    What a run does not have (labels, a second batch, sampler traces) is named in the report.

    Args:
      workdir: holds config.json, scores.json, metrics.jsonl and embedding.h5ad.

    Returns:
      Path of `report.md`.

    Raises:
      InputError: one of those files is missing or damaged, or something else stands where the
        report or its figures go.
      OSError: the disk is full.
    """
    outputs = read(Path(workdir))
    for place in (Path(workdir), Path(workdir) / "figures"):
        remove_unfinished(place)  # of a report that was killed
    try:
        path = markdown.compose(Path(workdir), outputs).write()
        write_table(Path(workdir) / "results.csv", COLUMNS, tables.rows(outputs.scores))
        return path
    except (FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise InputError(
            f"expected to write {error.filename}, {error.strerror}; move what is there away, or "
            f"let it be written"
        ) from error
