"""Files (and folders) that are there whole or not at all."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; it takes the place of `path` if all went well.

    A folder may be written as well; it is replaced in two steps. If anything is raised, `path` is
    as it was, and what was written is removed: a full disk would otherwise stay as full as it was.

    Raises:
      OSError: as raised while writing, with `path` as its file name where it had none.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        if path.is_dir():
            remove(path)
        temporary.replace(path)
    except BaseException as error:
        remove(temporary)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def remove(path: Path) -> None:
    """Removes a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
