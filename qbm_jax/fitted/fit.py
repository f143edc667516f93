"""Training from an AnnData object, files or preprocessed cells, and what is written back."""

import contextlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np

from qbm_jax import training
from qbm_jax.data import Cells
from qbm_jax.data.on_disk import StoredCells
from qbm_jax.data.write import GATES, LOADINGS, QBM_ENERGY, embedding_key, energy_key
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.fitted import alarms
from qbm_jax.fitted.empty_cells import full_rows, warn_of_empty_cells
from qbm_jax.fitted.inputs import (
    cells_to_fit,
    held_out_cells,
    mesh_sizes,
    remember_layer,
    some_in_memory,
    warn_of_untrained_batches,
    what_is_modelled,
)
from qbm_jax.fitted.model import FittedModel, device_counts
from qbm_jax.fitted.preset_options import choose, for_cells
from qbm_jax.fitted.progress import ProgressBar, check_progress, messages, tell_notes, told_both
from qbm_jax.fitted.scvi_names import check_arguments
from qbm_jax.fitted.trainings import fit_cells
from qbm_jax.model import priors
from qbm_jax.model.options import ModelOptions
from qbm_jax.runtime import keys
from qbm_jax.runtime import options as kinds
from qbm_jax.runtime.options import check, optional, whole
from qbm_jax.runtime.user_cache import expand_home
from qbm_jax.samplers import Sampler
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.training.sharding import build_mesh

NUM_GENES = 1000  # highly variable genes that are modelled unless told otherwise
LOGGER = logging.getLogger("qbm_jax")


