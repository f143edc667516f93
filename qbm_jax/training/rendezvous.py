"""Where the processes of one training meet, before JAX connects them.

JAX waits for the others in compiled code, where no signal is seen and where the end of its patience
ends the process with a stack trace. So they wait here, in sockets of our own: process 0 listens at
the coordinator's address until all others are there, lets them go, and leaves the port to JAX.
"""

import contextlib
import ipaddress
import logging
import selectors
import socket
import time

from qbm_jax.errors import InputError

LOGGER = logging.getLogger("qbm_jax")
_GO = b"go\n"
_PAUSE = 0.2  # seconds between two attempts to connect
_HELLO_SIZE = 64


def split_address(address: str) -> tuple[str, int]:
    """Host and port of host:port; an IPv6 address stands in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def is_own(address: str) -> bool:
    """Whether a process of this computer can listen at host:port, and others reach it there.

    A host's own name may mean the loopback interface, which no other computer reaches; "localhost"
    and the addresses of that interface say openly that no other computer is to come.
    """
    host = split_address(address)[0]
    try:
        family, *_, place = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        if ipaddress.ip_address(place[0]).is_loopback and host not in ("localhost", place[0]):
            return False
        socket.create_server(place[:2], family=family).close()
    except OSError:
        return False
    return True


def gather(address: str, num_processes: int, timeout_seconds: float) -> None:
    """Process 0: waits for all others, and then lets them go together.

    Args:
      address: host:port to listen at, and nowhere else.
      num_processes: how many there are, this one among them.
      timeout_seconds: how long to wait.

    Raises:
      InputError: this process cannot listen there, or a process did not come in time.
    """
    deadline = time.monotonic() + timeout_seconds
    present: dict[int, socket.socket] = {}
    with _listen(address) as listener, contextlib.ExitStack() as opened:
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while len(present) < num_processes - 1:
                ready = selector.select(max(deadline - time.monotonic(), 0))
                if not ready and time.monotonic() >= deadline:
                    missing = sorted(set(range(1, num_processes)) - set(present))
                    raise InputError(
                        f"process {', '.join(map(str, missing))} of {num_processes} did not come "
                        f"to coordinator {address} within {timeout_seconds} s; start all of them"
                    )
                for key, _ in ready:
                    if key.fileobj is listener:
                        connection = opened.enter_context(listener.accept()[0])
                        connection.settimeout(1)
                        selector.register(connection, selectors.EVENT_READ, connection)
                    else:
                        _hear(key.data, num_processes, present, selector)
        for connection in present.values():
            connection.sendall(_GO)
        for connection in present.values():  # who closes first keeps the port for a while
            with contextlib.suppress(OSError):
                connection.recv(1)


def _listen(address: str) -> socket.socket:
    """A socket that listens at this address alone.

    Raises:
      InputError: no host has the address, another host has it, or it is taken.
    """
    host, port = split_address(address)
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        raise InputError(
            f"process 0 cannot listen at coordinator {address} ({error.strerror}); give a name or "
            f"an address of its own host, and a port that is free"
        ) from error


def _hear(
    connection: socket.socket,
    num_processes: int,
    present: dict[int, socket.socket],
    selector: selectors.BaseSelector,
) -> None:
    """Counts a process as present when it says hello, and as absent when it hangs up."""
    try:
        words = connection.recv(_HELLO_SIZE)
    except OSError:
        words = b""
    for number in range(1, num_processes):
        if words == _hello(number, num_processes):
            present[number] = connection
            return
    if words:
        LOGGER.warning("something else than a process of this run spoke to the coordinator's port")
    selector.unregister(connection)
    connection.close()
    for number in [n for n, each in present.items() if each is connection]:
        del present[number]


def attend(address: str, process_id: int, num_processes: int, timeout_seconds: float) -> None:
    """Any other process: says hello to process 0 and waits until all are there.

    Raises:
      InputError: nobody answers there in time, or the others have begun without this one.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            with socket.create_connection(split_address(address), timeout=5) as connection:
                connection.sendall(_hello(process_id, num_processes))
                connection.settimeout(max(deadline - time.monotonic(), 0.01))
                if connection.recv(_HELLO_SIZE) == _GO:
                    return
                reason = "it does not wait for this process"
        except OSError as error:
            reason = str(error)
        if time.monotonic() > deadline:
            raise InputError(
                f"nothing answers at coordinator {address} within {timeout_seconds} s ({reason}); "
                f"start process 0 on that host, with the same address, and all others"
            )
        time.sleep(_PAUSE)


def _hello(process_id: int, num_processes: int) -> bytes:
    return f"qbm_jax process {process_id} of {num_processes}\n".encode()
