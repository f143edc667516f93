"""Training from an AnnData object or from preprocessed cells, in memory or on disk."""

import contextlib
import dataclasses
import functools
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anndata
import jax
import numpy as np

from qbm_jax import samplers, training
from qbm_jax.data import Cells, check_likelihood
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.data.on_disk import StoredCells
from qbm_jax.data.write import GATES, LOADINGS, embedding_key, energy_key
from qbm_jax.errors import InputError
from qbm_jax.feed import minibatches
from qbm_jax.feed.cell_source import CellSource, InMemory, Streamed
from qbm_jax.fitted.collapse import collapse_fault
from qbm_jax.fitted.empty_cells import full_rows, warn_of_empty_cells
from qbm_jax.fitted.history import Recorder
from qbm_jax.fitted.inputs import cells_to_fit, held_out_cells, mesh_sizes, some_in_memory
from qbm_jax.fitted.model import FittedModel, Settings, build_model, build_sampler, device_counts
from qbm_jax.fitted.progress import ProgressBar, check_progress, told_both
from qbm_jax.model import vae
from qbm_jax.model.priors import MODEL_NAMES, WITH_COUPLINGS
from qbm_jax.model.relaxations import TRACEABLE
from qbm_jax.runtime import keys
from qbm_jax.runtime import options as kinds
from qbm_jax.runtime.identity import digest_of
from qbm_jax.runtime.options import check, check_mapping, optional, whole
from qbm_jax.runtime.user_cache import expand_home
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.training.sharding import build_mesh

LEAST_LIBRARY_SD = 0.01  # of a log library: that of a batch of equal totals, or one cell, is 0
LOGGER = logging.getLogger("qbm_jax")


def fit(
    adata: Any,
    *,
    batch_column: str | None = None,
    layer: str | None = None,
    num_genes: int | None = 2000,
    num_latents: int = 128,
    sampler: str = "gibbs",
    sampler_options: dict[str, Any] | None = None,
    training_options: dict[str, Any] | None = None,
    seed: int = 0,
    name: str | None = None,
    progress: bool = True,
    held_out: Any = None,
    checkpoints: str | Path | None = None,
    on_progress: Callable[[training.Progress], None] | None = None,
    devices: tuple[int, int] | None = None,
    **model_options: Any,
) -> FittedModel:
    """Trains QBM-VAE on cells; into an AnnData it writes the embedding and the energy of each.

    `adata.obsm["X_qbmvae"]` gets the posterior mean spins, `adata.obs["qbm_energy"]` the expected
    energy of each cell; cells without any count in the genes used get NaN. A model without
    couplings has keys of its own: `X_bernoulli_vae` and `bernoulli_vae_energy` with prior
    "bernoulli", `X_gaussian_vae` and `gaussian_vae_energy` with prior "gaussian". What was there
    under the same key is overwritten, with a warning in the log. With likelihood "autozi"
    `adata.var["autozi_gate"]` gets the probability that each gene is zero-inflated, with decoder
    "linear" `adata.varm["loadings"]` the weight of each latent in each gene's scale logit; genes
    that are not modelled get NaN. Files and preprocessed cells are left as they are.

    Args:
      adata: an AnnData with raw counts in `X` or a layer; the path of an h5ad file or zarr folder,
        or a list of paths, whose cells stay on disk; or cells of `qbm_jax.data`, preprocessed.
      batch_column: column of `obs` with the experimental batch; None: one batch.
      layer: layer with the raw counts; None: `X`.
      num_genes: highly variable genes to model, chosen on all cells; None for all genes.
        Preprocessed cells keep theirs.
      num_latents: spins of the Boltzmann machine.
      sampler: a name of `samplers.SAMPLERS`, for the negative phase.
      sampler_options: options of the sampler; None: two sweeps a step for "gibbs".
      training_options: fields of `training.TrainOptions` that should differ from their defaults.
      seed: root of all randomness, from 0 to 2^32 - 1; the training is that of an experiment's
        first seed.
      name: of the model, in the keys that the embedding and, without couplings, the energy are
        written to; None: by its prior.
      progress: whether to show a progress bar.
      held_out: cells that take no part in training or in the choice of the epoch: a mask [cells] or
        indices, of the AnnData's cells or of the rows of all files. They are embedded as all are.
      checkpoints: folder where states of the training are kept; the same call goes on from there,
        and another one (other cells, options or seed) is refused. None: none are kept.
      on_progress: called after every dispatch and validation with a `training.Progress`; what it
        raises ends the training.
      devices: (data, spins), over how many devices cells and chains, and rows of J, are divided;
        None: the default device.
      **model_options: further arguments of `vae.build`, such as prior, likelihood, relaxation.

    Returns:
      The fitted model.

    Raises:
      InputError: data or options that cannot be used, or a checkpoint of another training.
      TrainingDiverged: a value was NaN or infinite.

    Example:
      >>> model = qbm_jax.fit(adata, batch_column="tech", held_out=adata.obs.donor == "D7")
      >>> model.bound(adata[adata.obs.donor == "D7"], batch_column="tech").value
    """
    prior = vae.check_options({"num_latents": num_latents, **model_options}).get("prior")
    options = train_options({} if training_options is None else training_options)
    samplers.check_options(sampler, {} if sampler_options is None else sampler_options)
    key = keys.of_training(seed)
    num_genes = check("num_genes", num_genes, optional(whole(1)))
    name = check("name", name, optional(kinds.name())) or MODEL_NAMES[prior or "boltzmann"]
    mesh = None if (sizes := mesh_sizes(devices)) is None else build_mesh(*sizes)
    check_progress(on_progress)
    _check_can_be_written(adata)
    cells = cells_to_fit(
        adata, batch_column=batch_column, layer=layer, num_genes=num_genes, progress=progress
    )
    left_out = held_out_cells(held_out, adata, cells)
    for note in cells.notes:
        LOGGER.info("%s", note)
    data = device_counts(cells) if isinstance(cells, Cells) else None
    with ProgressBar("qbmvae", options.num_epochs, enabled=progress) as bar:
        model, _ = fit_cells(
            key,
            cells,
            model_options={"num_latents": num_latents, **model_options},
            sampler=sampler,
            sampler_options=sampler_options,
            options=options,
            data=data,
            held_out=left_out,
            checkpoints=None if checkpoints is None else Checkpoints(expand_home(checkpoints)),
            on_progress=told_both(bar.update, on_progress),
            mesh=mesh,
        )
    if isinstance(adata, anndata.AnnData):
        warn_of_empty_cells(cells.num_cells, adata.n_obs)
    embedding, energy = model.encode_cells(some_in_memory(cells) if data is None else data)
    if isinstance(adata, anndata.AnnData):
        _write_results(adata, model, name, cells, embedding, energy)
    if fault := collapse_fault(embedding):
        warnings.warn(fault, stacklevel=2)
    return model


