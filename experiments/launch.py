"""Between the command line and an experiment: checks, workdir, log, signals, exit codes."""

import ast
import errno
import importlib.util
import logging
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import jax
from absl import logging as absl_logging
from ml_collections import ConfigDict

from experiments import (
    attribution,
    benchmark,
    epochs,
    integration,
    ising_benchmark,
    negative_phase,
    sampler_fidelity,
)
from experiments.stop import StopRequest
from experiments.workdir import check_workdir
from qbm_jax.errors import InputError
from qbm_jax.training import TrainingStopped

EXPERIMENTS = {
    "attribution": attribution.run,
    "benchmark": benchmark.run,
    "epochs": epochs.run,
    "integration": integration.run,
    "sampler_fidelity": sampler_fidelity.run,
    "negative_phase": negative_phase.run,
    "ising_benchmark": ising_benchmark.run,
}

ROOT = Path(__file__).resolve().parent.parent
LOGGER = logging.getLogger("qbm_jax")

USAGE = """usage: python run.py --config=FILE[:VARIANT] [--workdir=DIR] [--config.FIELD=VALUE ...]

  --config   an experiment in configs/; without it, the experiments there are are listed
  --workdir  where everything is written (default runs/<config name>); the same command
             again resumes it
  :VARIANT   :smoke is every part in seconds; what else a config has, stands in its first lines
  --config.FIELD=VALUE  overrides a field, e.g. --config.data.path=cells.h5ad
             --config.data.batch_column=batch --config.data.label_column=cell_type
             --config.model.num_latents=256 --config.sampler.name=cim --config.seed=1

Every field is explained in the config's own file or in configs/base.py.
"""


def fail(message: str) -> NoReturn:
    """Ends the program with one line for the user and exit code 2."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(2)


def leave(text: str) -> NoReturn:
    """Ends the program with a text and exit code 0."""
    print(text)
    raise SystemExit(0)


def config_files() -> list[Path]:
    """The experiments' files; `base.py` is the manual that they share."""
    files = (ROOT / "configs").glob("*.py")
    return sorted(path for path in files if path.stem not in ("base", "__init__"))


def list_configs() -> str:
    """The configs there are, each with the first line of its docstring."""
    lines = ["Experiments (python run.py --config=FILE):", ""]
    for path in config_files():
        summary = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
        lines.append(f"  configs/{path.name:<20} {summary}")
    return "\n".join([*lines, "", "python run.py --help explains the options."])


def check_arguments(argv: list[str]) -> None:
    """Answers --help and a missing --config; ends with one line if an argument is wrong."""
    arguments = argv[1:]
    if any(argument in ("-h", "--help", "--helpfull", "--helpshort") for argument in arguments):
        leave(USAGE)
    for argument in arguments:
        if not argument.startswith("--"):
            fail(f"unexpected argument {argument!r}; options are written --name=value")
        option = argument.split("=")[0]
        if option not in ("--config", "--workdir") and not option.startswith("--config."):
            fail(f"unknown option {option}; there are --config, --workdir, --config.FIELD, --help")
    if not arguments:
        leave(list_configs())
    config_argument = config_value(arguments)
    if config_argument is None:
        fail("no experiment is named: give --config=FILE; python run.py alone lists them")
    config = load_config(config_argument)
    for argument in arguments:
        if argument.startswith("--config."):
            check_override(config, argument.removeprefix("--config.").split("=")[0])


def config_value(arguments: list[str]) -> str | None:
    """The value of --config, if it was given."""
    values = [a.removeprefix("--config=") for a in arguments if a.startswith("--config=")]
    return values[-1] if values else None


def load_config(value: str) -> ConfigDict:
    """The config of "FILE" or "FILE:variant"; ends with one line if there is none."""
    name, _, variant = value.partition(":")
    path = Path(name)
    if path.suffix != ".py" or not path.is_file():
        known = ", ".join(f"configs/{p.name}" for p in config_files())
        fail(f"no config file {name!r}; there are {known}")
    spec = importlib.util.spec_from_file_location("checked_config", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config(*([variant] if variant else []))
    except InputError as error:
        fail(str(error))
    except (SyntaxError, AttributeError, ImportError) as error:
        fail(f"config file {name!r} cannot be used: {error}")


def check_override(config: ConfigDict, dotted: str) -> None:
    """Ends with one line, listing the valid fields, if `dotted` names none or several."""
    node = config
    parts = dotted.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, ConfigDict) or part not in node:
            where = ".".join(["config", *parts[:depth]])
            valid = ", ".join(sorted(node)) if isinstance(node, ConfigDict) else "no fields"
            fail(f"unknown config field config.{dotted}; {where} has {valid}")
        node = node[part]
    if isinstance(node, ConfigDict):
        fail(f"config.{dotted} is no field but holds fields: {', '.join(sorted(node)) or 'none'}")


def default_workdir(argv: list[str]) -> str:
    """runs/<config name>, with -<variant> behind it for a variant."""
    name, _, variant = config_value(argv[1:]).partition(":")
    suffix = f"-{variant.replace(',', '-')}" if variant not in ("", "full") else ""
    return f"runs/{Path(name).stem}{suffix}"


def run(config: ConfigDict, workdir: str) -> None:
    """Runs the config's experiment; a user's mistake ends with one line and exit code 2."""
    configure_logging()
    enable_compilation_cache()
    stop = StopRequest()
    try:
        if config.experiment not in EXPERIMENTS:
            names = ", ".join(EXPERIMENTS)
            raise InputError(f"unknown experiment {config.experiment!r}; choose from {names}")
        check_workdir(Path(workdir), config)
        EXPERIMENTS[config.experiment](config, Path(workdir), stop)
    except InputError as error:
        fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        fail(f"{error.filename or workdir}: {error.strerror}; free some space and run this again")
    except (TrainingStopped, KeyboardInterrupt) as error:
        print(f"{str(error) or 'stopped'}; the same command goes on from there", file=sys.stderr)
        raise SystemExit(128 + (stop.signal or signal.SIGINT)) from error


def configure_logging() -> None:
    """Our own log at INFO, everybody else's at WARNING; one handler, on standard error."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # orbax reports every save at INFO
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache directory, unless JAX was told of another."""
    if jax.config.jax_compilation_cache_dir is None:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(base / "qbm_jax" / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
