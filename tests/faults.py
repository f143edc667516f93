"""Faults put into Python's calls to the file system: errors at the k-th call, states left by kills.

    with failing(folder, at=3): save()          # the third call fails
    states = killed_everywhere(folder, save)    # copies of the folder, one before every call

A process that is killed leaves what the file system has; a copy of the folder just before a call is
that state. A write is torn: the copy holds half of its bytes, and half are there when it fails.
Calls that libraries in C make (HDF5, tensorstore) are not seen.
"""

import builtins
import contextlib
import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

CALLS = ("rename", "replace", "mkdir", "unlink", "remove", "rmdir", "fsync", "truncate")
TAKE_ROOM = ("open", "write", "mkdir")  # what a full disk refuses
_OPEN, _REAL = io.open, {name: getattr(os, name) for name in CALLS}
Hook = Callable[[str, str], None]  # (call, path): called before it; raises to make it fail


@contextlib.contextmanager
def watched(folder: Path, hook: Hook) -> Iterator[None]:
    """Calls `hook` before every call that changes something in `folder`."""
    inside = f"{Path(folder).absolute()}"

    def within(path: object) -> str | None:
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if isinstance(path, int):
            text = os.readlink(f"/proc/self/fd/{path}")
        return text if os.path.abspath(text).startswith(inside) else None

    def seen(name: str) -> Callable:
        def call(path: object, *arguments: object, dir_fd: int | None = None, **options: object):
            at = path if dir_fd is None else f"{os.readlink(f'/proc/self/fd/{dir_fd}')}/{path}"
            if (text := within(at)) is not None:
                hook(name, text)
            options |= {} if dir_fd is None else {"dir_fd": dir_fd}
            return _REAL[name](path, *arguments, **options)

        return call

    class Torn(io.FileIO):
        def write(self, content):
            try:
                hook("write", str(self.name))
            except BaseException:
                super().write(bytes(content)[: len(content) // 2])
                raise
            half = len(content) // 2
            if half == 0:
                return super().write(content)
            super().write(bytes(content)[:half])
            hook("torn", str(self.name))
            return half + super().write(bytes(content)[half:])

    def opened(path, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **options):
        if within(path) is None or not set(mode) & set("wax+") or isinstance(path, int):
            return _OPEN(path, mode, buffering, encoding, errors, newline, **options)
        hook("open", os.fsdecode(path))
        raw = Torn(os.fspath(path), mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding, errors, newline)

    with contextlib.ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(mock.patch.object(os, name, seen(name)))
        stack.enter_context(mock.patch.object(io, "open", opened))
        stack.enter_context(mock.patch.object(builtins, "open", opened))
        yield


class Fault:
    """Makes the call number `at` (from 1) fail, or from there on all that need room.

    Attributes:
      calls: how many there were; the fault happened if they are at least `at`.
    """

    def __init__(self, at: int, full: bool = False):
        self.calls = 0
        self._at, self._full = at, full

    def __call__(self, name: str, path: str) -> None:
        if name == "torn":
            return
        self.calls += 1
        if self._full and self.calls >= self._at and name in TAKE_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if not self._full and self.calls == self._at:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    @property
    def happened(self) -> bool:
        return self.calls >= self._at


def every_fault(folder: Path, save: Callable[[], None], step: int = 1) -> Iterator[bool]:
    """Saves with a fault at every `step`-th call, as a bad and as a full disk, until none is left.

    Yields:
      Whether the save said that it failed, after each.
    """
    for full in (False, True):
        for at in range(1, 100_000, step):
            fault = Fault(at, full)
            said = False
            try:
                with watched(folder, fault):
                    save()
            except (OSError, ValueError):  # of the user's errors InputError is one
                said = True
            if not fault.happened:
                break
            yield said


def killed_everywhere(
    folder: Path, action: Callable[[], None], into: Path, wanted: Callable[[str, str], bool]
) -> list[Path]:
    """Acts once, and keeps the state of `folder` before every call that is wanted.

    Args:
      folder: what is copied.
      action: what is done.
      into: where the copies go, outside of `folder`.
      wanted: (call, path) -> whether to keep the state before it.
    """
    states: list[Path] = []
    busy = False

    def keep(name: str, path: str) -> None:
        nonlocal busy
        if busy or not wanted(name, path):
            return
        busy = True  # the copy's own calls are none of the action's
        state = into / f"{len(states):03d}-{name}-{Path(path).name}"[:80]
        states.append(state)
        if folder.exists():
            # Locks of libraries in C come and go in their own threads, in the midst of a copy.
            locks = shutil.ignore_patterns("*.__lock")
            shutil.copytree(folder, state, symlinks=True, ignore=locks, copy_function=copied)
        else:
            state.mkdir(parents=True)
        busy = False

    def copied(source: str, target: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # what a thread removed is in no state
            shutil.copy2(source, target)

    into.mkdir(parents=True, exist_ok=True)
    with watched(folder, keep):
        action()
    return states


def flip(path: Path, offset: int, bit: int) -> None:
    """Turns one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(bytes(content))
