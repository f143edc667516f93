"""Whether a run of the integration experiment is complete, and its report from what is there."""

import logging
from pathlib import Path

from experiments.kit.sealed import read_sealed
from qbm_jax import report
from qbm_jax.errors import InputError
from qbm_jax.report.run_outputs import LOG_FILE, SCORES_FILE, embedding_fault, file_fault

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