def fit(
    adata: Any,
    *,
    preset: str = "qbmvae",
    batch_column: str | Sequence[str] | None = None,
    covariates: Sequence[str] = (),
    layer: str | None = None,
    use_raw: bool = False,
    num_genes: int | None = NUM_GENES,
    num_latents: int | None = None,
    sampler: str | Sampler | None = None,
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

    What is trained weighs the KL by `TrainOptions.kl_weight`, so that the prior can speak; every
    bound that the model tells is at weight 1.

    Args:
      adata: an AnnData with raw counts in `X` or a layer; the path of an h5ad file or zarr folder,
        or a list of paths, whose cells stay on disk; or cells of `qbm_jax.data`, preprocessed.
      preset: a name of `model.presets.PRESETS`, such as "scvi": the method, at the settings that
        its authors ship. What is given beside it goes before these settings.
      batch_column: column of `obs` with the experimental batch, or several, of which each
        combination is a batch; None: one batch.
      covariates: further such columns, as several batch columns are taken.
      layer: layer with the raw counts, which the model's methods then read as well; None: `X`.
      use_raw: take the counts and genes of `adata.raw`; the model's methods then want
        `adata.raw.to_adata()`.
      num_genes: highly variable genes to model, chosen on all cells; None for all genes.
        Preprocessed cells keep theirs.
      num_latents: spins of the Boltzmann machine; None: the preset's number.
      sampler: of the negative phase, a name of `samplers.SAMPLERS` or a `Sampler` that is built;
        `samplers.register` gives that one a name for saving. None: the preset's, "gibbs" where it
        has none.
      sampler_options: options of the sampler; None: two sweeps a step for "gibbs".
      training_options: fields of `training.TrainOptions` that should differ from their defaults.
      seed: root of all randomness, from 0 to 2^32 - 1; the training is that of an experiment's
        first seed.
      name: of the model, in the keys that the embedding and, without couplings, the energy are
        written to; None: by its prior.
      progress: whether to show a progress bar.
      held_out: cells that take no part in training or in the choice of the epoch: a mask [cells] or
        indices, of the AnnData's cells or of the rows of all files; a mask that is a pandas Series
        goes by the AnnData's names. They are embedded as all are.
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
    own = (
        name
        for name, each in inspect.signature(fit).parameters.items()
        if each.kind != each.VAR_KEYWORD
    )
    check_arguments(model_options, own, kinds.field_kinds(ModelOptions))
    if num_latents is not None:
        model_options["num_latents"] = num_latents
    one = choose(preset, model_options, sampler, sampler_options, training_options)
    key = keys.of_training(seed)
    num_genes = check("num_genes", num_genes, optional(whole(1)))
    prior = priors.build(one.model.prior)
    name = check("name", name, optional(kinds.name())) or prior.model_name
    mesh = None if (sizes := mesh_sizes(devices)) is None else build_mesh(*sizes)
    check_progress(on_progress)
    _check_can_be_written(adata)
    with messages(progress):
        cells = cells_to_fit(
            adata, batch_column=_with_covariates(batch_column, covariates), layer=layer,
            use_raw=use_raw, num_genes=num_genes, progress=progress,
        )  # fmt: skip
        tell_notes((*cells.notes, what_is_modelled(cells)))
        left_out = held_out_cells(held_out, adata, cells)
        warn_of_untrained_batches(cells, left_out)
    data = device_counts(cells) if isinstance(cells, Cells) else None
    bounds = priors.has_bounds(one.model.prior, one.model.relaxation)
    with messages(progress), ProgressBar(prior.model_name, progress, bounds) as bar:
        model, _ = fit_cells(
            key,
            for_cells(one, preset, training_options, cells.num_cells),
            cells,
            data=data,
            held_out=left_out,
            checkpoints=None if checkpoints is None else Checkpoints(expand_home(checkpoints)),
            on_progress=told_both(bar.update, on_progress),
            mesh=mesh,
        )
    remember_layer(model, layer)
    _embed(adata, model, name, cells, data)
    return model


def _with_covariates(
    batch_column: str | Sequence[str] | None, covariates: Sequence[str]
) -> str | Sequence[str] | None:
    """The columns whose combinations are batches."""
    further = [covariates] if isinstance(covariates, str) else list(covariates or ())
    if not further:
        return batch_column
    columns = () if batch_column is None else batch_column
    return [*([columns] if isinstance(columns, str) else columns), *further]


def _check_can_be_written(adata: Any) -> None:
    """Refuses what takes no results, before anything is trained."""
    if isinstance(adata, anndata.AnnData) and adata.is_view and adata.isbacked:
        raise InputError(
            "expected an AnnData that results can be written into, got a view of a backed file; "
            "give its cells in memory (adata.to_memory()) or the whole backed AnnData"
        )


def _embed(
    adata: Any, model: FittedModel, name: str, cells: Cells | StoredCells, data: DeviceCounts | None
) -> None:
    """Embeds the cells, or some of many on disk: an AnnData gets the results, the user alarms."""
    if isinstance(adata, anndata.AnnData):
        warn_of_empty_cells(cells.num_cells, adata.n_obs)
    shown = some_in_memory(cells)
    embedding, energy = model.encode_cells(shown if data is None else data)
    if isinstance(adata, anndata.AnnData):
        _write_results(adata, model, name, cells, embedding, energy)
    for alarm in alarms.of_model(model, embedding, shown):
        warnings.warn(alarm, stacklevel=3)


def _write_results(
    adata: anndata.AnnData,
    model: FittedModel,
    name: str,
    cells: Cells | StoredCells,
    embedding: np.ndarray,
    energy: np.ndarray,
) -> None:
    """Writes what can be written, and warns of the rest: the trained model is worth more."""
    written = embedding_key(name), energy_key(name, couplings=model.vae.prior.couplings)

    def by_cell(values: np.ndarray) -> np.ndarray:
        return full_rows(values, cells.rows, adata.n_obs)

    def by_gene(values: np.ndarray) -> np.ndarray:
        genes = adata.var_names.astype(str).get_indexer(list(cells.genes))
        there = genes >= 0  # genes of `raw` may not be in `var`
        return full_rows(values[there], genes[there], adata.n_vars)

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
            stacklevel=6,
        )


def say_overwritten(adata: Any, embedding: str, energy: str) -> None:
    """Logs a warning for each key of the results that the AnnData object has already."""
    for where, key in (("obsm", embedding), ("obs", energy)):
        if key in getattr(adata, where):
            remedy = "copy it first" if key == QBM_ENERGY else "give fit another name="
            LOGGER.warning(
                "%s[%r] was there and is overwritten; %s to keep both", where, key, remedy
            )
