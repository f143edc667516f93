"""The models that a run leaves in its working directory: found by name and seed, and checked."""

import os
from pathlib import Path
from typing import Any

from qbm_jax.errors import InputError
from qbm_jax.fitted.settings import Settings
from qbm_jax.runtime.identity import digest_names
from qbm_jax.study.claim import CLAIM, read_claim

MODELS = Path("checkpoints") / "models"  # within the working directory


def model_folder(workdir: Path, name: str, seed: int) -> Path:
    """Where a run saves the model called `name` of a training."""
    return workdir / MODELS / f"{name}-seed{seed}"


def is_workdir(folder: Path) -> bool:
    """Whether a run has claimed this folder."""
    return os.path.isfile(folder / CLAIM)  # False for a name too long as well


def find_model(workdir: Path, name: str | None, seed: int) -> Path:
    """The folder of a run's model.

    Args:
      workdir: of the run.
      name: of the model, such as "bernoulli_vae"; None: the run's own.
      seed: number of the training within the run.

    Raises:
      InputError: there is no such model; the message names those that are there.
    """
    there = sorted(path.name for path in (workdir / MODELS).glob("*-seed*"))
    if not there:
        raise InputError(
            f"no saved model in {workdir / MODELS}: no training has finished, or an older version "
            f"made the run; run the same command again, without scores.json if it is complete"
        )
    if name is None:
        baselines = _claim(workdir, "config").get("baselines", {})
        names = {folder.rpartition("-seed")[0] for folder in there}
        own = sorted(names - set(baselines))
        if len(own) != 1:
            raise InputError(
                f"expected one model of the run's own in {workdir}, found "
                f"{', '.join(own) or 'none'}; choose by name="
            )
        name = own[0]
    folder = model_folder(workdir, name, seed)
    if folder.name not in there:
        raise InputError(
            f"no saved model {name!r} of seed {seed} in {workdir}; there are {', '.join(there)}"
        )
    return folder


def check_belongs(workdir: Path, settings: Settings) -> None:
    """Checks that a model has the genes and batches of the run's cells.

    Raises:
      InputError: it has others, or the run's `config.json` is damaged.
    """
    data = _claim(workdir, "data")
    for field, names in (("gene_names", settings.genes), ("batch_names", settings.batch_names)):
        if data.get(field) != digest_names(names):
            raise InputError(
                f"the model in {workdir / MODELS} is not of this run: its {field} are others than "
                f"those in {CLAIM}; use the working directory that the run wrote"
            )


def _claim(workdir: Path, part: str) -> dict[str, Any]:
    claim = read_claim(workdir)
    assert claim is not None, f"{workdir} is no working directory of a run"
    return claim[part]
