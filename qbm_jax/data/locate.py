"""Where a run's cells come from: a file, the cache, a download, or, announced, the simulator."""

import dataclasses
import logging
from pathlib import Path

import jax

from qbm_jax.data.cells import Cells
from qbm_jax.data.download import NAMED, NoNetworkError, PublicSet, cache_folder, fetch
from qbm_jax.data.read import MIN_CELLS, read
from qbm_jax.data.simulate import check_sizes, simulate
from qbm_jax.data.simulate_presets import PRESETS, SIMULATED_PREFIX, base_name
from qbm_jax.data.sources import MADE, SOURCES, check_file, find_file
from qbm_jax.errors import InputError

logger = logging.getLogger("qbm_jax")


def locate(
    key: jax.Array,
    *,
    name: str = "",
    path: str | Path = "",
    batch_column: str = "",
    label_column: str = "",
    layer: str = "",
    use_raw: bool = False,
    cache_dir: str | Path = "",
    allow_simulated: bool = True,
    simulator_preset: str = "pancreas",
    num_cells: int = 0,
    num_genes: int = 0,
    min_cells: int = MIN_CELLS,
    progress: bool = True,
) -> Cells:
    """Cells from `path`; else the named set from cache or download; else the simulator.

    The simulator stands in only where there is neither file nor network, and says so in `notes`,
    `source` and the log.

    Args:
      key: for the simulator only.
      name: a public set (`download.NAMED`); one that was made of several (`sources.SOURCES`), whose
        file is in `cache_dir`; or "simulated:<preset>" for the simulator, whose
        couplings `simulate_presets.find_preset` can scale.
      path: an h5ad file, which goes before the name.
      batch_column: column of `obs`; "": the named set's own, none for a path.
      label_column: as `batch_column`, for cell types.
      layer: layer with raw counts; "": the named set's own, `X` for a path.
      use_raw: take the counts of `raw`.
      cache_dir: folder of downloads and of sets by name; "": `$QBM_JAX_CACHE` or the user's cache
        folder.
      allow_simulated: False makes every use of the simulator an error.
      simulator_preset: what stands in for a named set.
      num_cells: for the simulator; 0: the preset's own.
      num_genes: for the simulator; 0: the preset's own.
      min_cells: least number of cells with counts in a file.
      progress: show a bar while downloading.

    Raises:
      InputError: the file or name cannot be used, or only the simulator is left and it is
        not allowed.
    """
    columns = {"batch_column": batch_column, "label_column": label_column, "layer": layer}
    if path:
        options = {field: value or None for field, value in columns.items()}
        cells = _checked(path, read(path, use_raw=use_raw, min_cells=min_cells, **options))
        return _log(_all_taken(cells, num_cells))
    num_cells, num_genes = check_sizes(num_cells, num_genes, min_cells)
    sizes = {"num_cells": num_cells, "num_genes": num_genes}
    if name.startswith(SIMULATED_PREFIX) or base_name(name) in set(PRESETS) - set(NAMED):
        preset = name.removeprefix(SIMULATED_PREFIX)
        _check_allowed(allow_simulated, f"the name {name!r} asks for simulated cells")
        return _log(simulate(key, preset, **sizes))
    if name in MADE:
        file, made = find_file(name, cache_folder(cache_dir or None)), SOURCES[name]
        cells = read(
            file, batch_column=batch_column or made.batch_column,
            label_column=label_column or made.label_column, layer=layer or None, use_raw=use_raw,
            min_cells=min_cells,
        )  # fmt: skip
        return _log(_all_taken(_checked(file, cells), num_cells))
    if name not in NAMED:
        choices = [*NAMED, *MADE, *(SIMULATED_PREFIX + preset for preset in PRESETS)]
        raise InputError(f"expected option path, or option name in {choices}, got name {name!r}")
    try:
        file = fetch(name, cache_dir or None, progress=progress)
    except NoNetworkError as error:
        reason = f"{name} is not in {cache_folder(cache_dir or None)} and {error}"
        _check_allowed(allow_simulated, reason)
        note = f"SIMULATED cells, with their own columns, stand in for the set {name}: {reason}."
        return _log(simulate(key, simulator_preset, **sizes).with_notes(note))
    cells = _read_public(file, NAMED[name], columns, use_raw, min_cells)
    return _log(_all_taken(cells, num_cells))


def _all_taken(cells: Cells, num_cells: int) -> Cells:
    """Measured cells, with a note if so many were asked for: that is a number of simulated ones."""
    if num_cells in (0, cells.num_cells):
        return cells
    return cells.with_notes(
        f"num_cells {num_cells} is of simulated cells: all {cells.num_cells} measured ones are "
        "taken."
    )


def _checked(path: str | Path, cells: Cells) -> Cells:
    """The cells, with a note if their file is named as a set's but is another one."""
    note = check_file(path, cells)
    if note is None:
        return cells
    logger.warning("%s", note)
    return cells.with_notes(note)


def _read_public(
    file: Path, public: PublicSet, columns: dict[str, str], use_raw: bool, min_cells: int
) -> Cells:
    """The set's own columns and layer, unless others are asked for."""
    options = {field: value or getattr(public, field) for field, value in columns.items()}
    if use_raw:
        options["layer"] = columns["layer"] or None
    cells = read(file, use_raw=use_raw, min_cells=min_cells, **options)
    return dataclasses.replace(cells, source=f"{public.file_name} ({public.url})")


def _check_allowed(allow_simulated: bool, reason: str) -> None:
    if not allow_simulated:
        raise InputError(
            f"expected measured cells (allow_simulated is False), but {reason}; give a file of "
            "your own (option path), restore the network, or allow simulated cells"
        )


def _log(cells: Cells) -> Cells:
    """Says in the log where the cells come from, loudly if they are simulated."""
    level = logging.WARNING if cells.simulated else logging.INFO
    logger.log(level, "%s: %d cells, %d genes.", cells.source, cells.num_cells, cells.num_genes)
    for note in cells.notes[1:] if cells.simulated else ():  # the first says what the source does
        logger.info("%s", note)
    return cells
