"""A Slurm script that runs the jobs of a planned sweep as an array, and then its report."""

import shlex
import sys
from pathlib import Path

from experiments.workdir import ROOT
from qbm_jax.whole_file import write_whole

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
    """
    path = workdir.resolve() / NAME
    kept = [argument for argument in argv[1:] if argument not in HOW]
    kept = [argument for argument in kept if not argument.startswith("--workdir=")]
    program = [sys.executable, str(ROOT / "run.py")]
    text = SCRIPT.format(
        name=NAME,
        output=shlex.quote(str(path.parent / "slurm-%A_%a.out")),
        folder=shlex.quote(str(Path.cwd())),
        command=shlex.join([*program, *kept, f"--workdir={path.parent}"]),
        last=num_jobs - 1,
        script=shlex.quote(str(path)),
    )
    write_whole(path, text)
    return path
