"""Finished pieces of an experiment, one JSON file each: what is there is not computed again."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qbm_jax.errors import InputError
from qbm_jax.runtime import keys
from qbm_jax.runtime.compiled import release_compiled
from qbm_jax.runtime.keys import key_of
from qbm_jax.runtime.options import shown
from qbm_jax.runtime.user_cache import expand_home
from qbm_jax.study.claim import owner
from qbm_jax.study.sealed_file import file_name, read_sealed, write_sealed

LOGGER = logging.getLogger("qbm_jax")
FOLDER = "results"


class Pieces:
    """The pieces of one study, in the order in which they were asked for.

    A piece is a dict: `section`, what it is of, what was measured, and the `seconds` it took.
    """

    def __init__(self, folder: str | Path, seed: int):
        """Opens (or begins) the folder of pieces."""
        folder = self._folder = expand_home(folder)
        self._results = folder / FOLDER
        self._results.mkdir(parents=True, exist_ok=True)
        self._key = key_of(seed, "piece")
        # A run's claim names the seed. Nothing else does in a folder that nobody has claimed.
        self._root = {} if owner(folder) else {"root seed": int(seed)}
        self.all: list[dict[str, Any]] = []
        self._paths: dict[str, Path] = {}  # by the name that a piece's key is derived from

    def path(self, section: str, names: dict[str, Any]) -> Path:
        """The file of the piece of these names."""
        return self._results / f"{file_name(section, *names.values())}.json"

    def measure(
        self,
        section: str,
        names: dict[str, Any],
        compute: Callable[..., dict[str, Any]],
        given: dict[str, Any] | None = None,
        keeps: bool = False,
    ) -> dict[str, Any]:
        """The piece of these names: read if it is there, else computed and written.

        A file that is damaged, was edited, or is of another run, seed or other names is made again.

        Args:
          section: part of the experiment.
          names: what the piece is of, such as its model and sampler.
          compute: key -> measurements; the key depends on the names alone, not on what ran before.
          given: what else the measurements depend on; a piece with other facts is made again.
          keeps: whether `compute` also takes a file in which it may keep what it has trained so
            far; an interrupted piece finds it there again, and it goes when the piece is written.

        Raises:
          InputError: the folder was removed or renamed, or the measurements are no dict of numbers,
            arrays, texts, lists and dicts.
          ValueError: names that an earlier piece has but for where hyphens part them.
        """
        name = "-".join([section, *(str(value) for value in names.values())])
        path = self.path(section, names)
        if self._paths.setdefault(name, path) != path:
            raise ValueError(f"two pieces would share the key of {name}; give them other names")
        of = {"section": section, **names, **(given or {})}
        sealed = of | self._root
        piece = read_sealed(path, self._folder, sealed)
        if piece is None:
            start = time.perf_counter()
            kept = path.with_suffix(".npz")
            measured = compute(keys.named(self._key, name), *([kept] if keeps else []))
            if not isinstance(measured, Mapping):
                raise InputError(f"{name}: expected a dict of measurements, got {shown(measured)}")
            seconds = {"seconds": time.perf_counter() - start}
            write_sealed(path, {**of, **measured, **seconds}, self._folder, sealed)
            kept.unlink(missing_ok=True)
            release_compiled()  # an experiment compiles more programs than a process can hold
            # so that a resumed run sees just what the first one saw
            piece = read_sealed(path, self._folder, sealed)
            assert piece is not None, f"{path} was written and cannot be read"
            LOGGER.info("%s (%.1f s)", name, seconds["seconds"])
        self.all.append(piece)
        return piece
