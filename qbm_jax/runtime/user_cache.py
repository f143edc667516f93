"""The user's cache folder: compiled programs, downloads and simulated cells are kept in it."""

import functools
import logging
import os
import tempfile
from pathlib import Path

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import shown

LOGGER = logging.getLogger("qbm_jax")
NAME = "qbm_jax"


def user_cache() -> Path:
    """`$XDG_CACHE_HOME/qbm_jax`, else `~/.cache/qbm_jax`, else a temporary folder of this user.

    The last is taken, and said in the log, where the user has no home or nothing can be written in
    it, as in a container that runs under a number without a name.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the standard wants any other value ignored
        return Path(given) / NAME
    try:
        folder = Path.home() / ".cache" / NAME
    except RuntimeError:
        return _temporary("this user has no home")
    return folder if _is_usable(folder) else _temporary(f"{folder} cannot be written")


def expand_home(path: str | Path) -> Path:
    """The path with the home in place of a leading `~`.

    Raises:
      InputError: it is no path, or there is no such home and no file of just this name.
    """
    try:
        if path == "" or b"\0" in os.fsencode(Path(path)):
            raise ValueError
    except (TypeError, ValueError) as error:
        raise InputError(f"expected a path as text, got {shown(path)}") from error
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        if os.path.exists(path):
            return Path(path)
        raise InputError(f"expected a path, got {str(path)!r}, but no such home") from error


def _is_usable(folder: Path) -> bool:
    """Whether the folder is there, even if for reading only, or can be made."""
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError:
        return False
    return existing == folder or os.access(existing, os.W_OK | os.X_OK)


@functools.cache  # said once
def _temporary(reason: str) -> Path:
    """The same folder for all processes of this user; a new one if that is somebody else's.

    Programs are run from it, so nobody else may have put one there.
    """
    folder = Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        is_ours = found.st_uid == os.getuid() and found.st_mode & 0o170077 == 0o040000
    except OSError:
        is_ours = False
    if not is_ours:
        folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
    LOGGER.warning(
        "%s: the cache is %s; set XDG_CACHE_HOME to a folder that outlives this computer", reason,
        folder,
    )  # fmt: skip
    return folder
