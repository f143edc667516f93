"""What a config names as data: images of a file or simulated; principal components of cells."""

import numpy as np
from ml_collections import ConfigDict
from sklearn.model_selection import train_test_split

from qbm_jax.data import Cells, folder, preprocess, read, simulate
from qbm_jax.energy_models.images import Images, bars_and_stripes, read_images
from qbm_jax.errors import InputError
from qbm_jax.metrics.baselines import pca_embedding
from qbm_jax.runtime.keys import key_of
from qbm_jax.runtime.options import check, whole

SIMULATED = "simulated"
MNIST = "mnist.npz"


def load_images(config: ConfigDict) -> Images:
    """The images of `config.data`.

    Raises:
      InputError: no file, or one without images.
    """
    data, seed = config.data, config.seed
    least = 1 if data.path == SIMULATED else 0  # of a file, all
    for name in ("num_train", "num_test"):
        check(f"config.data.{name}", data[name], whole(least))
    if data.path == SIMULATED:
        check("config.data.side", data.side, whole(1))
        rng = np.random.default_rng(seed)
        return bars_and_stripes(rng, data.side, data.num_train, data.num_test)
    try:
        path = data.path or folder.find("", MNIST)
        if not path:
            raise InputError(folder.missing("", MNIST))
        return read_images(path, data.num_train, data.num_test, seed)
    except InputError as error:
        raise InputError(f'config.data.path: {error}; or use "{SIMULATED}"') from error


def load_cells(densities: ConfigDict) -> Cells | None:
    """The cells of `config.densities.path`, their most variable genes; None: simulated ones.

    Raises:
      InputError: a file that cannot be used.
    """
    if not densities.path:
        return None
    try:
        return preprocess(read(densities.path), num_genes=densities.num_genes)
    except InputError as error:
        raise InputError(f"config.densities.path: {error}") from error


def cell_components(
    densities: ConfigDict, cells: Cells | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Train and test rows of principal components of cells, fitted on train cells."""
    if cells is None:
        own = key_of(seed, "cells")
        cells = simulate(own, num_cells=densities.num_cells, num_genes=densities.num_genes)
    train, test = train_test_split(np.arange(cells.num_cells), test_size=0.25, random_state=seed)
    rows = pca_embedding(cells.counts, densities.num_principal, seed=seed, fit_on=train)
    return rows[train], rows[test]
