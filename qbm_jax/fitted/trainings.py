"""Trainings of preprocessed cells, in memory or on disk: what the cells decide, and the models."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from qbm_jax import training
from qbm_jax.data import Cells, check_likelihood
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.data.on_disk import StoredCells
from qbm_jax.feed import minibatches
from qbm_jax.feed.cell_source import CellSource, InMemory, Streamed, as_source
from qbm_jax.fitted import alarms
from qbm_jax.fitted.history import Recorder
from qbm_jax.fitted.model import FittedModel, Settings, device_counts
from qbm_jax.fitted.retries import OnValidation, Snapshots, with_retries
from qbm_jax.model import library_size
from qbm_jax.runtime.identity import digest_of
from qbm_jax.runtime.options import from_dict
from qbm_jax.training import Training
from qbm_jax.training.checkpoint import Checkpoints

UNUSED = training.sampler_spec("gibbs", None)  # stands where a prior needs none


def fit_cells(
    key: jax.Array,
    one: Training,
    cells: Cells | StoredCells,
    *,
    held_out: np.ndarray | None = None,
    **arguments: Any,
) -> tuple[FittedModel, training.Trained]:
    """Trains one model on preprocessed cells.

    Args:
      key: the training's root key.
      one: what to train.
      cells: preprocessed cells.
      held_out: indices [held-out cells] of cells that take no part in training or in the choice of
        the epoch.
      **arguments: of `fit_trainings`.

    Raises:
      InputError: as `fit_trainings`.
    """
    return fit_trainings([key], [one], cells, held_out=[held_out], **arguments)[0]


def fit_trainings(
    keys: Sequence[jax.Array],
    trainings: Sequence[Training],
    cells: Cells | StoredCells,
    *,
    data: minibatches.DeviceCounts | CellSource | None = None,
    checkpoints: Checkpoints | None = None,
    held_out: Sequence[np.ndarray | None] | None = None,
    on_progress: Callable[[training.Progress], None] = lambda progress: None,
    on_snapshots: Callable[[int, Snapshots], None] | None = None,
    **train_arguments: Any,
) -> list[tuple[FittedModel, training.Trained]]:
    """Trains side by side, see `training.train_seeds`.

    Those whose models and samplers are equal share one program; their training options may differ
    in numbers alone (`training.without_numbers`).

    Args:
      keys: one root key per training.
      trainings: what to train.
      cells: preprocessed cells, in memory or on disk.
      data: the same cells on the device, or where they come from, to put them there once; None: it
        is done here.
      checkpoints: where states are kept, each with its identity (see `identity`): those of other
        cells or trainings are refused.
      held_out: indices [held-out cells] per training, as in `training.Seed`; None: all take all.
      on_progress: as in `training.train_seeds`; what it is told is each model's history as well.
      on_snapshots: as in `with_retries`: told the parameters at every validation.
      **train_arguments: `should_stop`, `method`, ... of `training.train_seeds`.

    Returns:
      Model and result of each training.

    Raises:
      InputError: options that cannot be used or not together, counts that the likelihood does not
        accept, cells that could not be read, or a checkpoint of another training.
    """
    trainings = [of_cells(each, cells) for each in trainings]
    built = [each.build(len(cells.genes), len(cells.batch_names)) for each in trainings]
    for each in trainings:
        check_likelihood(cells, each.model.likelihood, each.model.num_categories)
    recorder = Recorder(on_progress)
    left_out = [None] * len(keys) if held_out is None else held_out

    def train(
        numbers: list[int], roots: list[jax.Array], attempt: int, tell: Callable[..., None],
        keep: OnValidation,
    ) -> list[training.Trained]:  # fmt: skip
        chosen, without = [trainings[i] for i in numbers], [left_out[i] for i in numbers]
        seeds = map(training.Seed, roots, [built[i] for i in numbers], without)
        place = checkpoints.again(attempt) if checkpoints and attempt else checkpoints
        if place is not None:
            place.identity = identity(roots, chosen, cells, without)
            place.told_as = option_name
        return training.train_seeds(
            list(seeds), source, checkpoints=place, on_progress=tell, on_validation=keep,
            **train_arguments,
        )  # fmt: skip

    def collapsed(number: int, result: training.Trained) -> str | None:
        shown, rows = as_source(source).select(result.validation_cells)
        model = FittedModel(describe(trainings[number], cells), result.params)
        return alarms.collapse_fault(model.encode_cells(shown)[0][rows])

    with contextlib.nullcontext(data) if data is not None else open_source(cells) as source:
        trained = with_retries(
            train, keys, collapsed, trainings[0].options.num_retries, recorder.update, on_snapshots
        )
    return [
        (
            FittedModel(describe(each, cells), result.params, recorder.history(number, result)),
            result,
        )
        for number, (each, result) in enumerate(zip(trainings, trained, strict=True))
    ]


def of_cells(one: Training, cells: Cells | StoredCells) -> Training:
    """The training with what the cells decide of its model: the `library_prior`, if it needs one.

    Mean and standard deviation of the log total count in each batch, of all its cells with a count:
    models that hold out other cells are then the same model.
    """
    if one.model.library != "latent" or one.model.library_prior is not None:
        return one
    prior = tuple(library_size.prior_of(totals) for totals in totals_by_batch(cells))
    return dataclasses.replace(one, model=dataclasses.replace(one.model, library_prior=prior))


def describe(one: Training, cells: Cells | StoredCells) -> Settings:
    """What will rebuild the model of this training."""
    sampler = one.sampler or UNUSED
    return Settings(
        genes=tuple(cells.genes),
        batch_names=cells.batch_names,
        model=dataclasses.asdict(one.model),
        sampler=sampler.name,
        sampler_options=dict(sampler.options),
        median_library=tuple(float(np.median(totals)) for totals in totals_by_batch(cells)),
        batch_column=cells.batch_column,
        training=dataclasses.asdict(one.options),
    )


def identity(
    keys: Sequence[jax.Array],
    trainings: Sequence[Training],
    cells: Cells | StoredCells,
    held_out: Sequence[np.ndarray | None] | None,
) -> dict[str, Any]:
    """What trainings on these cells are, by part: equal ones take the same steps to the bit.

    The cells' parts (`data.fingerprint`), then of every training its key, the cells held out, and
    its record. On which devices it runs is no part: a training may go on with others.

    Args:
      keys: of the trainings.
      trainings: what is trained, with what the cells decide (`of_cells`).
      cells: what they are trained on.
      held_out: indices [held-out cells] of cells left out, per training; None: none are.
    """
    parts = {f"cells.{name}": value for name, value in fingerprint(cells).items()}
    left_out = [None] * len(trainings) if held_out is None else held_out
    for number, (key, one) in enumerate(zip(keys, trainings, strict=True)):
        sampler = one.sampler or UNUSED
        groups = {
            "model": dataclasses.asdict(one.model),
            "sampler": dict(sampler.options),
            "training": dataclasses.asdict(one.options),
        }
        own = {f"{group}.{name}": v for group, given in groups.items() for name, v in given.items()}
        own |= {
            "sampler": sampler.name,
            "key": np.asarray(jax.random.key_data(key)),
            "held_out": digest_of(left_out[number]),
        }
        prefix = f"training {number}: " if len(trainings) > 1 else ""
        parts |= {prefix + name: value for name, value in own.items()}
    return parts


def option_name(part: str) -> str:
    """A part of the `identity` in the words of `fit`: options of model and training stand alone."""
    return re.sub(r"\b(?:model|training)\.", "", part).replace("sampler.", "sampler_options.")


@contextlib.contextmanager
def open_source(cells: Cells | StoredCells) -> Iterator[CellSource]:
    """Cells in memory on the device; cells on disk as they are asked for, until the block ends.

    Raises:
      InputError: a file cannot be opened.
    """
    if isinstance(cells, Cells):
        yield InMemory(device_counts(cells))
    else:
        with cells.reader() as reader:
            yield Streamed(reader)


def totals_by_batch(cells: Cells | StoredCells) -> list[np.ndarray]:
    """Total counts of the cells of each batch, an array [cells of the batch] per batch."""
    return [cells.totals[cells.batch == batch] for batch in range(len(cells.batch_names))]


def train_options(fields: Mapping[str, Any]) -> training.TrainOptions:
    """Training options from plain fields.

    Raises:
      InputError: an unknown field, or a value out of range.
    """
    return from_dict(training.TrainOptions, "training", fields)
