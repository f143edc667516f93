"""A Slurm script that runs the jobs of a planned sweep as an array, and then its report."""

import os
import re
import shlex
import sys
from pathlib import Path

from experiments.kit.usage import ROOT
from qbm_jax.errors import InputError
from qbm_jax.runtime.whole_file import write_whole

NAME = "sweep.slurm"
HOW = ("--sweep", "--sweep_slurm")
SCRIPT = """#!/bin/bash
# bash {name} submits an array task for each job of the sweep, and a task that reports after them.
# Add what your cluster wants (partition, memory, accelerators, time) to the lines below.
#SBATCH --job-name=qbm-sweep
#SBATCH --output={output}
set -eu
cd {folder}

case "${{QBM_JAX_TASK:-}}" in
  job) exec {command} --sweep_job="$SLURM_ARRAY_TASK_ID" ;;
  report) exec {command} --sweep_report ;;
esac
jobs=$(sbatch --parsable --export=ALL,QBM_JAX_TASK=job --array=0-{last} {script})
sbatch --export=ALL,QBM_JAX_TASK=report --dependency=afterany:"${{jobs%%;*}}" {script}
"""


def write_script(workdir: Path, argv: list[str], num_jobs: int) -> Path:
    """Writes the script to the workdir and returns its path.

    Args:
      workdir: of the sweep, which is planned.
      argv: the command that asked for the script; its tasks run the same one.
      num_jobs: jobs of the plan.

    Raises:
      InputError: as `check_workdir`.
    """
    check_workdir(workdir)
    path = workdir.resolve() / NAME
    kept = [argument for argument in argv[1:] if argument not in HOW]
    kept = [argument for argument in kept if not argument.startswith("--workdir=")]
    program = [sys.executable, str(ROOT / "run.py")]
    text = SCRIPT.format(
        name=NAME,
        output=batch_value(f"{path.parent}/", "slurm-%A_%a.out"),
        folder=shlex.quote(str(Path.cwd())),
        command=shlex.join([*program, *kept, f"--workdir={path.parent}"]),
        last=num_jobs - 1,
        script=shlex.quote(str(path)),
    )
    write_whole(path, os.fsencode(text))
    return path


def check_workdir(workdir: Path) -> None:
    r"""Checks that an `#SBATCH` line can name a file in the workdir.

    Raises:
      InputError: its path has a control character, which would end the line, or a backslash, with
        which Slurm no longer puts numbers of jobs into the names of files.
    """
    path = str(workdir.resolve())
    if re.search(r"[\\\x00-\x1f\x7f]", path):
        raise InputError(
            f"--sweep_slurm needs a workdir without line breaks, control characters and "
            f"backslashes in its path, got {path!r}; use another --workdir"
        )


def batch_value(path: str, pattern: str) -> str:
    """A path as an `#SBATCH` line takes it, and behind it a pattern that Slurm fills in.

    Slurm reads `%%` as a percent sign and takes what stands behind a backslash as it is, within
    quotes as well, so that those of the shell do not serve.
    """
    return re.sub(r"[^\w/.:,@=+%-]", r"\\\g<0>", path.replace("%", "%%")) + pattern
