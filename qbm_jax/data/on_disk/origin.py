"""Batches of several files: by a column, by the file, or by both."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from qbm_jax.data.names import distinct, some, unique_name
from qbm_jax.errors import InputError

BATCH_OF = ("column", "file", "column_and_file")


def with_origin(
    obs: pd.DataFrame, column: str | None, paths: Sequence[Path], sizes: Sequence[int], by: str
) -> tuple[pd.DataFrame, str | None, list[str]]:
    """The cells' table with the column that gives their batch, its name, and notes.

    Args:
      obs: the table of all files [cells], one after another.
      column: column of the batch, or None.
      paths: the files.
      sizes: number of cells of each.
      by: "column": as the column says, so that equal names in two files are one batch. "file":
        each file is a batch. "column_and_file": equal names in two files are two batches.

    Raises:
      InputError: another word, or the column is needed and not given.
    """
    if by not in BATCH_OF:
        raise InputError(f"expected batch_of as one of {', '.join(BATCH_OF)}, got {by!r}")
    if by == "column_and_file" and column is None:
        raise InputError('batch_of "column_and_file" needs a batch_column; name one, or use "file"')
    files = np.repeat(np.arange(len(paths)), sizes)
    names = _distinct_names(paths)
    if by == "column":
        return obs, column, _note_on_meeting(obs, column, files, names)
    new = unique_name("file" if by == "file" else f"{column}_and_file", obs.columns)
    values = np.array(names, dtype=object)[files]
    if by == "column_and_file":
        codes, groups = distinct(obs[column])
        texts = np.array([*groups, None], dtype=object)[codes]
        joined = [None if t is None else f"{t} ({f})" for t, f in zip(texts, values, strict=True)]
        values = np.array(joined, dtype=object)
    return obs.assign(**{new: pd.Categorical(values)}), new, []


def _note_on_meeting(
    obs: pd.DataFrame, column: str | None, files: np.ndarray, names: Sequence[str]
) -> list[str]:
    """Says which batch names stand in more than one file."""
    if column is None or len(names) == 1:
        return []
    codes, groups = distinct(obs[column])
    pairs = np.unique(np.stack([codes, files])[:, codes >= 0], axis=1)
    in_files = np.bincount(pairs[0], minlength=len(groups))
    meeting = [group for group, number in zip(groups, in_files, strict=True) if number > 1]
    if not meeting:
        return []
    return [
        f"Batches of the same name in several of the {len(names)} files are taken as one batch: "
        f'{some(meeting)}; batch_of "column_and_file" keeps them apart.'
    ]


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """The files' names, with as many of their folders as tell them apart."""
    resolved = [path.resolve() for path in paths]
    depth = 1
    while True:
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names) or depth > max(len(p.parts) for p in resolved):
            return names
        depth += 1
