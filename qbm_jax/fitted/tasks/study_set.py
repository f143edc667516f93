"""The labelled cells of one study, what its trainings hold out, and what they gave."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from qbm_jax.data import Cells
from qbm_jax.data.simulate_states import PlantedProgrammes
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.fitted.model import FittedModel, device_counts
from qbm_jax.metrics.folds import batch_folds, stratified_folds
from qbm_jax.metrics.trajectory_reference import Reference
from qbm_jax.runtime.keys import seed_of
from qbm_jax.study.figures import SIMULATED

OF_THE_PRIOR, TUNED_ON = "drawn from the prior's own law", "tuned on"
NUM_FOLDS = 5
FOLD_SHARE = 1 / (NUM_FOLDS - 1)  # cells held out over cells trained on


@dataclasses.dataclass(frozen=True, eq=False)
class StudySet:
    """Preprocessed cells of one set; every cell has a type.

    Attributes:
      name: of the set.
      cells: counts, genes, batches.
      labels: type of every cell, names [cells].
      batch: experimental batch of every cell, names [cells].
      donors: what is left out as a whole, names [cells].
      root: type where trajectories start; "" for none.
      reference: order of the cells along the trajectory; None without a root.
      left_out_type: type that one training leaves out, for the energy task; "" for none.
      abundance: expected share of every rare type, where the simulator knows it; else empty.
      all_counts: raw counts [cells, all genes], of which scores choose genes of their own; None:
        there are no other genes.
      tuned_on: settings that are compared were chosen on these cells.
      planted: bits of these cells and their couplings, where the simulator planted a machine.
      shares_cells_with: which cells of sets that settings were chosen on are in this one too, in
        words; "" for none.
    """

    name: str
    cells: Cells
    labels: np.ndarray
    batch: np.ndarray
    donors: np.ndarray
    root: str
    reference: Reference | None
    left_out_type: str
    abundance: dict[str, float]
    all_counts: sparse.csr_matrix | None = None
    tuned_on: bool = False
    planted: PlantedProgrammes | None = None
    shares_cells_with: str = ""

    @property
    def counts_of_all_genes(self) -> sparse.csr_matrix:
        """Raw counts [cells, all genes], those that are not modelled too."""
        return self.cells.counts if self.all_counts is None else self.all_counts

    @functools.cached_property
    def data(self) -> DeviceCounts:
        """The counts on the device, where all methods and tasks find them again."""
        return device_counts(self.cells)

    @property
    def of_the_prior(self) -> bool:
        """Whether a planted Boltzmann machine with couplings draws the cells."""
        return self.planted is not None and bool(self.planted.couplings.any())

    @property
    def title(self) -> str:
        """The name, and what about the cells keeps them from judging."""
        marks = [SIMULATED] if self.cells.simulated else []
        marks += [OF_THE_PRIOR] if self.of_the_prior else []
        marks += [TUNED_ON] if self.tuned_on else []
        return f"{self.name} ({', '.join(marks)})" if marks else self.name


class Group(NamedTuple):
    """All seeds of one method on one set, under one protocol.

    Attributes:
      label: the method's, unique in a comparison.
      models: a fitted model per seed; none for methods without one of ours.
      embeddings: float32 [cells, latents] per seed, of all cells, by the encoder alone.
      energies: of every cell's mean spins [cells] per seed, E_q[E] where the posterior is
        factorial; none for methods without a model.
      held_out: indices of the cells that took no part in training, per seed (Harmony, which has
        no encoder, sees them all the same).
      num_train_cells: cells trained on, per seed; none for methods without a model.
      seconds: of all trainings together.
      again: per seed, why it was trained again with another key; "" where it was not.
    """

    label: str
    models: list[FittedModel]
    embeddings: list[np.ndarray]
    energies: list[np.ndarray]
    held_out: list[np.ndarray]
    num_train_cells: list[int]
    seconds: float
    again: Sequence[str] = ()


def fold_cells(study: StudySet, seed: int, root_seed: int) -> np.ndarray:
    """The cells [fold] that this seed holds out: fold s of 5, of another split after five seeds."""
    split = seed_of(root_seed, "folds", seed // NUM_FOLDS)
    folds = stratified_folds(study.labels, NUM_FOLDS, split, study.batch, strict=False)
    return np.flatnonzero(folds == seed % NUM_FOLDS)


def donors_held_out(study: StudySet, num_seeds: int) -> list[np.ndarray]:
    """The cells [of the donor] of one donor or technology per seed; fewer donors give fewer seeds.

    No donor is held out twice: a second training without it would be no independent test.
    """
    folds, names = batch_folds(study.donors)
    return [np.flatnonzero(folds == donor) for donor in range(min(num_seeds, len(names)))]


def type_and_fold_cells(study: StudySet, seed: int, root_seed: int) -> np.ndarray:
    """The cells [held-out cells] of the left-out type, and of this seed's fold to compare with."""
    left_out = np.flatnonzero(study.labels == study.left_out_type)
    return np.union1d(left_out, fold_cells(study, seed, root_seed))
