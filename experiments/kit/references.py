"""What stands beside the trained models of a run, and how far a run can be believed."""

import logging

import numpy as np
from ml_collections import ConfigDict

from qbm_jax.data import Cells
from qbm_jax.errors import InputError
from qbm_jax.fitted.scoring import baseline
from qbm_jax.report.style import model_name

PCA, HARMONY = "X_pca", "X_harmony"
LOGGER = logging.getLogger("qbm_jax")


def references(
    config: ConfigDict, shown: Cells, pca: np.ndarray
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The embeddings that take no training, by name, and what was left out of them."""
    if not config.baselines.harmony:
        return {PCA: pca}, []
    try:
        return {PCA: pca, HARMONY: baseline("harmony", pca, shown, config.seed)}, []
    except InputError as error:
        note = f"Harmony is left out: {error}."
        LOGGER.warning("%s", note)
        return {PCA: pca}, [note]


def scope(num_seeds: int, names: list[str]) -> str:
    """What was compared, and what so many seeds cannot say."""
    listed = ", ".join(map(model_name, names))
    if num_seeds > 1:
        return f"Compared: {listed}; {num_seeds} seeds of each model that is trained."
    return (
        f"Compared: {listed}. This is a first look, by one seed of each model that is trained. It "
        f"cannot say how far the scores differ from seed to seed, so that a difference between "
        f"two of them may be chance; --config.num_seeds=5 trains five seeds of each."
    )
