"""Trainings of one method on one set: all seeds together, each without the cells it is tested on.

Seed s never sees fold s of five stratified folds, so its embedding of those cells is inductive and
five seeds test every cell once. Two further protocols leave out whole donors, and a cell type.
"""

from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.comparison.methods import Method
from experiments.comparison.sets import StudySet
from experiments.stop import StopRequest
from qbm_jax.fitted_model import FittedModel, device_counts, fit_cells_seeds
from qbm_jax.metrics.baselines import harmony_embedding, pca_embedding
from qbm_jax.metrics.folds import batch_folds, stratified_folds
from qbm_jax.progress import ProgressBar

NUM_FOLDS = 5


class Group(NamedTuple):
    """All seeds of one method on one set, under one protocol.

    Attributes:
      models: a fitted model per seed; None for methods without one.
      embeddings: float32 [cells, latents] per seed, of all cells, by the encoder alone.
      energies: E_q[E] [cells] per seed; None for methods without a model.
      held_out: indices of the cells that took no part in training, per seed (Harmony, which has
        no encoder, sees them all the same).
      num_train_cells: cells trained on, per seed; None for methods without a model.
      seconds: of all trainings together.
    """

    models: list[FittedModel] | None
    embeddings: list[np.ndarray]
    energies: list[np.ndarray] | None
    held_out: list[np.ndarray]
    num_train_cells: list[int] | None
    seconds: float


def fold_cells(study: StudySet, seed: int, config_seed: int) -> np.ndarray:
    """The fold that this seed holds out: fold s of 5; from the sixth seed on, of another split."""
    folds = stratified_folds(
        study.labels, NUM_FOLDS, config_seed + seed // NUM_FOLDS, study.batch, strict=False
    )
    return np.flatnonzero(folds == seed % NUM_FOLDS)


def donors_held_out(study: StudySet, num_seeds: int) -> list[np.ndarray]:
    """The cells of one donor (or technology) per seed; with fewer donors there are fewer seeds.

    No donor is held out twice: a second training without it would be no independent test.
    """
    folds, names = batch_folds(study.donors)
    return [np.flatnonzero(folds == donor) for donor in range(min(num_seeds, len(names)))]


def type_and_fold_cells(study: StudySet, seed: int, config_seed: int) -> np.ndarray:
    """The left-out type, and this seed's fold to compare it with."""
    left_out = np.flatnonzero(study.labels == study.left_out_type)
    return np.union1d(left_out, fold_cells(study, seed, config_seed))


def train_group(
    config: ConfigDict,
    study: StudySet,
    method: Method,
    held_out: list[np.ndarray],
    stop: StopRequest,
) -> Group:
    """Trains one seed per entry of `held_out` and embeds all cells, by the encoder alone.

    Seeds train together where they have as many cells, within a tenth; else one after another,
    since seeds that train together take the steps of the smallest set. The key depends on the seed
    alone, so methods share splits and the cells' order.
    """
    root = jax.random.key(config.seed)
    keys = [jax.random.fold_in(root, seed) for seed in range(len(held_out))]
    sizes = [study.cells.num_cells - len(cells) for cells in held_out]
    alike = max(sizes) < 1.1 * min(sizes)
    batches = [range(len(keys))] if alike else [[seed] for seed in range(len(keys))]
    data = device_counts(study.cells)
    title = f"{study.name}, {method.label}"
    fitted, seconds = [], 0.0
    with stop.deferred(), ProgressBar(title, method.options.num_epochs) as bar:
        for seeds in batches:
            fitted += fit_cells_seeds(
                [keys[seed] for seed in seeds],
                study.cells,
                model_options=method.model,
                sampler=method.sampler,
                sampler_options=method.sampler_options,
                options=method.options,
                data=data,
                held_out=[held_out[seed] for seed in seeds],
                on_progress=bar.update,
                should_stop=stop,
            )
            seconds += fitted[-1][1].seconds
    encoded = [model.encode_cells(data) for model, _ in fitted]
    return Group(
        models=[model for model, _ in fitted],
        embeddings=[embedding for embedding, _ in encoded],
        energies=[energy for _, energy in encoded],
        held_out=held_out,
        num_train_cells=[trained.train_cells.size for _, trained in fitted],
        seconds=seconds,
    )


def untrained_group(
    config: ConfigDict, study: StudySet, method: Method, held_out: list[np.ndarray]
) -> Group:
    """PCA fitted without the held-out cells, or Harmony on all cells: it cannot embed new ones."""
    counts, embeddings = study.cells.counts, []
    for seed, cells in enumerate(held_out):
        if method.name == "harmony":
            pca = pca_embedding(counts, seed=config.seed)
            embeddings.append(harmony_embedding(pca, study.batch, config.seed + seed))
        else:
            others = np.setdiff1d(np.arange(study.cells.num_cells), cells)
            embeddings.append(pca_embedding(counts, seed=config.seed, fit_on=others))
    return Group(None, embeddings, None, held_out, None, 0.0)
