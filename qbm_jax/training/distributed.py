"""Several processes, on one or many hosts, that train one model together.

Every process runs the same program. After `start` JAX sees the devices of all, and a mesh
(`sharding.build_mesh`) spans them. The process with number 0 writes what is written.
"""

import contextlib
import logging
import os
import re
import socket
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax._src import clusters  # what "auto" finds is told nowhere else
from jax.experimental import multihost_utils

from qbm_jax.errors import InputError
from qbm_jax.training import rendezvous

DETECT = "auto"
_BIND = "JAX_COORDINATOR_BIND_ADDRESS"
LOST_EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later
_PATIENCE_SECONDS = 86400  # at the end, for the process that scores and reports
LOGGER = logging.getLogger("qbm_jax")
# How failures begin that XLA's collectives and JAX's coordination service report.
_LOST = re.compile(
    r"(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): "
)


def start(
    coordinator: str,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout_seconds: int = 300,
    heartbeat_seconds: int = 100,
) -> None:
    """Joins this process with the others; call it before anything else asks JAX for a device.

    Args:
      coordinator: host:port of process 0, which listens at that address alone (or at that of
        JAX_COORDINATOR_BIND_ADDRESS, where others reach it by another name); or "auto":
        coordinator, number and process are what JAX finds out by itself on Slurm, GKE, TPU pods
        and under MPI. It listens as `detected_address` says.
      num_processes: how many there are.
      process_id: number of this one, 0 to num_processes - 1.
      timeout_seconds: how long to wait for the coordinator, and it for the others. A signal ends
        the waiting, except with "auto", where JAX itself waits.
      heartbeat_seconds: a process that is silent for so long counts as lost.

    Raises:
      InputError: an address or a number cannot be used, JAX finds no cluster, devices are in use
        already, or a process does not come in time.
    """
    arguments: dict[str, Any]
    if coordinator == DETECT:
        if num_processes is not None or process_id is not None:
            raise InputError(
                f"expected coordinator {DETECT} alone, got num_processes {num_processes} and "
                f"process_id {process_id} with it; give host:port with them"
            )
        bind = detected_address(timeout_seconds)
        arguments = {} if bind is None else {"coordinator_bind_address": bind}
    else:
        _check_explicit(coordinator, num_processes, process_id)
        # JAX itself would listen on all interfaces, to whoever can reach this host.
        own = os.environ.get(_BIND, coordinator)
        assert num_processes is not None and process_id is not None, "checked"
        if process_id == 0:
            rendezvous.gather(own, num_processes, timeout_seconds)
        else:
            rendezvous.attend(coordinator, process_id, num_processes, timeout_seconds)
            _await_coordinator(coordinator, timeout_seconds)
        arguments = {
            "coordinator_address": coordinator,
            "coordinator_bind_address": own,
            "num_processes": num_processes,
            "process_id": process_id,
        }
    # Its handler of SIGTERM would replace that of the run, which saves its state.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=timeout_seconds,
            heartbeat_timeout_seconds=heartbeat_seconds,
            shutdown_timeout_seconds=_PATIENCE_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(
            f"could not join the other processes through coordinator {coordinator} ({reason}); "
            f"give coordinator=host:port, num_processes and process_id to every one"
        ) from error
    if not is_primary():
        LOGGER.setLevel(logging.WARNING)


def detected_address(timeout_seconds: int) -> str | None:
    """Where the coordinator that JAX detects on a cluster is to listen.

    That is the address of JAX_COORDINATOR_BIND_ADDRESS, or the name under which the cluster tells
    the others of it. That name may not be this host's own, or may mean this computer alone; the
    others then cannot reach it, so the coordinator listens on all interfaces, and the log says so.

    Args:
      timeout_seconds: how long a cluster may take to answer.

    Returns:
      host:port; None where JAX decides, and where this is not process 0.
    """
    if _BIND in os.environ:
        return os.environ[_BIND]
    given = os.environ.get("JAX_COORDINATOR_ADDRESS")
    try:
        detect = clusters.ClusterEnv.auto_detect_unset_distributed_params
        address, _, process_id, _ = detect(given, None, None, None, None, timeout_seconds)
    except Exception:  # whatever a cluster's tools raise, JAX meets it again and it is told then
        return None
    if address is None or process_id != 0 or rendezvous.is_own(address):
        return address if process_id == 0 else None
    LOGGER.warning(
        "the coordinator listens on all interfaces: the other processes cannot reach it at what "
        "%s means here; set %s=ADDRESS:PORT to one that they reach",
        address, _BIND,
    )  # fmt: skip
    return None


