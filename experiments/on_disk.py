"""Cells that stay on disk: found or simulated, sampled for scores, and embedded in full."""

import logging
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from qbm_jax.data import Cells, check_likelihood
from qbm_jax.data.download import cache_folder
from qbm_jax.data.on_disk import StoredCells, open_cells, stratified_sample, write_simulated
from qbm_jax.data.on_disk.bar import cells_bar
from qbm_jax.data.simulate_presets import PRESETS
from qbm_jax.distributed import is_primary, wait_for_primary
from qbm_jax.errors import InputError
from qbm_jax.fitted_model import FittedModel
from qbm_jax.report.run_outputs import EMBEDDING_FILE, SAMPLE_FILE

LOGGER = logging.getLogger("qbm_jax")
SIMULATED = "simulated:"


def load_stored_cells(config: ConfigDict) -> StoredCells:
    """The cells of `config.data`, in their files; says what was dropped.

    Raises:
      InputError: no path, and no simulated cells asked for; or what `open_cells` refuses.
    """
    options = config.data
    paths, columns = options.path.split(","), (options.batch_column, options.label_column)
    if not options.path:
        paths, columns = [simulated_file(config)], ("batch", "cell_type")
    cells = open_cells(
        paths,
        batch_column=columns[0] or None,
        label_column=columns[1] or None,
        layer=options.layer or None,
        use_raw=options.use_raw,
        num_genes=options.num_genes,
        min_cells_per_gene=options.min_cells_per_gene,
    )
    level = logging.WARNING if cells.simulated else logging.INFO
    LOGGER.log(level, "%s: on disk", cells.source)
    for note in cells.notes:
        LOGGER.info("%s", note)
    check_likelihood(cells, config.model.likelihood)
    return cells


def simulated_file(config: ConfigDict) -> Path:
    """The file of the simulated cells that the config names, made if it is not in the cache.

    Raises:
      InputError: another name, an unknown preset, or simulated cells are not allowed.
    """
    name, size = config.data.name, config.data.num_cells
    preset = name.removeprefix(SIMULATED)
    if not name.startswith(SIMULATED) or preset not in PRESETS:
        known = ", ".join(SIMULATED + preset for preset in PRESETS)
        raise InputError(
            f"cells on disk: expected config.data.path, or config.data.name among {known}, "
            f"got name {name!r}"
        )
    if not config.data.allow_simulated:
        raise InputError(
            f"expected measured cells (config.data.allow_simulated is False), got name {name!r}"
        )
    size = size or PRESETS[preset].num_cells
    path = cache_folder(config.data.cache_dir or None)
    path = path / f"simulated-{preset}-{size}-seed{config.seed}.h5ad"
    if path.exists():
        LOGGER.info("simulated before: %s", path)
        return path
    if is_primary():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_simulated(path, jax.random.key(config.seed), preset, num_cells=size)
    wait_for_primary("simulated cells")
    return path


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


def embedded_blocks(cells: StoredCells, model: FittedModel) -> Iterator[tuple]:
    """The embedding and energy of all cells, a block after another, with a progress bar."""
    binary = model.vae.prior.outputs_per_latent == 1
    with cells_bar("embed", cells.num_cells, True) as advance:
        for where, embedding, energy in model.encode_blocks(cells):
            yield where, embedding, energy if binary else None
            advance(where.stop - where.start)
