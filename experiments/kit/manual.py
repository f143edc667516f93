"""The manual of a run: what is configured besides model, sampler and training, born here.

`SECTIONS` makes the config's defaults, the checks of its values and the text of the help.
"""

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from qbm_jax.fitted.bounds import NUM_DRAWS, NUM_TEMPERATURES
from qbm_jax.fitted.fit import NUM_GENES
from qbm_jax.fitted.model_report import DIAGNOSTIC_DRAWS
from qbm_jax.fitted.scoring import MAX_CELLS
from qbm_jax.model.options import ModelOptions
from qbm_jax.runtime.options import (
    Kind,
    check,
    check_fields,
    choice,
    describe,
    field,
    field_defaults,
    field_kinds,
    flag,
    not_negative,
    seed,
    text,
    whole,
)
from qbm_jax.samplers import SAMPLERS, negative_phase
from qbm_jax.training.options import TrainOptions


@dataclasses.dataclass(frozen=True)
class RunFields:
    """The fields outside of all sections."""

    experiment: str = field("integration", text(), "a name of launch.EXPERIMENTS")
    name: str = field(
        "", text(), 'of the model, X_<name> in obsm; "": qbmvae, or "model" if it has no couplings'
    )
    seed: int = field(0, seed(), "root of every random number of the run")
    num_seeds: int = field(5, whole(1), "trainings per model, each with its own key of the seed")
    tensorboard: bool = field(
        False, flag(), "writes event files to workdir/tensorboard as well (needs tensorboardX)"
    )


@dataclasses.dataclass(frozen=True)
class DeviceFields:
    """Devices that share one training of experiment integration; data x spins: all there are."""

    data: int = field(1, whole(0), "cells and chains are divided over these; 0: all, everywhere")
    spins: int = field(1, whole(1), "the rows of J are divided over these")


@dataclasses.dataclass(frozen=True)
class DataFields:
    """The cells."""

    name: str = field(
        "pancreas",
        text(),
        "pancreas, lung, immune: public sets; those of docs/data.md, in cache_dir; "
        "simulated:pancreas, toy, atlas, rare (planted couplings; :couplings=0 after the name "
        "scales them), tree, copula (none); also "
        ":batches=30:genes=300",
    )
    path: str = field(
        "", text(), "an h5ad file; overrides name; on disk: several, with commas between"
    )
    on_disk: bool = field(
        False,
        flag(),
        "cells stay in their files (h5ad or zarr, CSR) and are read while training, in bounded "
        "memory",
    )
    batch_column: str = field(
        "", text(), 'obs column of the experimental batch; "": none, or the named set\'s own'
    )
    label_column: str = field(
        "", text(), 'obs column of the cell type; "": none, or the named set\'s own'
    )
    batch_of: str = field(
        "column",
        text(),
        "column; file: each file on disk is a batch; column_and_file: equal names in two files are "
        "two",
    )
    genes_of: str = field(
        "first",
        text(),
        "of several files on disk: first (which the others must have), intersection, union",
    )
    layer: str = field("", text(), 'layer with raw counts; "": X, or the named set\'s own')
    use_raw: bool = field(False, flag(), "takes counts and genes from adata.raw")
    cache_dir: str = field(
        "", text(), 'downloads, sets by name; "": $QBM_JAX_CACHE, or the user\'s cache directory'
    )
    allow_simulated: bool = field(
        True, flag(), "no file and no network: simulate (said everywhere) or fail"
    )
    num_cells: int = field(0, whole(0), "simulated cells; 0: the preset's own number")
    num_genes: int = field(NUM_GENES, whole(2), "highly variable genes kept (seurat_v3, per batch)")
    min_cells_per_gene: int = field(3, whole(0), "genes seen in fewer cells are dropped")


@dataclasses.dataclass(frozen=True)
class BaselineFields:
    """Beside the run's own model: models with the same networks and epochs, and Harmony."""

    gaussian_vae: bool = field(True, flag(), "Gaussian prior, gaussian_latents latents")
    gaussian_vae_wide: bool = field(True, flag(), "Gaussian prior, as many latents as the model")
    bernoulli_vae: bool = field(True, flag(), "J = 0: what the couplings are worth")
    gaussian_latents: int = field(10, whole(2), "latents of gaussian_vae")
    harmony: bool = field(
        False, flag(), "Harmony on the principal components, which takes no training"
    )


