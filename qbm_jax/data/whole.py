"""Large files that are written whole or not at all, and what the user is told if not."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from qbm_jax.errors import InputError
from qbm_jax.runtime.whole_file import whole_file


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Writes as `whole_file`, with one line for the user where the place cannot be written.

    Raises:
      InputError: the place cannot be written.
    """
    try:
        with whole_file(path) as temporary:
            yield temporary
    except OSError as error:
        raise InputError(
            f"could not write {path}: {error}; check its folder and the space left"
        ) from error
