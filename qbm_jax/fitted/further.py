"""Training goes on from a trained model: more epochs, or other cells of the same batches."""

from collections.abc import Callable
from typing import Any

from qbm_jax import training
from qbm_jax.feed.cell_source import InMemory
from qbm_jax.fitted.document import OneModel
from qbm_jax.fitted.history import Recorder
from qbm_jax.fitted.model_cells import cells_in_batches, device_counts
from qbm_jax.fitted.progress import ProgressBar, check_progress, messages, told_both
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import check, from_dict, whole
from qbm_jax.training import Training


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
    from the first step. The result is never worse on the cells that validate: where training makes
    the bound worse, its parameters are these.

    Args:
      model: the fitted model.
      adata: cells with the model's genes, of batches that it knows.
      num_epochs: times that the training takes every cell.
      training_options: fields of `training.TrainOptions` that should differ from their defaults.
      batch_column: column of `obs` with the experimental batch; None: that of the training.
      layer: layer with the raw counts; None: that of the training, or `X`.
      seed: root of all randomness: another one validates on other cells.
      progress: whether to show a progress bar.
      on_progress: as in `fit`.

    Raises:
      InputError: as `fit`.

    Example:
      >>> longer = model.continue_training(adata, 50)
      >>> longer.history.query("split == 'validation'")[["epoch", "elbo"]]
    """
    check_progress(on_progress)
    fields = {
        "num_epochs": check("num_epochs", num_epochs, whole(1)),
        "kl_warmup": 0.0,
        "report_epoch": "best",
        "couplings_delay": 0.0,
        **(training_options or {}),
    }
    options = from_dict(training.TrainOptions, "training", fields)
    cells = cells_in_batches(
        model, adata, layer=layer, batch_column=batch_column, need_counts_for="continue_training"
    )
    settings = model.settings
    built = Training.of(settings.model, settings.sampler, settings.sampler_options, options).build(
        len(settings.genes), len(settings.batch_names)
    )
    with messages(progress), ProgressBar(model.vae.prior.model_name, enabled=progress) as bar:
        recorder = Recorder(told_both(bar.update, on_progress))
        (trained,) = training.train_seeds(
            [keys.of_training(seed)], built.vae, built.sampler, InMemory(device_counts(cells)),
            built.options, records=[built.record], on_progress=recorder.update,
            start=[model.params],
        )  # fmt: skip
    history = recorder.history(0, trained)
    if model.measured is not None:
        history = history.after(model.measured)
    return type(model)(settings, trained.params, history)
