"""What the command line says of itself; nothing is imported for it that takes seconds."""

import ast
import io
import os
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
IN_CLONE = (ROOT / "qbm_jax").is_dir()  # installed, the library lies beside this folder
PROGRAM = "python run.py" if IN_CLONE else "qbm_jax"
NEEDED = "-r requirements.txt" if IN_CLONE else '".[run]"'  # what pip installs for the command

USAGE = f"""usage: {PROGRAM} --config=NAME[:VARIANT] [--workdir=DIR] [--config.FIELD=VALUE ...]

  --config   an experiment by name, or a config file of yours; without it, all are listed
  --workdir  where everything is written (default runs/<config name>); the same command
             again resumes it
  :VARIANT   :smoke is every part in seconds; what else a config has, stands in its first lines
  --coordinator=HOST:PORT --num_processes=N --process_id=I
             one training in N processes, with config.devices (--coordinator=auto: as Slurm, GKE,
             TPU pods or MPI tell)
  --config.FIELD=VALUE  overrides a field, e.g. --config.data.path=cells.h5ad
             --config.data.batch_column=batch --config.data.label_column=cell_type
             --config.model.num_latents=256 --config.sampler.name=cim --config.seed=1
             =None where a field may have no value, e.g. --config.model.sharpness=None
  --sweep    trains every setting of the config's sweep(); results.csv and report.md are of all
  --sweep_ray[=ADDRESS]  the same as tasks of a Ray cluster; without an address, of this computer
  --sweep_halving  with Ray: stops settings early whose bound falls behind
  --sweep_slurm  writes a Slurm script for it; --sweep_job=N runs one job of the plan alone
  --sweep_report  writes the table and report of what is finished, and trains nothing
  --profile=N  writes a JAX trace of N training steps to workdir/profile

--helpfull explains every field; those of one experiment alone, its config's file does.
"""


def answer(argv: list[str]) -> None:
    """Answers --help and a missing --config, and ends the program then."""
    print_anything()
    arguments = argv[1:]
    if "--helpfull" in arguments:
        from experiments.kit.manual import help_text  # of every option of the library

        leave(USAGE + help_text())
    if any(argument in ("-h", "--help", "--helpshort") for argument in arguments):
        leave(USAGE)
    if not arguments:
        leave(list_configs())


def lacking(error: ModuleNotFoundError) -> NoReturn:
    """Ends the program with one line about a package that is not there, and exit code 2."""
    text = f"error: the package {error.name} is not installed; pip install {NEEDED}"
    print(text, file=sys.stderr)
    raise SystemExit(2) from None


def leave(text: str) -> NoReturn:
    """Ends the program with a text and exit code 0."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever reads has seen enough, as `head`; nothing more is flushed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)


def config_files() -> list[Path]:
    """The experiments' files; `base.py` is the manual that they share."""
    files = (ROOT / "configs").glob("*.py")
    return sorted(path for path in files if path.stem not in ("base", "__init__"))


def name_of(path: Path) -> str:
    """A shipped config as --config takes it: its file where that is at hand, or its name."""
    return f"configs/{path.name}" if IN_CLONE else path.stem


def list_configs() -> str:
    """The configs there are, each with the first line of its docstring."""
    lines = [f"Experiments ({PROGRAM} --config=NAME):", ""]
    for path in config_files():
        summary = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split(
            "\n"
        )[0]
        lines.append(f"  {name_of(path):<28} {summary}")
    return "\n".join([*lines, "", f"{PROGRAM} --help explains the options."])


def print_anything() -> None:
    """Lets what a terminal has no characters for be printed as escapes, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
