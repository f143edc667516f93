"""The files of an integration run: made, found whole or damaged, and reported anew."""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.kit.options import main_name, training_of
from experiments.kit.workdir import command, commit, flatten, plain_config
from qbm_jax import report
from qbm_jax.data import Cells
from qbm_jax.data.on_disk import StoredCells
from qbm_jax.errors import InputError
from qbm_jax.fitted import document, programmes
from qbm_jax.fitted.document import Evaluated
from qbm_jax.fitted.embedding_files import write_all, write_shown
from qbm_jax.fitted.model import build_sampler
from qbm_jax.report.run_outputs import (
    EMBEDDING_FILE,
    LOG_FILE,
    SAMPLE_FILE,
    SCORES_FILE,
    embedding_fault,
    file_fault,
)
from qbm_jax.runtime.keys import key_of
from qbm_jax.runtime.versions import versions
from qbm_jax.study.sealed_file import read_sealed
from qbm_jax.training.computer import describe_computer
from qbm_jax.training.plan import minibatch_of

LOGGER = logging.getLogger("qbm_jax")


def is_finished(workdir: Path) -> bool:
    """Whether scores and embedded cells of this run are there; the log says what is damaged.

    What is not there is made again from the checkpoints, which hold the trained parameters.
    """
    summary = read_sealed(workdir / SCORES_FILE, workdir)
    if summary is None:
        return False
    for name, num_cells in summary["files"].items():
        fault = embedding_fault(workdir / name, num_cells) or file_fault(workdir, name, summary)
        if fault:
            LOGGER.warning("%s; it is made again from the checkpoints", fault)
            return False
    if fault := damaged_log(workdir):
        LOGGER.warning("%s; it cannot be made again, and the report says so", fault)
    return not fault


def damaged_log(workdir: Path) -> str:
    """Why the log of a finished run is not the one that it wrote; "" if nothing is known."""
    summary = read_sealed(workdir / SCORES_FILE, workdir)
    return "" if summary is None else file_fault(workdir, LOG_FILE, summary)


def reported(workdir: Path) -> bool:
    """Makes the report of a finished run anew; False, with a warning, if a file is damaged."""
    try:
        report.write(workdir)
    except InputError as error:
        LOGGER.warning("%s; it is made again from the checkpoints", error)
        return False
    return True


def summarise(
    config: ConfigDict,
    cells: Cells | StoredCells,
    runs: Mapping[str, Sequence[Evaluated]],
    scores: dict[str, list[dict[str, float]]],
    notes: list[str],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """What `scores.json` holds."""
    own = runs[main_name(config)][0]
    sampler = document.sampler_diagnostics(
        key_of(config.seed, "sampler diagnostics"),
        own,
        num_draws=config.evaluation.diagnostic_draws,
        num_chains=config.training.num_chains,
    )
    return document.compose(
        main_name(config),
        cells,
        runs,
        scores,
        sampler=sampler,
        programmes=programmes.as_columns(
            programmes.of_embedding(own.model, own.embedding, seed=config.seed)
        ),
        settings=flatten(plain_config(config)),
        seeds=list(range(config.num_seeds)),
        versions=versions(),
        seconds=seconds,
        notes=notes,
        command=command(),
    )


def write_cells(
    workdir: Path,
    config: ConfigDict,
    cells: Cells | StoredCells,
    shown: Cells,
    found: Evaluated,
    embeddings: dict[str, np.ndarray],
) -> dict[str, int]:
    """Writes the embedded cells, and of cells on disk the sample as well.

    Returns:
      The number of cells by file.
    """
    name = main_name(config)
    origin = document.provenance(
        shown, found.model, config=json.dumps(plain_config(config)), versions=versions(),
        commit=commit(),
    )  # fmt: skip
    files, file = {EMBEDDING_FILE: cells.num_cells}, EMBEDDING_FILE
    if isinstance(cells, StoredCells):
        write_all(workdir / file, cells, name, found.model, origin)
        file = SAMPLE_FILE
    write_shown(workdir / file, shown, name, found, embeddings, seed=config.seed, provenance=origin)
    return files | {file: shown.num_cells}


def computer_facts(
    config: ConfigDict, results: Sequence[Evaluated], num_genes: int, num_devices: int
) -> dict[str, Any]:
    """What it was computed on, see `computer.describe_computer`, by the run's own model."""
    model, options = results[0].model, training_of(config).options
    minibatch = minibatch_of(options, results[0].num_train_cells)
    sampler = build_sampler(model.vae, config.sampler.name, model.settings.sampler_options)
    speed = float(np.median([result.cells_per_second for result in results]))
    used = dataclasses.replace(options, minibatch_size=minibatch)
    return describe_computer(model.vae, sampler, used, num_genes, speed, num_devices)
