"""Signals while processes meet and while a model is trained; where the coordinator listens."""

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from command_line import ROOT, launched

from experiments.kit.stop import StopRequest
from qbm_jax.errors import InputError
from qbm_jax.training import rendezvous

MEETING = """
import sys
from experiments.kit.stop import StopRequest
from qbm_jax.training import distributed
stop = StopRequest()
try:
    distributed.start(sys.argv[1], 2, int(sys.argv[2]), timeout_seconds=60)
    print("met", flush=True)
    sys.stdin.read()
except KeyboardInterrupt:
    print("stopped", file=sys.stderr)
    raise SystemExit(128 + stop.signal)
"""
TRAINING = """
import sys, time
from experiments.kit.stop import StopRequest
stop = StopRequest()
try:
    with stop.deferred():
        print("training", file=sys.stderr, flush=True)
        for _ in range(600):
            print("a bar", file=sys.stderr, flush=True)
            if stop():
                open(sys.argv[1], "w").write("saved")
                break
            time.sleep(0.02)
except KeyboardInterrupt:
    raise SystemExit(128 + stop.signal)
"""

COLLECTING = """
import gc, os, signal, sys, time
from experiments.kit.stop import StopRequest
stop, dropped = StopRequest(), []
def signalled(phase, info):  # as JAX has one: what is raised in it is dropped
    if not dropped:
        dropped.append(True)
        signal.raise_signal(int(sys.argv[1]))
        time.sleep(0)
gc.callbacks.append(signalled)
try:
    gc.collect()
    time.sleep(10)
except KeyboardInterrupt:
    raise SystemExit(128 + stop.signal)
"""


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def meeting(address, number):
    return subprocess.Popen(
        [sys.executable, "-c", MEETING, address, str(number)], cwd=ROOT, text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def listening(port):
    """Local addresses, in hex as the kernel lists them, of sockets that listen at a port."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            with open(table) as lines:
                rows = [line.split() for line in lines][1:]
            places = (row[1].split(":") for row in rows if row[3] == "0A")
            found |= {address for address, number in places if int(number, 16) == port}
    return found


def wait_until_listening(port, process):
    for _ in range(1200):
        if found := listening(port):
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("nothing listens")


LOOPBACK = {
    "0100007F",
    "0000000000000000FFFF00000100007F",
    "00000000000000000000000001000000",
}


@pytest.mark.parametrize("number", [0, 1])
def test_an_interrupt_ends_the_waiting_for_other_processes_at_once(number):
    port = free_port()
    process = meeting(f"localhost:{port}", number)
    if number == 0:
        assert wait_until_listening(port, process) <= LOOPBACK
    else:
        with socket.create_server(("localhost", port)) as silent:
            silent.settimeout(60)
            connection = silent.accept()[0]
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - start < 5
    assert (process.returncode, errors) == (128 + signal.SIGINT, "stopped\n")
    if number:
        connection.close()


@pytest.mark.slow
def test_processes_meet_and_the_coordinator_listens_at_the_named_host_alone():
    port = free_port()
    processes = [meeting(f"localhost:{port}", number) for number in (0, 1)]
    try:
        assert [process.stdout.readline() for process in processes] == ["met\n"] * 2
        found = listening(port)
        assert found and found <= LOOPBACK
    finally:
        for process in processes:  # the end of one waits for that of the other
            process.stdin.close()
            process.stdin = None
        errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_within_training_a_signal_is_remembered_until_the_state_is_saved(number):
    with launched():
        stop = StopRequest()
        with pytest.raises(KeyboardInterrupt), stop.deferred():
            signal.raise_signal(number)
            assert stop()
    assert stop.signal == number


def test_a_run_under_nohup_outlives_its_terminal():
    with launched():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stop = StopRequest()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        with stop.deferred():
            signal.raise_signal(signal.SIGHUP)
            assert not stop()


def test_a_run_whose_terminal_is_closed_saves_although_it_cannot_write_there(tmp_path):
    saved = tmp_path / "saved"
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", TRAINING, str(saved)])
    text = b""
    while b"a bar" not in text:
        text += os.read(terminal, 1000)
    os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert saved.read_text() == "saved"
    assert code == 128 + signal.SIGHUP


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_meets_a_callback_of_the_garbage_collector_is_not_lost(number):
    done = subprocess.run(
        [sys.executable, "-c", COLLECTING, str(int(number))], cwd=ROOT, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (128 + number, "")
