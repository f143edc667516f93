"""What several files of cells say of themselves: their tables, groups and source; no counts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from qbm_jax.data import groups
from qbm_jax.data.columns import writable
from qbm_jax.data.names import some
from qbm_jax.data.on_disk.csr_file import CsrFile
from qbm_jax.data.on_disk.origin import with_origin
from qbm_jax.data.simulate import simulated_notes, simulated_source
from qbm_jax.errors import InputError
from qbm_jax.runtime.user_cache import expand_home


def distinct_paths(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """One or many files as a list.

    Raises:
      InputError: there is none, or one is given twice.
    """
    several = [paths] if isinstance(paths, str | Path) else list(paths)
    if not several:
        raise InputError("expected at least one file of cells, got none; name one")
    named = [expand_home(path) for path in several]
    resolved = [path.resolve() for path in named]
    twice = [path for i, path in enumerate(named) if resolved[i] in resolved[:i]]
    if twice:
        raise InputError(f"expected different files of cells, got {twice[0]} twice; name it once")
    return named


def table_of_groups(
    files: Sequence[CsrFile],
    batch_column: str | Sequence[str] | None,
    label_column: str | None,
    batch_of: str,
) -> tuple[pd.DataFrame, str | None, str | None, list[str]]:
    """The columns that are needed, of all rows of all files; only these are ever read.

    Returns:
      The table, the names in it of the columns of batch and label, and notes.
    """
    from_column = batch_column if batch_of != "file" else None
    several = [from_column] if isinstance(from_column, str) else list(from_column or ())
    wanted = several if label_column is None else [*several, label_column]
    tables = [file.obs(list(dict.fromkeys(wanted))) for file in files]
    obs = pd.concat(tables) if len(tables) > 1 else tables[0]
    obs, from_column = groups.joined(obs, from_column, source_of(files)[0])
    paths, sizes = [file.path for file in files], [file.shape[0] for file in files]
    obs, batch_column, notes = with_origin(obs, from_column, paths, sizes, batch_of)
    kept = writable(obs, "obs")
    names = (kept.name_of(batch_column), kept.name_of(label_column))
    return kept.table, *names, [*kept.notes, *notes]


def check_groups(
    files: Sequence[CsrFile], obs: pd.DataFrame, batch_column: str | None, label_column: str | None
) -> None:
    """Refuses columns that cannot be used before all counts are read; empty cells need no batch."""
    source, _ = source_of(files)
    stored = np.concatenate([np.diff(file.indptr) for file in files])
    groups.batches(obs.loc[stored > 0], batch_column, source)
    groups.labels(obs.loc[stored > 0], label_column, source)


def source_of(files: Sequence[CsrFile]) -> tuple[str, list[str]]:
    """Where the cells come from, and the notes of each simulator preset among the files."""
    names = some([file.path.name for file in files])
    presets = sorted({preset for file in files if (preset := file.simulator_preset())})
    if presets:
        names = f"{'; '.join(simulated_source(preset) for preset in presets)} ({names})"
    return names, [note for preset in presets for note in simulated_notes(preset)]
