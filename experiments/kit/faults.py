"""Faults of trainings that every experiment says in its notes and in the log."""

import logging
from collections.abc import Iterable, Mapping

import numpy as np

from qbm_jax.fitted.collapse import collapse_fault

LOGGER = logging.getLogger("qbm_jax")


def collapsed(embeddings: Mapping[str, np.ndarray]) -> list[str]:
    """A sentence, also logged, for each training that collapsed (`fitted.collapse`).

    Args:
      embeddings: float32 [cells, latents] by the name of the training.
    """
    faults = [
        f"Training fault of {name}: {fault}"
        for name, embedding in embeddings.items()
        if (fault := collapse_fault(embedding))
    ]
    for fault in faults:
        LOGGER.warning("%s", fault)
    return faults


def by_seed(name: str, embeddings: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """The embeddings of one model's seeds, in their order, by names of their trainings."""
    return {f"{name} at seed {seed}": values for seed, values in enumerate(embeddings)}
