"""Where processes meet: who did not come is named, and all leave together."""

import socket
import threading
import time

import pytest
from ports import free_port

from qbm_jax.errors import InputError
from qbm_jax.training import rendezvous


def test_processes_that_do_not_come_are_named_and_strangers_are_not_counted():
    address = f"localhost:{free_port()}"
    failures = []

    def gather():
        try:
            rendezvous.gather(address, 4, 1.5)
        except InputError as error:
            failures.append(str(error))

    waiting = threading.Thread(target=gather)
    waiting.start()
    time.sleep(0.3)
    place = rendezvous.split_address(address)
    stranger, second, gone = (socket.create_connection(place) for _ in range(3))
    stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    second.sendall(b"qbm_jax process 2 of 4\n")
    gone.sendall(b"qbm_jax process 3 of 4\n")
    time.sleep(0.2)
    gone.close()
    waiting.join()
    (line,) = failures
    assert line.startswith(f"process 1, 3 of 4 did not come to coordinator {address}")
    stranger.close()
    second.close()


def test_all_processes_leave_the_meeting_together():
    address, left = f"localhost:{free_port()}", []
    others = [
        threading.Thread(
            target=lambda n=number: (rendezvous.attend(address, n, 3, 20), left.append(n))
        )
        for number in (1, 2)
    ]
    others[0].start()
    time.sleep(0.3)
    assert not left
    others[1].start()
    rendezvous.gather(address, 3, 20)
    for other in others:
        other.join()
    assert sorted(left) == [1, 2]


def test_a_coordinator_on_another_host_is_one_line():
    with pytest.raises(InputError, match=r"process 0 cannot listen at coordinator 192\.0\.2\.1:9"):
        rendezvous.gather("192.0.2.1:9876", 2, 1)