def _check_can_be_written(adata: Any) -> None:
    """Refuses what takes no results, before anything is trained."""
    if isinstance(adata, anndata.AnnData) and adata.is_view and adata.isbacked:
        raise InputError(
            "expected an AnnData that results can be written into, got a view of a backed file; "
            "give its cells in memory (adata.to_memory()) or the whole backed AnnData"
        )


def _write_results(
    adata: anndata.AnnData,
    model: FittedModel,
    name: str,
    cells: Cells | StoredCells,
    embedding: np.ndarray,
    energy: np.ndarray,
) -> None:
    """Writes what can be written, and warns of the rest: the trained model is worth more."""
    couplings = model.settings.model.get("prior", "boltzmann") in WITH_COUPLINGS
    written = embedding_key(name), energy_key(name, couplings=couplings)

    def by_cell(values: np.ndarray) -> np.ndarray:
        return full_rows(values, cells.rows, adata.n_obs)

    def by_gene(values: np.ndarray) -> np.ndarray:
        genes = adata.var_names.astype(str).get_indexer(list(cells.genes))
        return full_rows(values, genes, adata.n_vars)

    with _told_if_lost("the embedding and the energy"):
        say_overwritten(adata, *written)
        adata.obsm[written[0]] = by_cell(embedding)
        adata.obs[written[1]] = by_cell(energy)
    with _told_if_lost("what the model knows of genes"):
        gates, loadings = model.gene_results()
        if gates is not None:
            adata.var[GATES] = by_gene(gates)
        if loadings is not None:
            adata.varm[LOADINGS] = by_gene(loadings)


@contextlib.contextmanager
def _told_if_lost(what: str) -> Iterator[None]:
    """Warns where results could not be written into an AnnData, whatever the reason."""
    try:
        yield
    except Exception as error:  # any, of anndata and pandas: the model is trained and goes back
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        warnings.warn(
            f"the model is trained, but could not write {what} into adata ({reason}); the model is "
            "returned: use its embed and energy",
            stacklevel=5,
        )


def say_overwritten(adata: Any, embedding: str, energy: str) -> None:
    """Logs a warning for each key of the results that the AnnData object has already."""
    for where, key in (("obsm", embedding), ("obs", energy)):
        if key in getattr(adata, where):
            LOGGER.warning(
                "%s[%r] was there and is overwritten; give fit another name= to keep both",
                where, key,
            )  # fmt: skip


