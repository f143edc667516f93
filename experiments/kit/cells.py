"""The cells of a config: found or simulated, read whole or left on disk."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.kit.options import in_config_words
from qbm_jax.data import Cells, check_likelihood, locate, preprocess
from qbm_jax.data.download import cache_folder
from qbm_jax.data.on_disk import StoredCells, open_cells, stratified_sample, write_simulated
from qbm_jax.data.read import MIN_CELLS
from qbm_jax.data.simulate import check_sizes
from qbm_jax.data.simulate_presets import PRESETS, SIMULATED_PREFIX, base_name, find_preset
from qbm_jax.errors import InputError
from qbm_jax.fitted.inputs import what_is_modelled
from qbm_jax.report.run_outputs import EMBEDDING_FILE, SAMPLE_FILE
from qbm_jax.runtime import keys
from qbm_jax.runtime.keys import key_of, named
from qbm_jax.runtime.user_cache import expand_home
from qbm_jax.study.lock import UNSUPPORTED
from qbm_jax.training.distributed import is_primary, wait_for_primary

LOGGER = logging.getLogger("qbm_jax")
OF_PLACE = ("path", "name", "cache_dir", "allow_simulated")  # options of `locate` it tells of


def load_cells(config: ConfigDict) -> Cells | StoredCells:
    """Finds, reads and preprocesses the cells; says what was dropped or substituted.

    Raises:
      InputError: data or config that cannot be used, or one gene, which has no components to score.
    """
    cells = load_stored_cells(config) if config.data.on_disk else load_into_memory(config)
    if cells.num_genes < 2:
        raise InputError(
            f"expected at least 2 genes, got {cells.num_genes}; raise config.data.num_genes or "
            f"lower config.data.min_cells_per_gene"
        )
    LOGGER.info("%s", what_is_modelled(cells))
    return cells


def cells_in_memory(config: ConfigDict) -> Cells:
    """The cells of `load_cells` for an experiment that has its cells in memory.

    Raises:
      InputError: as `load_cells`, or the config has them on disk.
    """
    if config.data.on_disk:
        raise InputError(
            f"experiment {config.experiment} has its cells in memory; set data.on_disk to False"
        )
    cells = load_cells(config)
    assert isinstance(cells, Cells), "they are in memory"
    return cells


def load_into_memory(config: ConfigDict) -> Cells:
    """Cells that are read whole."""
    options = config.data.to_dict()
    genes = {name: options.pop(name) for name in ("num_genes", "min_cells_per_gene")}
    del options["on_disk"]
    for name, usual in (("batch_of", "column"), ("genes_of", "first")):
        if (value := options.pop(name)) != usual:
            raise InputError(
                f"config.data.{name} = {value!r} is for cells on disk; set config.data.on_disk"
            )
    with in_config_words({"data": OF_PLACE, "model": ()}):  # two: a file's fault has no section
        cells = locate(cells_key(config.seed, config.data.name), **options)
    already_logged = len(cells.notes)
    check_likelihood(cells, config.model.likelihood, config.model.get("num_categories"))
    cells = preprocess(cells, **genes)
    for note in cells.notes[already_logged:]:
        LOGGER.info("%s", note)
    return cells


def load_stored_cells(config: ConfigDict) -> StoredCells:
    """The cells of `config.data`, in their files; says what was dropped.

    Raises:
      InputError: no path, and no simulated cells asked for; or what `open_cells` refuses.
    """
    options = config.data
    paths: Sequence[str | Path]
    if options.path:
        paths, columns = listed_paths(options.path), (options.batch_column, options.label_column)
    else:
        paths, columns = [simulated_file(config)], ("batch", "cell_type")
    cells = open_cells(
        paths,
        batch_column=columns[0] or None,
        label_column=columns[1] or None,
        batch_of=options.batch_of,
        genes_of=options.genes_of,
        layer=options.layer or None,
        use_raw=options.use_raw,
        num_genes=options.num_genes,
        min_cells_per_gene=options.min_cells_per_gene,
    )
    level = logging.WARNING if cells.simulated else logging.INFO
    LOGGER.log(level, "%s: on disk", cells.source)
    for note in cells.notes:
        LOGGER.info("%s", note)
    check_likelihood(cells, config.model.likelihood, config.model.get("num_categories"))
    return cells


def listed_paths(text: str) -> list[str]:
    """One path, or several with commas between; a file with a comma in its name goes first.

    Raises:
      InputError: nothing stands between two commas.
    """
    if os.path.exists(expand_home(text)):  # not Path.exists, which raises on a long list
        return [text]
    paths = [path.strip() for path in text.split(",")]
    if not all(paths):
        raise InputError(
            f"expected config.data.path as paths with one comma between two, got {text!r}"
        )
    return paths


def simulated_file(config: ConfigDict) -> Path:
    """The file of the simulated cells that the config names, made if it is not in the cache.

    Raises:
      InputError: another name, an unknown preset, simulated cells are not allowed, the cache
        cannot be written, or a process does not see what the first one wrote.
    """
    name, size = config.data.name, config.data.num_cells
    preset = name.removeprefix(SIMULATED_PREFIX)
    if not name.startswith(SIMULATED_PREFIX) or base_name(name) not in PRESETS:
        known = ", ".join(SIMULATED_PREFIX + preset for preset in PRESETS)
        raise InputError(
            f"cells on disk: expected config.data.path, or config.data.name among {known}, "
            f"got name {name!r}"
        )
    if not config.data.allow_simulated:
        raise InputError(
            f"expected measured cells (config.data.allow_simulated is False), got name {name!r}"
        )
    size, _ = check_sizes(size, 0, MIN_CELLS)
    size = size or find_preset(preset).num_cells
    path = cache_folder(config.data.cache_dir or None)
    key = cells_key(config.seed, preset)
    # The key is in the name: a file of another derivation holds other cells.
    path = path / f"simulated-{preset}-{size}-seed{config.seed}-{keys.number(key):08x}.h5ad"
    if is_primary():
        _simulate_once(path, key, preset, size)
    wait_for_primary("simulated cells")  # by all: a process may see the file before it comes here
    if not os.path.exists(path):
        raise InputError(
            f"{path} is missing here, but process 0 has it: all processes need the same "
            "data.cache_dir, on storage that they share"
        )
    return path


def _simulate_once(path: Path, key: jax.Array, preset: str, num_cells: int) -> None:
    """Makes the file if it is not there; of several runs at once one, for which others wait."""
    if not os.path.exists(path):  # not Path.exists, which raises on a folder without rights
        with _locked(path):
            if not path.exists():
                write_simulated(path, key, preset, num_cells=num_cells)
                return
    LOGGER.info("simulated before: %s", path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Has the right to make a file, in a folder that is made as well.

    The lock file goes once the file is there: then nobody needs the right any more.

    Raises:
      InputError: the folder cannot be made or written.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("ab")
    except OSError as error:
        raise InputError(
            f"cannot write to the cache folder {path.parent} ({error.strerror}); give another "
            "data.cache_dir"
        ) from error
    with file:
        _wait_for_lock(file.fileno(), path)
        yield
        lock.unlink(missing_ok=True)


def _wait_for_lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        LOGGER.info("waiting for another run that makes %s", path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        LOGGER.warning(
            "%s: this file system has no locks (%s); start no second run that makes this file",
            path, error.strerror,
        )  # fmt: skip


def cells_to_show(cells: Cells | StoredCells, size: int) -> Cells:
    """Cells in memory, all of them; of cells on disk at most `size`, of every batch and type."""
    if isinstance(cells, Cells):
        return cells
    types = np.zeros(cells.num_cells, int) if cells.labels is None else cells.labels
    sample = stratified_sample(cells.batch * (int(types.max()) + 1) + types, size)
    shown = cells.select(sample)
    if len(sample) < cells.num_cells:
        note = (
            f"Scores and figures are of a sample of {len(sample)} of {cells.num_cells} cells, "
            f"drawn within each batch and type, of small ones up to 100 ({SAMPLE_FILE}); "
            f"{EMBEDDING_FILE} has all cells."
        )
        LOGGER.info("%s", note)
        shown = shown.with_notes(note)
    return shown


def cells_key(seed: int, name: str) -> jax.Array:
    """The key of simulated cells, by the preset's name: in memory and on disk the same."""
    return named(key_of(seed, "cells"), base_name(name))
