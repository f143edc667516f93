"""Training goes on from a trained model: more epochs, or other cells of the same batches."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from qbm_jax import training
from qbm_jax.errors import InputError
from qbm_jax.feed.cell_source import InMemory
from qbm_jax.fitted.document import OneModel
from qbm_jax.fitted.empty_cells import LEFT_OUT, warn_of_empty_cells
from qbm_jax.fitted.history import Recorder
from qbm_jax.fitted.model_cells import cells_in_batches, device_counts
from qbm_jax.fitted.progress import ProgressBar, check_progress, messages, told_both
from qbm_jax.fitted.settings import Settings
from qbm_jax.objective.importance_weighted import has_bits
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import check, check_mapping, from_dict, whole
from qbm_jax.training import Training

LOGGER = logging.getLogger("qbm_jax")
_NOT_TAKEN = ("num_epochs", "num_steps", "num_retries")  # of the options


def continue_training(
    model: OneModel,
    adata: Any,
    num_epochs: int,
    *,
    training_options: dict[str, Any] | None = None,
    batch_column: str | None = None,
    layer: str | None = None,
    seed: int = 0,
    progress: bool = True,
    on_progress: Callable[[training.Progress], None] | None = None,
) -> OneModel:
    """A model that was trained further, from these parameters on; this one stays as it is.

    The optimiser and the chains start anew, without warm-up of the KL and with couplings that learn
    from the first step; the weight of the KL is that at the end of the training. The result is
    never worse on the cells that validate: where training makes the bound worse, its parameters are
    these.

    The cells that validate are those of the training where cells, seed and `validation_fraction`
    are the same, none were held out and it was not trained again with another key. Others have
    been trained on before: their bound tells whether the training went on, and not what it is on
    new cells. Cells that were held out take part; leave them out of `adata`.

    Args:
      model: the fitted model.
      adata: cells with the model's genes, of batches that it knows.
      num_epochs: times that the training takes every cell.
      training_options: fields of `training.TrainOptions` that should differ from those of the
        training, or from the defaults where a model was saved without them. Nothing is trained
        again with another key, so that there is no num_retries.
      batch_column: column of `obs` with the experimental batch; None: that of the training.
      layer: layer with the raw counts; None: that of the training, or `X`.
      seed: root of all randomness: another one than the training's validates on other cells.
      progress: whether to show a progress bar.
      on_progress: as in `fit`.

    Raises:
      InputError: as `fit`.

    Example:
      >>> longer = model.continue_training(adata, 50)
      >>> longer.history.query("split == 'validation'")[["epoch", "elbo"]]
    """
    check_progress(on_progress)
    settings = model.settings
    options = _options(settings, check("num_epochs", num_epochs, whole(1)), training_options)
    cells = cells_in_batches(
        model, adata, layer=layer, batch_column=batch_column, need_counts_for="continue_training"
    )
    warn_of_empty_cells(cells.num_cells, adata.n_obs, stacklevel=3, so=LEFT_OUT)
    built = Training.of(settings.model, settings.sampler, settings.sampler_options, options).build(
        len(settings.genes), len(settings.batch_names)
    )
    title, is_bound = model.vae.prior.model_name, has_bits(model.vae)
    with messages(progress), ProgressBar(title, progress, is_bound) as bar:
        LOGGER.info(
            "training goes on with %s options but for those given; the cells that validate have "
            "been trained on before, unless cells and seed are those of the training",
            "the training's" if settings.training else "default",
        )  # fmt: skip
        recorder = Recorder(told_both(bar.update, on_progress))
        one = training.Seed(keys.of_training(seed), built, params=model.params)
        (trained,) = training.train_seeds(
            [one], InMemory(device_counts(cells)), on_progress=recorder.update
        )
    history = recorder.history(0, trained)
    if model.measured is not None:
        history = history.after(model.measured)
    return type(model)(settings, trained.params, history)


def _options(
    settings: Settings, num_epochs: int, given: Mapping[str, Any] | None
) -> training.TrainOptions:
    """The options of the training, less what belongs to its beginning, and before them those given.

    Raises:
      InputError: an option that is unknown, cannot be used, or would do nothing.
    """
    given = {} if given is None else check_mapping("training_options", given)
    if unused := [name for name in _NOT_TAKEN if name in given]:
        raise InputError(
            f"expected training_options without {', '.join(unused)}, for continue_training trains "
            "its argument num_epochs once; leave them out"
        )
    own = dict(settings.training)
    if own:
        own |= {"kl_weight": own["kl_weight"] * own["final_kl_weight"], "final_kl_weight": 1.0}
    started = {
        "num_epochs": num_epochs, "validate_every": None, "report_epoch": "best",
        "kl_warmup": 0.0, "kl_warmup_epochs": None, "couplings_delay": 0.0, "sharpness_start": 0.0,
    }  # fmt: skip
    return from_dict(training.TrainOptions, "training", {**own, **started, **given})
