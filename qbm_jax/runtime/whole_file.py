"""Files (and folders) that are there whole or not at all."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX, _SUFFIX = ".unfinished-", ".tmp"
_ASIDE = ".old"  # ends the name of a folder while another takes its place


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a path to write to; it takes the place of `path` if all went well.

    The path lies in a new folder beside `path` that has a random name and belongs to this process
    alone, so that nobody else can have put a file or a link there. What was written is on the disk
    before it takes its place, and so is the new name when the block ends. A folder may be written
    as well; the one that it replaces is moved aside first. If anything is raised, `path` is as it
    was, and what was written is removed: a full disk would otherwise stay as full as it was.

    Raises:
      OSError: as raised while writing, with `path` as its file name where it had none.
    """
    with _beside(path) as temporary:
        yield temporary
        _sync(temporary)
        _exchange(temporary, path)
        _sync_one(path.parent)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yields a path of that name in a new folder beside it, which goes when the block ends."""
    try:
        own = Path(tempfile.mkdtemp(prefix=_PREFIX, suffix=_SUFFIX, dir=path.parent))
    except OSError as error:
        error.filename = str(path)
        raise
    try:
        yield own / path.name
    except OSError as error:
        if error.filename is None or str(error.filename).startswith(str(own)):
            error.filename = str(path)
        raise
    finally:
        remove(own)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a text (as UTF-8, with its line ends as they are) or bytes, whole or not at all.

    Raises:
      OSError: as `whole_file`.
    """
    content = content.encode("utf-8") if isinstance(content, str) else content
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def first_file(path: Path) -> Iterator[Path]:
    """Yields a path to write a file to, whole; it gets the name `path` unless there is one.

    Of several processes that do so at once just one file gets the name, and it stays; where the
    file system has no links, the last of those that saw none.

    Raises:
      OSError: as `whole_file`.
    """
    with _beside(path) as temporary:
        yield temporary
        _sync(temporary)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        except OSError:
            if not path.exists():
                temporary.replace(path)
        _sync_one(path.parent)


def remove(path: Path) -> None:
    """Removes a file or a folder, if there is one; a link goes, what it points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Removes what killed processes left half written in `folder`; nobody else may write there."""
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        remove(path)


def is_unfinished(path: Path) -> bool:
    """Whether the name is one that `whole_file` gives to what is being written."""
    return path.name.startswith(_PREFIX) and path.name.endswith(_SUFFIX)


def _exchange(temporary: Path, path: Path) -> None:
    """Puts `temporary` in the place of `path`; a folder there is kept until that has happened."""
    if not path.is_dir() or path.is_symlink():
        temporary.replace(path)
        return
    if not temporary.is_dir():  # moved aside, the folder would go with all that is in it
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    aside = temporary.with_name(temporary.name + _ASIDE)
    path.rename(aside)
    try:
        temporary.rename(path)
    except BaseException:
        aside.rename(path)
        raise


def _sync(path: Path) -> None:
    """Forces a file, or a folder with all that is in it, to the disk."""
    if path.is_dir():
        for inner in path.rglob("*"):
            _sync_one(inner)
    _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
