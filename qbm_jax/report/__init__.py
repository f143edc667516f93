"""From a finished working directory to report.md and its figures; computes nothing new.

python -m qbm_jax.report WORKDIR
"""

from pathlib import Path

from qbm_jax.report import figures, markdown
from qbm_jax.report.run_outputs import read
from qbm_jax.whole_file import write_whole


def write(workdir: str | Path) -> Path:
    """Writes `report.md` and `figures/*.png` from the other files in `workdir`.

    What a run does not have (labels, a second batch, sampler traces) is named in the report.

    Args:
      workdir: holds config.json, scores.json, metrics.jsonl and embedding.h5ad.

    Returns:
      Path of the report.

    Raises:
      InputError: one of those files is missing or damaged.
    """
    outputs = read(Path(workdir))
    drawn = figures.save_all(outputs, Path(workdir) / "figures")
    path = Path(workdir) / "report.md"
    write_whole(path, markdown.compose(outputs, drawn))
    return path
