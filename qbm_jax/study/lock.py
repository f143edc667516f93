"""One process a folder: a lock that the operating system takes back when its holder dies."""

import atexit
import errno
import fcntl
import logging
import os
import socket
import time
from pathlib import Path

from qbm_jax.errors import InputError

LOGGER = logging.getLogger("qbm_jax")
LOCK = ".lock"  # names its holder; it goes at the end of a run, unless the run was killed
UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
ATTEMPTS, PAUSE = 5, 0.05  # seconds: another process's check has the lock for a moment
_held: dict[Path, int] = {}  # lock file -> descriptor, of this process


class FolderLost(InputError):
    """The folder of a run is not where it was, so that nothing can be written for this run."""


def lock_folder(folder: Path, shared: bool = False) -> bool:
    """Locks a folder until this process ends or `release_locks`; a second call changes nothing.

    Several processes may share a folder, as the jobs of one sweep do; each then locks the folder of
    its own share of the work for itself.

    Args:
      folder: one that exists.
      shared: whether others may have it too, if they share as well.

    Returns:
      Whether the folder was locked now and nobody else is at work in it.

    Raises:
      InputError: another process has it; the message names its number and computer.
      OSError: the folder cannot be written.
    """
    path = folder.resolve() / LOCK
    if path in _held:
        if _is_current(path, _held[path]):
            return False
        os.close(_held.pop(path))  # the folder was removed and made again
    descriptor = _open_locked(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    alone = not shared or _alone(path, descriptor)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    _held[path] = descriptor
    return alone


def check_lock(folder: Path) -> None:
    """Raises an InputError if another process has the folder for itself; leaves no trace."""
    path = folder.resolve() / LOCK
    if path in _held or not path.exists():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _lock_or_refuse(path, descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def check_held(folder: Path) -> None:
    """Checks, before a file is written, that a folder locked by this process is still there.

    Raises:
      FolderLost: it was removed, renamed or made anew.
    """
    path = folder.resolve() / LOCK
    if path in _held and not _is_current(path, _held[path]):
        raise FolderLost(
            f"folder {folder} (or its {LOCK}) was removed or renamed while this run was at work "
            f"in it; nothing more is written; put it back or start the run anew"
        )


@atexit.register
def release_locks() -> None:
    """Gives back what this process holds; a lock file goes with its last holder."""
    while _held:
        path, descriptor = _held.popitem()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(path, descriptor):
                path.unlink()
        except OSError as error:  # others share it, or the folder can no longer be changed
            LOGGER.debug("%s stays: %s", path, error)
        os.close(descriptor)


def _open_locked(path: Path, operation: int) -> int:
    """The open and locked file; made anew where its last holder removed it in between."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock_or_refuse(path, descriptor, operation)
        except BaseException:
            os.close(descriptor)
            raise
        if _is_current(path, descriptor):
            return descriptor
        os.close(descriptor)


def _alone(path: Path, descriptor: int) -> bool:
    """Whether nobody else shares a lock that this process has, and has again at the end."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # others have it, or there are no locks here
        return False
    finally:
        _lock_or_refuse(path, descriptor, fcntl.LOCK_SH)
    return True


def _lock_or_refuse(path: Path, descriptor: int, operation: int) -> None:
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(PAUSE)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            LOGGER.warning(
                "%s: this file system has no locks (%s); start no second run there",
                path.parent, error.strerror,
            )  # fmt: skip
            return
    holder = os.pread(descriptor, 200, 0).decode() or "another process"
    raise InputError(
        f"folder {path.parent} is in use by {holder}; wait for its end, stop it, or use another "
        f"folder"
    )


def _is_current(path: Path, descriptor: int) -> bool:
    """Whether an open lock file is the one that the folder has."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
