"""The command line's options for several processes, and the devices that a config asks for."""

import logging
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from qbm_jax.errors import InputError
from qbm_jax.training import distributed
from qbm_jax.training.sharding import build_mesh

COORDINATOR, NUM, ID = "--coordinator", "--num_processes", "--process_id"
OPTIONS = (COORDINATOR, NUM, ID)
LOGGER = logging.getLogger("qbm_jax")


class Processes(NamedTuple):
    """What `distributed.start` needs; no coordinator where this process is alone."""

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


ALONE = Processes()


def check(arguments: list[str]) -> None:
    """Checks the values of `OPTIONS` among the arguments.

    Raises:
      InputError: numbers without a coordinator, or what is no number.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    for name in (NUM, ID):
        if name in given and not given[name].isdecimal():
            raise InputError(f"{name}=N must be a whole number, got {given[name]!r}")
        if name in given and COORDINATOR not in given:
            raise InputError(f"{name} needs {COORDINATOR}=HOST:PORT, or {distributed.DETECT} alone")


def join(processes: Processes, config: ConfigDict, alone: bool) -> None:
    """Joins the others, if there are any, before a device is asked for.

    Args:
      processes: from the command line.
      config: of the run.
      alone: whether what is to be done, such as a sweep, has no use for others.

    Raises:
      InputError: they cannot be joined, or the experiment does not train on several devices.
    """
    if config.experiment != "integration" or alone:
        devices = config.get("devices", {"data": 1, "spins": 1})
        if processes.coordinator is not None or (devices["data"], devices["spins"]) != (1, 1):
            raise InputError(
                f"several devices and processes are for experiment integration without sweeps and "
                f"traces, got {config.experiment}; leave out {COORDINATOR} and config.devices"
            )
    if processes.coordinator is None:
        return
    LOGGER.info("waiting for the other processes at %s", processes.coordinator)
    distributed.start(processes.coordinator, processes.num_processes, processes.process_id)
    LOGGER.info("%d processes, %d devices", jax.process_count(), jax.device_count())


def mesh_of(config: ConfigDict) -> Mesh | None:
    """The mesh that the config asks for; None for the default device alone.

    Raises:
      InputError: its sizes do not fit the devices.
    """
    sizes = (config.devices.data, config.devices.spins)
    if sizes == (1, 1) and jax.process_count() == 1:
        return None
    return build_mesh(*sizes)
