"""Files that appear whole or not at all."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from qbm_jax.errors import InputError


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place once the block has ended well.

    A file or folder that was there is replaced; after an error it is as it was.

    Raises:
        InputError: the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    _remove(temporary)
    try:
        yield temporary
        if path.is_dir():  # a folder cannot be replaced in one step
            _remove(path)
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"could not write {path}: {error}; check its folder and the space left"
        ) from error
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
