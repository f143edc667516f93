"""Runs one experiment: `python run.py --config=configs/pancreas.py --workdir=runs/pancreas`."""

import sys

from absl import app, flags
from ml_collections import config_flags

from experiments import launch

CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment, e.g. configs/toy.py")
WORKDIR = flags.DEFINE_string("workdir", None, "Output folder; default runs/<config name>")


def parse(argv: list[str]) -> list[str]:
    """Parses the flags once they are known to be good."""
    launch.check_arguments(argv)
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        launch.fail(str(error))


def main(argv: list[str]) -> None:
    """Hands the config to its experiment."""
    del argv
    launch.run(CONFIG.value, WORKDIR.value or launch.default_workdir(sys.argv))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