@dataclasses.dataclass(frozen=True)
class EvaluationFields:
    """How the trained models are measured."""

    log_z_temperatures: int = field(
        NUM_TEMPERATURES, whole(1), "temperatures of the AIS behind the reported bounds"
    )
    posterior_draws: int = field(
        NUM_DRAWS, whole(1), "per validation cell, for the reported bounds"
    )
    pca_components: int = field(50, whole(1), "of the uncorrected PCA baseline")
    max_scored_cells: int = field(
        MAX_CELLS, whole(1), "larger sets are scored on a stratified subsample of so many"
    )
    diagnostic_draws: int = field(
        DIAGNOSTIC_DRAWS, whole(1), "negative phases behind the autocorrelation figure"
    )


SAMPLER = "gibbs"  # unless another is named


@dataclasses.dataclass(frozen=True)
class ScviToolsFields:
    """What of scvi-tools' SCVI a comparison may tune; the defaults are scvi-tools' own."""

    n_latent: int = field(10, whole(1), "latents")
    n_hidden: int = field(128, whole(1), "width of the hidden layers")
    n_layers: int = field(1, whole(1), "hidden layers of encoder and decoder each")
    gene_likelihood: str = field("zinb", choice(("zinb", "nb")), "law of the counts")
    max_kl_weight: float = field(1.0, not_negative(), "weight of the KL term after its warm-up")

    def __post_init__(self) -> None:
        check_fields(self)


SECTIONS = {
    "": RunFields,
    "devices": DeviceFields,
    "data": DataFields,
    "model": ModelOptions,
    "training": TrainOptions,
    "baselines": BaselineFields,
    "evaluation": EvaluationFields,
}
"""Where each field of a config is born; the section sampler has one part for each sampler."""


def base_config() -> ConfigDict:
    """The defaults of every section; a sampler's options are those of the negative phase."""
    config = ConfigDict()
    for section, options in SECTIONS.items():
        if section:
            config[section] = section_of(options)
        else:
            config.update(section_of(options))
    config.sampler = ConfigDict({"name": SAMPLER, **negative_phase()})
    return config


def section_of(options: type) -> ConfigDict:
    """A dataclass of options as a section of a config, with its defaults."""
    kinds = field_kinds(options)
    return ConfigDict(
        {
            name: config_dict.placeholder(kinds[name].plain_type) if default is None else default
            for name, default in field_defaults(options).items()
        }
    )


def run_kinds() -> dict[str, Kind]:
    """Kinds of the fields outside of model, sampler and training, by dotted path."""
    return {
        f"{section}.{name}".removeprefix("."): kind
        for section, options in SECTIONS.items()
        if section not in ("model", "training")
        for name, kind in field_kinds(options).items()
    }


def check_run_fields(values: dict[str, Any]) -> None:
    """Checks what a config has outside of model, sampler and training.

    Args:
      values: fields by dotted path. What experiments add to section evaluation are counts.

    Raises:
      InputError: one is not of its kind; the message names it.
    """
    kinds = run_kinds()
    for path, value in values.items():
        kind = kinds.get(path) or (whole(1) if path.startswith("evaluation.") else None)
        if kind is not None:
            check(f"config.{path}", value, kind)


def help_text() -> str:
    """Every field of the base config: its default, what it is, and what it may be."""
    lines = []
    for section, options in SECTIONS.items():
        summary = (options.__doc__ or "").partition("\n")[0]
        lines += _section(section, summary, options, field_defaults(options))
    lines += ["", "config.sampler: What draws the negative phase, and the options of each by name."]
    lines += [f"  name = {SAMPLER!r}: one of {', '.join(SAMPLERS)}"]
    for name, entry in SAMPLERS.items():
        lines += _section(f"sampler.{name}", entry.summary, entry.options, entry.negative_phase)
    return "\n".join(lines)


def _section(section: str, summary: str, options: type, given: Mapping[str, Any]) -> list[str]:
    """A line over some options, and one for each with its value here."""
    described = describe(options)
    lines = ["", f"{'.'.join(filter(None, ('config', section)))}: {summary}"]
    for name, default in given.items():
        said = f"{name} = {default!r}: {described[name]}"
        lines += textwrap.wrap(said, 100, initial_indent="  ", subsequent_indent="      ")
    return lines
