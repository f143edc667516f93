"""Trainings of one method on one set: all seeds together, each without the cells it is tested on.

Seed s never sees fold s of five stratified folds, so its embedding of those cells is inductive and
five seeds test every cell once. Two further protocols leave out whole donors, and a cell type.
"""

import dataclasses
import logging
import time
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.comparison import scvi_tools
from experiments.comparison.methods import OF_BATCHES, PEERS, Method
from experiments.kit.runner import Piece
from experiments.kit.stop import StopRequest
from qbm_jax.fitted.evaluate import train_and_evaluate
from qbm_jax.fitted.tasks.study_set import Group, StudySet
from qbm_jax.metrics.baselines import harmony_embedding, pca_embedding, scanorama_embedding
from qbm_jax.model.presets import PRESETS, SCVI_EPOCHS, scvi_epochs
from qbm_jax.runtime.keys import root, seed_of
from qbm_jax.training import TrainingDiverged, TrainOptions
from qbm_jax.training.options import length_of
from qbm_jax.training.plan import plan_epochs
from qbm_jax.training.within import epochs_of, within_steps

LOGGER = logging.getLogger("qbm_jax")


def options_on(
    config: ConfigDict, study: StudySet, method: Method, held_out: list[np.ndarray]
) -> TrainOptions | None:
    """How a method is trained on a set, no longer than config.num_steps; None: it is not."""
    fewest = study.cells.num_cells - max(len(cells) for cells in held_out)
    if method.name in PEERS:
        options = TrainOptions(
            num_epochs=scvi_epochs(fewest), minibatch_size=scvi_tools.MINIBATCH,
            validation_fraction=scvi_tools.VALIDATION,
        )  # fmt: skip
    elif method.record is None:
        return None
    else:
        options = method.training.options
        own = PRESETS[method.name].epochs_of if method.setting == "default" else None
        if own is not None:
            options = dataclasses.replace(options, num_epochs=own(fewest))
    return within_steps(options, fewest, config.num_steps)


def steps_of(options: TrainOptions | None, study: StudySet, held_out: list[np.ndarray]) -> int:
    """Optimiser steps of all seeds together; 0 for a method that is not trained."""
    if options is None:
        return 0
    fewest = max(held_out, key=len)
    plan = plan_epochs(study.cells.num_cells, options, root(0), fewest)
    num_epochs = length_of(options, plan.steps_per_epoch).num_epochs
    return len(held_out) * num_epochs * plan.steps_per_epoch


def train_group(
    config: ConfigDict,
    study: StudySet,
    method: Method,
    held_out: list[np.ndarray],
    stop: StopRequest,
) -> Group:
    """Trains one seed per entry of `held_out` and embeds all cells, by the encoder alone.

    Seeds train together and take the steps of the one with the fewest cells: those with more see
    another part of them in every epoch. The key depends on the seed alone, so methods share splits
    and the cells' order.
    """
    options, numbers = options_on(config, study, method, held_out), range(len(held_out))
    assert options is not None, f"{method.name} has no model"
    training = dataclasses.replace(method.training, options=options)
    found = train_and_evaluate(
        [training] * len(numbers), study.cells, [(config.seed, number) for number in numbers],
        data=study.data, held_out=held_out, title=f"{study.name}, {method.label}",
        while_training=stop.deferred(), should_stop=stop,
    )  # fmt: skip
    return Group(
        label=method.label,
        models=[one.model for one in found],
        embeddings=[one.embedding for one in found],
        energies=[one.energy for one in found],
        held_out=held_out,
        num_train_cells=[one.num_train_cells for one in found],
        seconds=sum(one.seconds for one in found),
        again=[one.again for one in found],
    )


def or_note(
    study: StudySet, lacking: str, compute: Callable[[jax.Array], Piece], key: jax.Array
) -> Piece:
    """A piece; where its training diverges at the last attempt as well, no rows, and a note why."""
    try:
        return compute(key)
    except TrainingDiverged as error:
        note = f"{lacking}: {error}."
        LOGGER.warning("%s: %s", study.name, note)
        return {"rows": [], "notes": [note], "pictures": {}, "training_seconds": 0.0}


def untrained_group(
    config: ConfigDict, study: StudySet, method: Method, held_out: list[np.ndarray]
) -> Group:
    """PCA fitted without the held-out cells, or of all cells what cannot embed new ones."""
    counts, embeddings = study.cells.counts, []
    for seed, cells in enumerate(held_out):
        if method.name in OF_BATCHES:
            own = seed_of(config.seed, method.name, seed)
        if method.name == "scanorama":
            embeddings.append(scanorama_embedding(counts, study.batch, own))
        elif method.name == "harmony":
            pca = pca_embedding(counts, seed=config.seed)
            embeddings.append(harmony_embedding(pca, study.batch, own))
        else:
            others = np.setdiff1d(np.arange(study.cells.num_cells), cells)
            embeddings.append(pca_embedding(counts, seed=config.seed, fit_on=others))
    return Group(method.label, [], embeddings, [], held_out, [], 0.0)


def peer_group(
    config: ConfigDict, study: StudySet, held_out: list[np.ndarray], stop: StopRequest
) -> Group:
    """SCVI of scvi-tools, one training after another: its encoder then embeds all cells.

    Raises:
      TrainingStopped: a stop was asked for.
    """
    embeddings, start, chosen = [], time.perf_counter(), scvi_tools.fields_of(config)
    for seed, cells in enumerate(held_out):
        others = np.setdiff1d(np.arange(study.cells.num_cells), cells)
        most = SCVI_EPOCHS
        if config.num_steps:
            trained = int(len(others) * (1 - scvi_tools.VALIDATION))
            most = epochs_of(config.num_steps, trained, scvi_tools.MINIBATCH)
        with stop.deferred():
            own = seed_of(config.seed, "scvi-tools", seed)
            points = scvi_tools.embed(study.cells, others, own, most, chosen, stop)
        embeddings.append(points)
        seconds = time.perf_counter() - start
        LOGGER.info(
            "%s, %s: seed %d of %d after %.0f s",
            study.name, scvi_tools.NAME, seed + 1, len(held_out), seconds,
        )  # fmt: skip
    return Group(scvi_tools.NAME, [], embeddings, [], held_out, [], seconds)
