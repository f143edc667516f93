"""The command line's options for sweeps and traces, checked before they are parsed."""

from qbm_jax.errors import InputError

SWEEP, RAY, HALVING, SLURM, JOB, REPORT, PROFILE = (
    "--sweep", "--sweep_ray", "--sweep_halving", "--sweep_slurm", "--sweep_job", "--sweep_report",
    "--profile",
)  # fmt: skip
OPTIONS = (SWEEP, RAY, HALVING, SLURM, JOB, REPORT, PROFILE)
LOCAL = "local"


def check(arguments: list[str]) -> None:
    """Checks the values of `OPTIONS` among the arguments, and that they go together.

    Raises:
      InputError: a value that is missing, not wanted or no whole number; or two ways to run.
    """
    given = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in OPTIONS:
            given[name] = value if equals else None
    for name in (SWEEP, HALVING, SLURM, REPORT):
        if given.get(name) is not None:
            raise InputError(f"{name} takes no value, got {given[name]!r}")
    for name, least in ((JOB, 0), (PROFILE, 1)):
        value = given.get(name, str(least)) or ""
        if not value.isdecimal() or int(value) < least:
            raise InputError(f"{name}=N must be a whole number of at least {least}, got {value!r}")
    ways = [name for name in (RAY, SLURM, JOB, REPORT) if name in given]
    if len(ways) > 1:
        raise InputError(f"{' and '.join(ways)} do not go together; give one of them")
    if HALVING in given and RAY not in given:
        raise InputError(f"{HALVING} is done by Ray Tune; give {RAY} as well")
    if PROFILE in given and len(given) > 1:
        raise InputError(f"{PROFILE} traces a single training; leave out the options of sweeps")


def is_sweep(arguments: list[str]) -> bool:
    """Whether any of the options of a sweep is among the arguments."""
    return any(argument.partition("=")[0] in OPTIONS[:-1] for argument in arguments)


def spelt_out(argv: list[str]) -> list[str]:
    """The arguments with the address of a local Ray where none is named."""
    return [f"{RAY}={LOCAL}" if argument in (RAY, f"{RAY}=") else argument for argument in argv]
