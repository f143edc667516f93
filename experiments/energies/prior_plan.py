"""What the study of priors trains: one training a prior, alike in all else."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.energies.rows import Rows, load_rows
from experiments.kit.options import LIBRARY, check_least, check_training, in_config_words, names_of
from qbm_jax.data import Cells
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.fitted.model import device_counts
from qbm_jax.fitted.trainings import train_options
from qbm_jax.model.presets import with_prior
from qbm_jax.model.priors import PRIORS
from qbm_jax.training import Training

NOTHING: Mapping[str, Any] = MappingProxyType({})


class PriorPlan(NamedTuple):
    """What is trained on what.

    Attributes:
      config: of the run.
      set: the rows, images or peptides.
      cells: the training rows as the library takes them.
      data: likewise, on the device.
      test: the test rows, on the device.
      trainings: by prior.
    """

    config: ConfigDict
    set: Rows
    cells: Cells
    data: DeviceCounts
    test: DeviceCounts
    trainings: dict[str, Training]

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the rows from others."""
        return self.set.identity

    @property
    def setting(self) -> str:
        """What all methods share, in a few words."""
        model, options = self.config.model, self.config.training
        return f"{model.num_latents} latents, {options.num_steps} steps"


def check(config: ConfigDict) -> PriorPlan:
    """The training of each prior, and what it is of.

    Raises:
      InputError: data or config that cannot be used.
    """
    least = {"num_seeds": 1, "data.num_train": 0, "data.num_test": 0, "max_bracket": 0}
    counts = {f"evaluation.{name}": 1 for name in config.evaluation}
    check_least(config, least | counts | {f"effort.{name}": 1 for name in config.effort})
    if not config.priors or len(set(config.priors)) < len(config.priors):
        raise InputError(f"config.priors must name each prior once, got {config.priors}")
    found = load_rows(config)
    trainings = trainings_of(config, found.model)
    cells, test = found.cells("train"), device_counts(found.cells("test"))
    return PriorPlan(config, found, cells, device_counts(cells), test, trainings)


def trainings_of(config: ConfigDict, given: Mapping[str, Any] = NOTHING) -> dict[str, Training]:
    """The training of each prior that the config names, with options that the data ask for.

    Raises:
      InputError: an option that cannot be.
    """
    names = names_of(config, "priors", PRIORS)
    return {name: training_of(config, name, given) for name in names}


def training_of(config: ConfigDict, prior: str, given: Mapping[str, Any]) -> Training:
    """The training with this prior, and the options that the data ask for; all else is equal.

    Raises:
      InputError: an option that cannot be.
    """
    with in_config_words(LIBRARY):
        options = train_options(config.training.to_dict())
        model = with_prior(prior, {**config.model.to_dict(), **given})
        sampler = config.sampler.name, config.sampler.options.to_dict()
        one = Training.of(model, *sampler, options)
        check_training(one)
    return one
