r"""A device in a process of its own, which speaks lines of JSON over its standard streams.

So a closed SDK, with an interpreter and a licence of its own, stays apart. The worker first writes

    {"protocol": 1, "max_spins": 600}

(null: no limit), then answers every line that it reads. Asked for

    {"id": 7, "num_reads": 100, "seed": 5, "linear": [a_0, ...], "quadratic": [[i, j, b_ij], ...]}

it writes spins -1 and +1 of that many low energies sum a_i s_i + sum b_ij s_i s_j, or why not:

    {"id": 7, "spins": [[1, -1, ...], ...]}
    {"id": 7, "error": "no licence"}

It ends when its standard input does. What it says to people belongs on its standard error.
"""

import json
import subprocess
import threading
from typing import Any

import numpy as np

from qbm_jax.errors import InputError, visible
from qbm_jax.machine.opposite_sign import Biases
from qbm_jax.runtime.options import shown
from qbm_jax.samplers.devices.failures import DeviceError
from qbm_jax.samplers.devices.machine import Device

PROTOCOL = 1


def worker_device(command: Any, arguments: dict[str, Any]) -> Device:
    """The device of a worker, started when it is first asked and whenever it has ended.

    Args:
      command: the words that start it, such as ["python3.10", "my_worker.py"].
      arguments: none; a worker takes its own on its command line.

    Raises:
      InputError: the command is no list of words, or there are arguments.
    """
    words = [command] if isinstance(command, str) else command
    words = list(words) if isinstance(words, list | tuple) else []
    if not words or not all(isinstance(word, str) and word for word in words):
        raise InputError(
            f"expected the words of a command that starts a worker, got {shown(command)}"
        )
    if arguments:
        raise InputError("a worker takes no arguments=; put them into its command")
    worker = _Worker(words)
    return Device(worker.draw, worker.max_spins, worker.end)


class _Worker:
    """The process, if it runs, and the number of the last request."""

    def __init__(self, words: list[str]):
        self.words = words
        self.process: subprocess.Popen | None = None
        self.greeting: dict[str, Any] = {}
        self.last = 0
        self.lock = threading.Lock()

    def max_spins(self) -> int | None:
        """The most spins it takes, as it said when it started."""
        with self.lock:
            self._start()
            return self.greeting.get("max_spins")

    def draw(self, sent: Biases, num_reads: int, seed: int) -> np.ndarray:
        """The answer to one request.

        Raises:
          DeviceError: the worker says why not, ends, or breaks the protocol.
        """
        with self.lock:
            self._start()
            self.last += 1
            pairs = zip(*(each.tolist() for each in sent[1:]), strict=True)
            request = {
                "id": self.last, "num_reads": num_reads, "seed": seed,
                "linear": sent.linear.tolist(), "quadratic": [list(pair) for pair in pairs],
            }  # fmt: skip
            answer = self._exchange(request)
        if answer.get("error") is not None:
            raise DeviceError(f"the worker says: {visible(str(answer['error']))}")
        try:
            return np.asarray(answer["spins"], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise self._broken(f"an answer without rows of spins, {shown(answer)}") from error

    def _start(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(
                self.words, stdin=pipe, stdout=pipe, text=True, encoding="utf-8", errors="replace"
            )
        except OSError as error:
            raise DeviceError(
                f"expected a worker, cannot start {self.words[0]!r}: {error}"
            ) from error
        self.greeting = self._line()
        if self.greeting.get("protocol") != PROTOCOL:
            raise self._broken(f"a first line without protocol {PROTOCOL}, {shown(self.greeting)}")
        most = self.greeting.get("max_spins")
        if most is not None and (type(most) is not int or most < 1):
            raise self._broken(f"max_spins that are no number of spins, {shown(most)}")

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process is not None and self.process.stdin is not None, "_start has started it"
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise self._broken("the end of its input") from error
        answer = self._line()
        if answer.get("id") != request["id"]:
            raise self._broken(f"an answer to another request, {shown(answer)}")
        return answer

    def _line(self) -> dict[str, Any]:
        assert self.process is not None and self.process.stdout is not None, "_start has started it"
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise DeviceError(f"the worker {self.words[0]!r} ended with exit code {code}")
        try:
            found = json.loads(line)
        except ValueError as error:
            raise self._broken(f"no JSON, {shown(line)}") from error
        if not isinstance(found, dict):
            raise self._broken(f"no JSON object, {shown(line)}")
        return found

    def end(self) -> None:
        """Ends a worker whose next line nobody could place; the next request starts another."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _broken(self, got: str) -> DeviceError:
        self.end()
        return DeviceError(f"expected the worker's protocol, got {got}")