def fit_cells(
    key: jax.Array,
    cells: Cells | StoredCells,
    *,
    held_out: np.ndarray | None = None,
    **arguments: Any,
) -> tuple[FittedModel, training.Trained]:
    """Trains on preprocessed cells; what `fit` and the experiments share.

    Args:
      key: the run's root key.
      cells: preprocessed cells.
      held_out: indices of cells that take no part in training or in the choice of the epoch.
      **arguments: of `fit_cells_seeds`.

    Raises:
      InputError: as `fit_cells_seeds`.
    """
    return fit_cells_seeds([key], cells, held_out=[held_out], **arguments)[0]


def fit_cells_seeds(
    keys: Sequence[jax.Array],
    cells: Cells | StoredCells,
    *,
    model_options: dict[str, Any],
    sampler: str,
    sampler_options: dict[str, Any] | None,
    options: training.TrainOptions,
    **arguments: Any,
) -> list[tuple[FittedModel, training.Trained]]:
    """Trains several seeds of one setting together, see `training.train_seeds`.

    Args:
      keys: one root key per seed.
      cells: preprocessed cells.
      model_options: as in `Setting`.
      sampler: likewise.
      sampler_options: likewise.
      options: how to train.
      **arguments: of `fit_cells_settings`.

    Returns:
      Model and training of each key.

    Raises:
      InputError: as `fit_cells_settings`.
    """
    settings = [Setting(key, model_options, sampler, sampler_options, options) for key in keys]
    return fit_cells_settings(settings, cells, **arguments)


@dataclasses.dataclass(frozen=True)
class Setting:
    """One training.

    Attributes:
      key: its root key.
      model_options: keyword arguments of `vae.build`; with library "latent", `library_prior` is
        computed from the cells if it is not among them.
      sampler: a name of `samplers.SAMPLERS`; not used by priors with a closed log Z.
      sampler_options: its options; None for `training.NEGATIVE_PHASE`.
      options: how to train.
    """

    key: jax.Array
    model_options: dict[str, Any]
    sampler: str
    sampler_options: dict[str, Any] | None
    options: training.TrainOptions


def fit_cells_settings(
    settings: Sequence[Setting],
    cells: Cells | StoredCells,
    *,
    data: minibatches.DeviceCounts | CellSource | None = None,
    checkpoints: Checkpoints | None = None,
    held_out: Sequence[np.ndarray | None] | None = None,
    on_progress: Callable[[training.Progress], None] = lambda progress: None,
    **train_arguments: Any,
) -> list[tuple[FittedModel, training.Trained]]:
    """Trains several settings side by side, see `training.train_seeds`.

    Those whose models and samplers are equal share one program; their training options may differ
    in `training.TUNABLE` alone.

    Args:
      settings: what to train.
      cells: preprocessed cells, in memory or on disk.
      data: the same cells on the device, or where they come from, to put them there once; None: it
        is done here.
      checkpoints: where states are kept, each with its identity (see `identity`): those of other
        cells or settings are refused.
      held_out: as in `training.train_seeds`.
      on_progress: as in `training.train_seeds`; what it is told is each model's history as well.
      **train_arguments: `should_stop`, `method`, ... of `training.train_seeds`.

    Returns:
      Model and training of each setting.

    Raises:
      InputError: options that cannot be used or not together, counts that the likelihood does not
        accept, cells that could not be read, or a checkpoint of another training.
    """
    described = [describe(setting, cells) for setting in settings]
    models = [build_model(each) for each in described]
    for each in described:
        check_likelihood(cells, each.model["likelihood"])
    keys, options = ([getattr(s, name) for s in settings] for name in ("key", "options"))
    drawn_by = [
        build_sampler(model, each.sampler, each.sampler_options)
        for model, each in zip(models, described, strict=True)
    ]
    if checkpoints is not None:
        checkpoints.identity = identity(settings, described, cells, held_out)
    recorder = Recorder(on_progress)
    with contextlib.nullcontext(data) if data is not None else open_source(cells) as source:
        trained = training.train_seeds(
            keys, models, drawn_by, source, options,
            members=families(settings, models, described), checkpoints=checkpoints,
            held_out=held_out, on_progress=recorder.update, **train_arguments,
        )  # fmt: skip
    return [
        (FittedModel(each, result.params, recorder.history(number, result)), result)
        for number, (each, result) in enumerate(zip(described, trained, strict=True))
    ]


