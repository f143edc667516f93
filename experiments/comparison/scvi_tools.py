"""The scVI of scvi-tools, at its own defaults or tuned: an optional peer.

scvi-tools is imported where it is used, so that everything else runs without it.
"""

import contextlib
import dataclasses
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator

import anndata
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from experiments.kit.manual import ScviToolsFields
from experiments.kit.options import in_config_words
from qbm_jax.data import Cells
from qbm_jax.errors import InputError
from qbm_jax.model.presets import SCVI_EPOCHS, scvi_epochs
from qbm_jax.runtime.options import field_defaults, from_dict
from qbm_jax.training import TrainingStopped

NAME = "scvi_tools"
VALIDATION, MINIBATCH = 0.1, 128  # share of the cells given that only validates; cells per step
NOTE = (
    f"{NAME} is scored by its embedding alone: energies and bounds are not of its model, and the "
    "cells that it draws are drawn from posteriors of given cells, not from the prior."
)
LOUD = ("scvi", "lightning.pytorch", "lightning.fabric")  # loggers


def fields_of(config: ConfigDict) -> ScviToolsFields:
    """What `config.scvi_tools` says.

    Raises:
      InputError: a value that cannot be; the message names it.
    """
    given = config.scvi_tools.to_dict()
    with in_config_words({NAME: given}):
        return from_dict(ScviToolsFields, NAME, given)


def tuned(fields: ScviToolsFields) -> str:
    """The fields that are not scvi-tools' own, in words; "" where all are."""
    own = field_defaults(ScviToolsFields)
    changed = [f"{name} {value}" for name, value in vars(fields).items() if value != own[name]]
    return ", ".join(changed)


def is_installed() -> bool:
    """Whether scvi-tools is there to be imported."""
    return importlib.util.find_spec("scvi") is not None


def check_installed() -> None:
    """Raises InputError unless scvi-tools is installed."""
    if not is_installed():
        raise InputError(
            f"method {NAME} needs scvi-tools, which is not installed: "
            f'pip install ".[peers]", or leave {NAME} out of config.methods'
        )


def embed(
    cells: Cells,
    kept: np.ndarray,
    seed: int,
    max_epochs: int = SCVI_EPOCHS,
    chosen: ScviToolsFields | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Posterior means of all cells, by an SCVI that has been trained on some of them.

    Everything else is scvi-tools' default, a tenth of `kept` for validation included, but for
    epochs cut short; the weight of the KL term then grows as much faster.

    Args:
      cells: raw counts and batches.
      kept: indices of the cells to train on.
      seed: of all randomness.
      max_epochs: most epochs to train; scvi-tools' own number is 400, and less for large sets.
      chosen: of the model and its KL weight; scvi-tools' own unless given.
      should_stop: asked after every epoch.

    Returns:
      The embedding, float32 [cells, latents].

    Raises:
      TrainingStopped: `should_stop` said so.
    """
    import scvi
    from lightning.pytorch.callbacks import LambdaCallback

    def stop_if_asked(*_: object) -> None:
        if should_stop():
            raise TrainingStopped(f"stopped in a training of {NAME}")

    model_options = dataclasses.asdict(chosen or ScviToolsFields())
    kl_weight = model_options.pop("max_kl_weight")
    own = scvi_epochs(len(kept))
    epochs = min(own, max_epochs)
    with quiet():
        scvi.settings.seed = seed
        known = as_anndata(cells.select(kept))
        scvi.model.SCVI.setup_anndata(known, batch_key="batch")
        model = scvi.model.SCVI(known, **model_options)
        model.train(
            max_epochs=epochs,
            plan_kwargs={
                "n_epochs_kl_warmup": SCVI_EPOCHS * epochs / own,
                "max_kl_weight": kl_weight,
            },
            enable_progress_bar=False,
            callbacks=[LambdaCallback(on_train_epoch_end=stop_if_asked)],
        )
        # An unseen batch is refused, though the encoder reads none: any known one will do.
        everyone = as_anndata(cells)
        batches = known.obs["batch"].cat.categories
        seen = everyone.obs["batch"].isin(batches)
        everyone.obs["batch"] = everyone.obs["batch"].astype(str).where(seen, batches[0])
        return np.asarray(model.get_latent_representation(everyone), np.float32)


def as_anndata(cells: Cells) -> anndata.AnnData:
    """Counts with a column `batch`, as scvi-tools takes them."""
    index = [str(row) for row in cells.rows]
    batch = pd.Categorical(np.asarray(cells.batch_names)[cells.batch])
    return anndata.AnnData(
        cells.counts,
        obs=pd.DataFrame({"batch": batch}, index=index),
        var=pd.DataFrame(index=list(cells.genes)),
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps advice on hardware and data loaders out of the log while scvi-tools works."""
    loggers = {name: logging.getLogger(name) for name in LOUD}
    levels = {name: logger.level for name, logger in loggers.items()}
    for logger in loggers.values():
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, logger in loggers.items():
            logger.setLevel(levels[name])
