"""Between the command line and an experiment: checks, workdir, log, signals, exit codes."""

import logging
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from absl import logging as absl_logging
from ml_collections import ConfigDict

from experiments import (
    attribution,
    benchmark,
    energy_models,
    epochs,
    integration,
    ising_benchmark,
    mnist,
    negative_phase,
    sampler_fidelity,
)
from experiments.comparison.methods import methods
from experiments.diffusion import study as diffusion
from experiments.energies import prior_plan
from experiments.kit import processes as processes_of
from experiments.kit import runner
from experiments.kit.config_file import (
    check_config,
    fail,
    load_config,
    load_overrides,
    located,
)
from experiments.kit.disk import remedy
from experiments.kit.options import LIBRARY, config_words, takes_none, trainings_of
from experiments.kit.processes import ALONE, Processes
from experiments.kit.stop import StopRequest
from experiments.kit.unused import Trainings, check_used
from experiments.kit.usage import PROGRAM
from experiments.kit.workdir import check_workdir, flatten
from experiments.selection import study as selection
from experiments.sweep import arguments as sweep_arguments
from experiments.sweep import run as sweep_run
from experiments.sweep.settings import build_sweep
from qbm_jax.errors import InputError, one_line
from qbm_jax.runtime.compiled import keep_compiled
from qbm_jax.runtime.keys import check_seed
from qbm_jax.runtime.user_cache import expand_home
from qbm_jax.study.lock import FolderLost, check_held
from qbm_jax.training import Training, TrainingDiverged, TrainingStopped
from qbm_jax.training.distributed import ends_with_the_others, is_primary
from qbm_jax.training.profiling import Profile

EXPERIMENTS: dict[str, Callable[[ConfigDict, Path, StopRequest], None]] = {
    "attribution": partial(runner.run, attribution),
    "benchmark": partial(runner.run, benchmark),
    "diffusion": partial(runner.run, diffusion),
    "energy_models": partial(runner.run, energy_models),
    "epochs": partial(runner.run, epochs),
    "integration": integration.run,
    "mnist": partial(runner.run, mnist),
    "sampler_fidelity": partial(runner.run, sampler_fidelity),
    "negative_phase": partial(runner.run, negative_phase),
    "ising_benchmark": partial(runner.run, ising_benchmark),
    "selection": partial(runner.run, selection),
}

TRAININGS: dict[str, Trainings] = {
    "attribution": lambda config: [each.training for each in attribution.variants(config)],
    "benchmark": lambda config: [each.record for each in methods(config) if each.record],
    "epochs": lambda config: [each.training for each in epochs.validated(config)],
    "integration": trainings_of,
    "mnist": lambda config: prior_plan.trainings_of(config).values(),
    "selection": lambda config: [each.record for each in methods(config) if each.record],
}
"""What an experiment trains, by its name; those that train no VAE of a config's are not here."""

LOGGER = logging.getLogger("qbm_jax")


def check_arguments(argv: list[str]) -> ConfigDict:
    """The config that is named; ends with one line if an argument is wrong."""
    arguments = argv[1:]
    for argument in arguments:
        if not argument.startswith("--"):
            fail(f"unexpected argument {argument!r}; options are written --name=value")
        option = argument.split("=")[0]
        known = ("--config", "--workdir", *sweep_arguments.OPTIONS, *processes_of.OPTIONS)
        if option not in known and not option.startswith("--config."):
            names = ", ".join((*known, "--config.FIELD", "--help"))
            fail(f"unknown option {option}; there are {names}")
        if argument in ("--config", "--workdir", processes_of.COORDINATOR):
            fail(f"{option} needs a value: {option}=VALUE")
    config_argument = config_value(arguments)
    config = load_config(config_argument)
    try:
        sweep_arguments.check(arguments)
        processes_of.check(arguments)
    except InputError as error:
        fail(str(error))
    if sweep_arguments.is_sweep(arguments):
        load_overrides(config_argument)
    for argument in arguments:
        if argument.startswith("--config."):
            dotted, equals, _ = argument.removeprefix("--config.").partition("=")
            if not (isinstance(check_override(config, dotted), bool) or equals):
                fail(f"--config.{dotted} needs a value: --config.{dotted}=VALUE")
    return config


def config_value(arguments: list[str]) -> str:
    """The value of --config.

    Raises:
      SystemExit: it was not given.
    """
    values = [a.removeprefix("--config=") for a in arguments if a.startswith("--config=")]
    if not values:
        fail(f"no experiment is named: give --config=NAME; {PROGRAM} alone lists them")
    return values[-1]


def check_override(config: ConfigDict, dotted: str) -> Any:
    """The value; ends with one line and the valid fields if `dotted` names none or several."""
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
    return node


def is_none(argument: str) -> bool:
    """Whether an argument sets a field of the config to None, which absl has no text for."""
    _, equals, value = argument.partition("=")
    return argument.startswith("--config.") and bool(equals) and value.lower() == "none"