def families(
    settings: Sequence[Setting], models: Sequence[vae.VAE], described: Sequence[Settings]
) -> list[training.Member | None]:
    """For each setting the family of those that differ from it in traceable numbers alone.

    These are the sharpness of the relaxation and the sampler's options that may be traced
    (`samplers.traceable`), where they are given as floats. A setting that has neither belongs to
    none; trainings with equal models and samplers need none.
    """
    first: dict[str, training.Family] = {}
    members: list[training.Member | None] = []
    for setting, model, each in zip(settings, models, described, strict=True):
        options, sampler_options = dict(each.model), dict(each.sampler_options)
        sharpness = None
        if options.get("relaxation") in TRACEABLE and not setting.options.sharpness_start:
            sharpness = options.pop("sharpness", None)
        numbers = {}
        if model.prior.log_z is None:
            may_vary = samplers.traceable(each.sampler)
            numbers = {
                k: v for k, v in sampler_options.items() if k in may_vary and isinstance(v, float)
            }
        fixed = {k: v for k, v in sampler_options.items() if k not in numbers}
        name = json.dumps([options, sharpness is None, each.sampler, fixed, sorted(numbers)])
        if name not in first:
            build = functools.partial(samplers.build, each.sampler, **fixed)
            first[name] = training.Family(model, build if numbers else None)
        traceable = sharpness is not None or numbers
        member = training.Member(first[name], sharpness, tuple(sorted(numbers.items())))
        members.append(member if traceable else None)
    return members


def describe(setting: Setting, cells: Cells | StoredCells) -> Settings:
    """What will rebuild the model of this setting."""
    sampler_options = setting.sampler_options
    if sampler_options is None:
        sampler_options = training.NEGATIVE_PHASE.get(setting.sampler, {})
    options = setting.model_options
    return Settings(
        genes=tuple(cells.genes),
        batch_names=cells.batch_names,
        model={
            "likelihood": "nb",
            **options,
            **library_prior(cells, options),
        },
        sampler=setting.sampler,
        sampler_options=dict(sampler_options),
        median_library=tuple(float(np.median(totals)) for totals in totals_by_batch(cells)),
    )


def identity(
    settings: Sequence[Setting],
    described: Sequence[Settings],
    cells: Cells | StoredCells,
    held_out: Sequence[np.ndarray | None] | None,
) -> dict[str, Any]:
    """What trainings on these cells are, by part: equal ones take the same steps to the bit.

    The cells' parts (`data.fingerprint`), then of every setting its key, the cells held out, and
    the options of model, sampler and training. On which devices it runs is no part: a training may
    go on with others.

    Args:
      settings: what is trained.
      described: their models, as `describe` gives them.
      cells: what they are trained on.
      held_out: indices of cells left out, per setting; None: none are.
    """
    parts = {f"cells.{name}": value for name, value in fingerprint(cells).items()}
    left_out = [None] * len(settings) if held_out is None else held_out
    for number, (setting, each) in enumerate(zip(settings, described, strict=True)):
        groups = {
            "model": each.model,
            "sampler": each.sampler_options,
            "training": dataclasses.asdict(setting.options),
        }
        own = {f"{group}.{name}": v for group, given in groups.items() for name, v in given.items()}
        own |= {
            "sampler": each.sampler,
            "key": np.asarray(jax.random.key_data(setting.key)),
            "held_out": digest_of(left_out[number]),
        }
        prefix = f"training {number}: " if len(settings) > 1 else ""
        parts |= {prefix + name: value for name, value in own.items()}
    return parts


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
    """Total counts of the cells of each batch."""
    return [cells.totals[cells.batch == batch] for batch in range(len(cells.batch_names))]


def library_prior(cells: Cells | StoredCells, model_options: dict[str, Any]) -> dict[str, Any]:
    """The option `library_prior` where the library size is latent and it is not given; else none.

    Mean and standard deviation of the log total count in each batch, of all its cells: models that
    hold out other cells are then the same model.
    """
    if model_options.get("library") != "latent" or "library_prior" in model_options:
        return {}
    logs = [np.log(totals) for totals in totals_by_batch(cells)]
    prior = tuple((float(x.mean()), max(float(x.std()), LEAST_LIBRARY_SD)) for x in logs)
    return {"library_prior": prior}


def train_options(fields: dict[str, Any]) -> training.TrainOptions:
    """Training options from plain fields.

    Raises:
      InputError: an unknown field, or a value out of range.
    """
    fields = check_mapping("training_options", fields)
    valid = [field.name for field in dataclasses.fields(training.TrainOptions)]
    unknown = sorted(set(fields) - set(valid))
    if unknown:
        raise InputError(f"unknown training options {unknown}; choose from {', '.join(valid)}")
    return training.TrainOptions(**fields)
