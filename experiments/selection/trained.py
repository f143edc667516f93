"""The models of a set: trained without the cells that judge, and what they make of every cell."""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from experiments.comparison import trainings
from experiments.comparison.methods import Method
from experiments.kit.stop import StopRequest
from qbm_jax.fitted import bounds
from qbm_jax.fitted.tasks.study_set import Group, StudySet, fold_cells
from qbm_jax.selection.utilities import disagreement_of, entropy_of
from qbm_jax.training import TrainingDiverged


@dataclasses.dataclass(frozen=True)
class TrainedGroup:
    """Models that did not see their seed's test cells, and what each makes of every cell.

    Attributes:
      group: models and embeddings of all seeds.
      bounds: of every cell by every model, nats [seeds, cells].
    """

    group: Group
    bounds: np.ndarray


class TrainedModels:
    """The trained models of a set, made once; only those of the set at hand are kept.

    They are kept in memory alone. Where a run is killed in the middle of a set, the models of all
    its seeds are trained again when it goes on, before the first piece that is missing: the same
    ones, for their keys come from the config and the seed.
    """

    def __init__(self) -> None:
        """Nothing is trained yet."""
        self._name = ""
        self._made: TrainedGroup | TrainingDiverged | None = None

    def of(
        self, config: ConfigDict, study: StudySet, method: Method, stop: StopRequest
    ) -> TrainedGroup:
        """Models of all seeds.

        Raises:
          TrainingDiverged: a seed did at its last attempt; a second call does not train again.
        """
        if self._name != study.name:
            held_out = [fold_cells(study, seed, config.seed) for seed in range(config.num_seeds)]
            try:
                group = trainings.train_group(config, study, method, held_out, stop)
                self._made = TrainedGroup(group, _bounds(config, study, group))
            except TrainingDiverged as error:
                self._made = error
            self._name = study.name
        if isinstance(self._made, TrainingDiverged):
            raise self._made
        assert self._made is not None, "just trained"
        return self._made


def _bounds(config: ConfigDict, study: StudySet, group: Group) -> np.ndarray:
    """Of every cell by every model, nats [seeds, cells]."""
    found = [
        bounds.bound(
            config.seed, model.vae, model.params, study.data,
            num_draws=config.evaluation.posterior_draws,
            num_temperatures=config.evaluation.log_z_temperatures,
            num_train_cells=number, importance_weighted=None,
        ).per_cell
        for model, number in zip(group.models, group.num_train_cells, strict=True)
    ]  # fmt: skip
    return np.array(found, np.float64)


def utilities_of(trained: TrainedGroup, seed: int) -> dict[str, np.ndarray]:
    """What the seed's model makes of each cell [cells]: entropy, free energy, minus the bound.

    And how much the models of all seeds disagree on it. Each was trained without its own seed's
    fold, so that all but this seed's saw counts (no types) of cells of the fold that judges here.
    """
    entropy = entropy_of(trained.group.embeddings[seed])
    return {
        "entropy": entropy,
        "free_energy": np.asarray(trained.group.energies[seed], np.float64) - entropy,
        "elbo": -trained.bounds[seed],
        "disagreement": disagreement_of(trained.bounds),
    }