def take_out_none(argv: list[str], config: ConfigDict) -> tuple[list[str], list[str]]:
    """The arguments without those that set a field to None, and the dotted fields so set.

    Of several arguments for one field the last one counts.

    Raises:
      InputError: a field that must have a value.
    """
    last = {argument.partition("=")[0]: argument for argument in argv}
    unset = [name.removeprefix("--config.") for name, given in last.items() if is_none(given)]
    values = flatten(config.to_dict())
    may_be_none = {name for name, value in values.items() if value is None or takes_none(name)}
    for field in unset:
        if field not in may_be_none:
            known = ", ".join(f"config.{name}" for name in sorted(may_be_none)) or "no field"
            raise InputError(f"config.{field} cannot be None; give it a value ({known} can)")
    kept = [argument for argument in argv if not is_none(argument)]
    dropped = tuple(f"--config.{field}=" for field in unset)
    return [argument for argument in kept if not argument.startswith(dropped)], unset


def check_given(argv: list[str], config: ConfigDict) -> None:
    """Checks, once the arguments are parsed, that each changes something.

    Raises:
      InputError: a field that another one overrules, or that nothing reads.
    """
    names = (argument.partition("=")[0] for argument in argv)
    fields = [name.removeprefix("--config.") for name in names if name.startswith("--config.")]
    base, trainings = load_config(config_value(argv)), TRAININGS.get(config.experiment)
    if sweep_arguments.is_sweep(argv):  # whose settings decide what is read
        overrides = load_overrides(config_value(argv))

        def trainings(config: ConfigDict) -> list[Training]:
            return [setting.training for setting in build_sweep(config, overrides).settings]

    check_used(fields, config, base, trainings)


def spelt_out(argv: list[str]) -> list[str]:
    """The arguments with the file of the config, and with the address of a Ray on this computer."""
    return [
        f"--config={located(config_value([argument]))}"
        if argument.startswith("--config=")
        else argument
        for argument in sweep_arguments.spelt_out(argv)
    ]


def default_workdir(argv: list[str]) -> str:
    """runs/<config name>, with -<variant> behind it for a variant."""
    name, _, variant = config_value(argv[1:]).partition(":")
    suffix = f"-{variant.replace(',', '-')}" if variant not in ("", "full") else ""
    return f"runs/{Path(name).stem}{suffix}"


def run(
    config: ConfigDict,
    workdir: str,
    sweep: sweep_run.Request | None = None,
    profile: int | None = None,
    processes: Processes = ALONE,
) -> None:
    """Runs the config's experiment; a user's mistake ends with one line and exit code 2.

    Args:
      config: what to run.
      workdir: where everything is written; a leading ~ is the home, which no shell puts behind
        `--workdir=`.
      sweep: how to run the sweep that the config is the base of; None: the config alone.
      profile: training steps to trace; None traces none.
      processes: the others that train with this one.
    """
    configure_logging()
    keep_compiled()
    stop = StopRequest()
    try:
        if workdir.startswith("~"):
            workdir = str(expand_home(workdir))
        check_config(config, EXPERIMENTS)
        check_seed(config.seed)
        processes_of.join(processes, config, alone=sweep is not None or profile is not None)
        with ends_with_the_others(TrainingStopped):
            if is_primary():
                check_workdir(Path(workdir), config)
            if sweep is not None:
                sweep_run.run(config, Path(workdir), stop, sweep)
            elif profile is not None:
                run_profiled(config, Path(workdir), stop, profile)
            else:
                EXPERIMENTS[config.experiment](config, Path(workdir), stop)
    except TrainingDiverged as error:
        fail(config_words(str(error), LIBRARY))
    except InputError as error:
        fail(str(error))
    except sweep_run.SweepIncomplete as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(1) from error
    except OSError as error:
        if (lost := lost_workdir(Path(workdir))) is not None:
            fail(str(lost))
        if (what := remedy(error)) is None:
            raise
        where = error.filename or workdir
        fail(f"{where}: {error.strerror}; {what} and run the same command again")
    except (TrainingStopped, KeyboardInterrupt, SystemError) as error:
        if isinstance(error, SystemError) and not stop():
            raise
        # compiled code that an interrupt meets, numba's for one, ends in a SystemError
        said = (not isinstance(error, SystemError) and one_line(error)) or "stopped"
        print(f"{said}; the same command goes on from there", file=sys.stderr)
        raise SystemExit(128 + (stop.signal or signal.SIGINT)) from error


def lost_workdir(workdir: Path) -> FolderLost | None:
    """What to say if the workdir is not there any more, so that no file can be written."""
    try:
        check_held(workdir)
    except FolderLost as error:
        return error
    return None


def run_profiled(config: ConfigDict, workdir: Path, stop: StopRequest, num_steps: int) -> None:
    """Runs an integration that writes a trace of training steps.

    Raises:
      InputError: another experiment.
    """
    if config.experiment != "integration":
        raise InputError(
            f"--profile traces experiment integration, got {config.experiment}; leave it out"
        )
    integration.run(config, workdir, stop, profile=Profile(num_steps, workdir))


class OneLine(logging.Formatter):
    """Every message in one line, with names in it spelt out that a terminal would obey."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, before the trace of an error."""
        return one_line(super().formatMessage(record))


def configure_logging() -> None:
    """Our own log at INFO, everybody else's at WARNING; one handler, on standard error."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # orbax reports every save at INFO
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(asctime)s %(message)s", "%H:%M:%S"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
