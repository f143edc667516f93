"""Signals while processes meet and while a model is trained; the address of the meeting."""

import os
import pty
import signal
import socket
import subprocess
import sys
import time

import pytest
from command_line import ROOT, config, launched, run
from ports import free_port

from experiments.kit import launch
from experiments.kit.stop import StopRequest

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


@pytest.mark.parametrize("stopped", [True, False])
def test_an_interrupt_that_compiled_code_turns_into_its_own_error_is_a_stop(
    stopped, tmp_path, monkeypatch, capsys
):
    def fails(config, workdir, stop):
        del config, workdir
        if stopped:
            stop.signal = signal.SIGTERM
        raise SystemError("CPUDispatcher returned a result with an exception set")

    monkeypatch.setitem(launch.EXPERIMENTS, "integration", fails)
    with pytest.raises(SystemExit if stopped else SystemError) as caught:
        run(config(), tmp_path / "run")
    if stopped:
        assert caught.value.code == 128 + signal.SIGTERM
        assert capsys.readouterr().err == "stopped; the same command goes on from there\n"
