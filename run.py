"""Runs one experiment: `python run.py --config=configs/pancreas.py --workdir=runs/pancreas`.

Installed, it is the command `qbm_jax` (see setup.py); it imports from the folder that it lies in.
"""

import sys
from pathlib import Path

HOME = str(Path(__file__).resolve().parent)
if HOME not in sys.path:
    sys.path.insert(0, HOME)
from experiments.kit import usage

try:
    from absl import app, flags
    from ml_collections import config_flags
except ModuleNotFoundError as error:
    usage.lacking(error)

CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment, e.g. configs/toy.py")
WORKDIR = flags.DEFINE_string("workdir", None, "Output folder; default runs/<config name>")
flags.DEFINE_bool("sweep", False, "Train every setting of the config's sweep()")
SWEEP_RAY = flags.DEFINE_string("sweep_ray", None, "The same on Ray: an address, or local")
SWEEP_HALVING = flags.DEFINE_bool("sweep_halving", False, "Stop settings that fall behind")
SWEEP_SLURM = flags.DEFINE_bool("sweep_slurm", False, "Write a Slurm script for the sweep")
SWEEP_REPORT = flags.DEFINE_bool("sweep_report", False, "Report what there is of the sweep")
SWEEP_JOB = flags.DEFINE_integer("sweep_job", None, "Run this job of the sweep alone")
PROFILE = flags.DEFINE_integer("profile", None, "Trace so many training steps")
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, or auto")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many there are")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this one, from 0")


def parse(argv: list[str]) -> list[str]:
    """Answers what asks for no experiment; parses the flags once they are known to be good."""
    usage.answer(argv)
    try:  # seconds, which the help does not wait for
        from experiments.kit import launch
    except ModuleNotFoundError as error:
        usage.lacking(error)
    config = launch.check_arguments(argv)
    try:
        kept, unset = launch.take_out_none(argv, config)
        left = flags.FLAGS(launch.spelt_out(kept))
        CONFIG.value.update_from_flattened_dict(dict.fromkeys(unset))
        launch.check_given(argv, CONFIG.value)
    except (flags.Error, launch.InputError) as error:
        launch.fail(str(error))
    return left


def main(argv: list[str]) -> None:
    """Hands the config to its experiment, or to the sweep."""
    del argv
    from experiments.kit import launch
    from experiments.kit.processes import Processes
    from experiments.sweep.arguments import is_sweep
    from experiments.sweep.run import Request

    sweep = None
    if is_sweep(sys.argv[1:]):
        sweep = Request(
            launch.load_overrides(launch.config_value(sys.argv[1:])),
            ray=SWEEP_RAY.value,
            slurm=SWEEP_SLURM.value,
            job=SWEEP_JOB.value,
            halving=SWEEP_HALVING.value,
            report=SWEEP_REPORT.value,
        )
    workdir = WORKDIR.value or launch.default_workdir(sys.argv)
    processes = Processes(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    launch.run(CONFIG.value, workdir, sweep=sweep, profile=PROFILE.value, processes=processes)


def command() -> None:
    """The command, from a clone or installed."""
    app.run(main, flags_parser=parse)


if __name__ == "__main__":
    command()