def _check_explicit(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
    """Checks address and numbers.

    Raises:
      InputError: one of them is missing or out of range.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"expected coordinator as host:port or {DETECT}, got {coordinator!r}")
    if num_processes is None or process_id is None:
        raise InputError(
            f"expected num_processes and process_id with coordinator {coordinator}, got "
            f"{num_processes} and {process_id}"
        )
    if not 0 <= process_id < num_processes:
        raise InputError(
            f"expected process_id in 0 to num_processes - 1, got {process_id} of {num_processes}"
        )


def _await_coordinator(coordinator: str, timeout_seconds: int) -> None:
    """Waits until something listens there: JAX would end the process with a stack trace.

    Raises:
      InputError: nothing listens there in time.
    """
    address = rendezvous.split_address(coordinator)
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            socket.create_connection(address, timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise InputError(
                    f"nothing answers at coordinator {coordinator} within {timeout_seconds} s "
                    f"({error}); start process 0 on that host, with the same address"
                ) from error
            time.sleep(0.2)


def is_primary() -> bool:
    """Whether this process writes metrics, scores and reports; a single process always does."""
    return jax.process_index() == 0


def wait_for_primary(what: str) -> None:
    """Waits until all processes have come here; process 0 has then written its files."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def check_agreement(what: str, facts: str) -> None:
    """Checks that all processes were started with the same facts; every process must call it.

    Args:
      what: the facts in words, for the message.
      facts: the facts as text.

    Raises:
      InputError: they differ from those of process 0.
    """
    if jax.process_count() == 1:
        return
    digest = np.array(zlib.crc32(facts.encode()), np.uint32)
    found = np.ravel(multihost_utils.process_allgather(digest))
    differing = np.flatnonzero(found != found[0])
    if differing.size:
        raise InputError(
            f"expected the same {what} in all processes, process {differing[0]} has another than "
            f"process 0; start all of them with the same command but for --process_id"
        )


def any_process(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Makes one answer for all processes from a question: yes if any process says yes."""
    if jax.process_count() == 1:
        return ask
    return lambda: bool(np.any(multihost_utils.process_allgather(np.array(ask()))))


@contextlib.contextmanager
def ends_with_the_others(*agreed: type[Exception]) -> Iterator[None]:
    """Ends this process when another one is lost; a process alone is left as it is.

    It then ends with one line and exit code 75, and saved states are intact. A process that fails
    itself ends at once as well, so that the others learn of it: an orderly end would wait for
    them, and they would wait for it.

    Args:
      *agreed: errors that all processes raise together, such as `TrainingStopped`; these pass.
    """
    try:
        yield
    except Exception as error:  # whatever ends this process keeps the others waiting
        if jax.process_count() == 1 or isinstance(error, agreed):
            raise
        if _is_loss(error):
            code, reason = LOST_EXIT_CODE, str(error).splitlines()[0][:200]
            text = (
                f"error: process {jax.process_index()} lost another process of this run "
                f"({reason}); start all of them again: they go on from the last checkpoint"
            )
        elif isinstance(error, InputError):
            code, text = 2, f"error: {error}"
        else:
            code, text = 1, traceback.format_exc()
        print(text, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _is_loss(error: Exception) -> bool:
    """Whether a failure is one of communication, or was caused by one, as in a save."""
    chain = (error, error.__cause__, error.__context__)
    return any(_LOST.search(str(part)) for part in chain if part is not None)
