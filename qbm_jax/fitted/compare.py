"""Several methods on the same cells, with the same seeds and splits: scores and differences."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from qbm_jax import training
from qbm_jax.data import Cells, check_likelihood
from qbm_jax.errors import InputError
from qbm_jax.fitted.document import Evaluated
from qbm_jax.fitted.evaluate import Draws, train_and_evaluate
from qbm_jax.fitted.inputs import cells_to_fit, remember_layer
from qbm_jax.fitted.model import FittedModel, device_counts
from qbm_jax.fitted.progress import messages, tell_notes
from qbm_jax.fitted.scoring import (
    BASELINES,
    MAX_CELLS,
    baseline,
    given_embedding,
    metrics_room,
    score_seeds,
)
from qbm_jax.fitted.trainings import of_cells, train_options
from qbm_jax.model import priors
from qbm_jax.model.presets import PRESETS, Parts, Preset, with_prior
from qbm_jax.objective.importance_weighted import has_bits
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import check, whole
from qbm_jax.samplers import Sampler
from qbm_jax.study.estimates import estimate, paired_difference
from qbm_jax.training import Training

BOUND = "elbo"  # the metric of the bound on the validation cells, nats per cell


class Comparison(NamedTuple):
    """What `compare` found.

    Attributes:
      values: numbers of the seeds [num_seeds] by method and metric, the seeds in one order for all;
        metrics are the scIB scores and, of trained models, "elbo".
      models: trained models by method, one for each seed.
      notes: what was left out, and why.
    """

    values: dict[str, dict[str, list[float]]]
    models: dict[str, list[FittedModel]]
    notes: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each method and metric.

        Its fields: "method", "metric", "mean" and "sd" over seeds, "num_seeds", and "difference"
        with "low" and "high": the mean of this method minus the first, seed by seed, and its 95 %
        interval (Student's t over trainings on these cells, which tells nothing of other cells).
        Those of the first method are 0; what is not known is NaN.
        """
        first = next(iter(self.values.values()))
        rows = []
        for method, metrics in self.values.items():
            for metric, values in metrics.items():
                own = estimate(values)
                paired = paired_difference(values, first.get(metric, [None] * len(values)))
                rows.append({
                    "method": method, "metric": metric, "mean": own.mean, "sd": own.sd,
                    "num_seeds": own.num_seeds, "difference": paired.mean, "low": paired.low,
                    "high": paired.high,
                })  # fmt: skip
        return rows

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def __repr__(self) -> str:
        """The means that decide, and what was left out; a notebook shows it."""
        lines = ["Comparison, means and deviations over seeds (all metrics: to_frame()):"]
        for row in self.rows():
            if row["metric"] in ("total", "elbo"):
                lines.append("  {method}, {metric}: {mean:.4g} +- {sd:.2g}".format(**row))
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def compare(
    adata: Any,
    methods: Iterable[str] = ("qbmvae", "bernoulli_vae", "gaussian_vae", "pca"),
    *,
    label_column: str | None,
    batch_column: str | None = None,
    layer: str | None = None,
    num_genes: int | None = 2000,
    num_seeds: int = 5,
    seed: int = 0,
    gaussian_latents: int | None = 10,
    training_options: dict[str, Any] | None = None,
    sampler: str | Sampler = "gibbs",
    sampler_options: dict[str, Any] | None = None,
    max_cells: int = MAX_CELLS,
    progress: bool = True,
    **model_options: Any,
) -> Comparison:
    """Trains methods on the same cells with the same seeds and splits, and scores them.

    A method keeps what defines it, its prior, decoder and likelihood (`model.presets`); all other
    options are the same for all. Every cell is scored, those that were trained on too, as in an
    integration run; the bound is of each seed's validation cells. Methods with other likelihoods
    have bounds that cannot be compared. `adata` is left as it is.

    Args:
      adata: an AnnData with raw counts, or cells of `qbm_jax.data` in memory.
      methods: names of `model.presets.PRESETS`, "pca", "harmony", or keys of `adata.obsm`; the
        others are compared with the first.
      label_column: column of `obs` with the cell type; None: what needs types is not scored.
      batch_column: column of `obs` with the experimental batch; None: one batch.
      layer: layer with the raw counts; None: `X`.
      num_genes: highly variable genes to model; None for all genes.
      num_seeds: trainings of each method; they run together.
      seed: root of all randomness; training k has the key of an experiment's training k.
      gaussian_latents: latents of methods with a prior of real numbers (Gaussian, or a mixture);
        None: as many as the others have.
      training_options: as in `fit`, for all methods.
      sampler: of the negative phase, for methods that bring none, as in `fit`.
      sampler_options: its options, likewise.
      max_cells: scored at most; of more a stratified sample.
      progress: whether to show progress bars.
      **model_options: as in `fit`, for all methods.

    Raises:
      InputError: an unknown method, or data or options that cannot be used.

    Example:
      >>> found = qbm_jax.compare(adata, label_column="celltype", batch_column="tech")
      >>> found.to_frame().query("metric == 'total'")
    """
    seed, num_seeds = keys.check_seed(seed), check("num_seeds", num_seeds, whole(1))
    max_cells = check("max_cells", max_cells, whole(10))
    obsm = getattr(adata, "obsm", {})
    methods = _known(methods, obsm)
    trainings = {
        name: training_of_method(
            PRESETS[name], model_options, training_options or {}, sampler, sampler_options,
            gaussian_latents=gaussian_latents,
        )
        for name in methods
        if name in PRESETS
    }  # fmt: skip
    seeds = [(seed, number) for number in range(num_seeds)]
    with messages(progress):
        cells = _cells(adata, batch_column, label_column, layer, num_genes, progress)
        tell_notes(cells.notes)
        with_bits = {name: _check(one, cells) for name, one in trainings.items()}
        pca = metrics_room().pca_embedding(cells.counts, seed=seed)
        untrained = {
            name: _untrained(name, cells, obsm, pca, seed, num_seeds)
            for name in methods
            if name not in trainings
        }
        found = _train(trainings, with_bits, cells, seeds, progress)
    for one in itertools.chain(*found.values()):
        remember_layer(one.model, layer)
    trained = {name: [one.embedding for one in seeds] for name, seeds in found.items()}
    embeddings = {name: (trained | untrained)[name] for name in methods}
    scores, notes = score_seeds(embeddings, cells, uncorrected=pca, max_cells=max_cells, seed=seed)
    values = {name: _over_seeds(rows, num_seeds) for name, rows in scores.items()}
    for name, own in found.items():
        if with_bits[name]:
            values[name][BOUND] = [one.bound[BOUND] for one in own]
    models = {name: [one.model for one in seeds] for name, seeds in found.items()}
    return Comparison(values, models, (*cells.notes, *notes))


def _known(methods: Iterable[str], obsm: Mapping[str, Any]) -> list[str]:
    """The methods, each known and named once."""
    given = [methods] if isinstance(methods, str) else list(methods)
    known = (*PRESETS, *BASELINES, *obsm)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(f"unknown method {unknown[0]!r}; choose from {', '.join(known)}")
    if not given or len(set(given)) < len(given):
        raise InputError(f"expected methods, each once, got {', '.join(given) or 'none'}")
    return given


def training_of_method(
    method: Preset,
    model_options: Mapping[str, Any],
    training_options: Mapping[str, Any],
    sampler: str | Sampler,
    sampler_options: Mapping[str, Any] | None,
    *,
    gaussian_latents: int | None = None,
    published: bool = False,
) -> Training:
    """How a method is trained: what defines it, and for the rest what all methods share.

    Args:
      method: what is trained.
      model_options: fields of `ModelOptions` that all methods of a comparison share.
      training_options: fields of `TrainOptions` that they share.
      sampler: of the negative phase, for methods that bring none.
      sampler_options: its options; None: those that suit a negative phase.
      gaussian_latents: latents where the prior is of real numbers; None: as many as the others.
      published: whether the rest is as its authors ship it, in place of what is shared.

    Raises:
      InputError: an unknown option, or a value that is not of its kind.
    """
    shared = with_prior(method.model["prior"], model_options)
    if gaussian_latents is not None and not priors.build(method.model["prior"]).binary:
        shared["num_latents"] = gaussian_latents
    drawn_by = sampler, sampler_options
    parts = method.parts(Parts(shared, training_options, drawn_by), published=published)
    sampler, sampler_options = parts.sampler or drawn_by
    return Training.of(parts.model, sampler, sampler_options, train_options(parts.training))


def _check(one: Training, cells: Cells) -> bool:
    """Refuses what cannot be trained on these cells; whether its latents have a bound."""
    check_likelihood(cells, one.model.likelihood, one.model.num_categories)
    model = of_cells(one, cells).build(cells.num_genes, len(cells.batch_names)).vae
    training.check_model(one.options, model)
    return has_bits(model)


def _train(
    trainings: Mapping[str, Training],
    with_bits: Mapping[str, bool],
    cells: Cells,
    seeds: list[tuple[int, int]],
    progress: bool,
) -> dict[str, list[Evaluated[FittedModel]]]:
    """What is trained of every method: its seeds together."""
    data = device_counts(cells)
    return {
        name: train_and_evaluate(
            [one] * len(seeds), cells, seeds, data=data,
            bounds=Draws() if with_bits[name] else None, title=name if progress else None,
        )
        for name, one in trainings.items()
    }  # fmt: skip


def _cells(
    adata: Any,
    batch_column: str | None,
    label_column: str | None,
    layer: str | None,
    num_genes: int | None,
    progress: bool,
) -> Cells:
    """The cells to compare methods on, in memory, where they are scored."""
    cells = cells_to_fit(
        adata, batch_column=batch_column, label_column=label_column, layer=layer,
        num_genes=num_genes, progress=progress,
    )  # fmt: skip
    if not isinstance(cells, Cells):
        raise InputError(
            "expected cells in memory, where they are scored, got cells on disk; read them with "
            "anndata.read_h5ad, or a part of them"
        )
    return cells


def _over_seeds(rows: list[dict[str, float]], num_seeds: int) -> dict[str, list[float]]:
    """Metrics of a method's embeddings, one for each seed; a single one stands for all seeds."""
    repeated = [rows[number % len(rows)] for number in range(num_seeds)]
    return {metric: [row[metric] for row in repeated] for metric in rows[0]}


def _untrained(
    name: str, cells: Cells, obsm: Mapping[str, Any], pca: np.ndarray, seed: int, num_seeds: int
) -> list[np.ndarray]:
    """The embeddings of a method without training: one, or one a seed where seeds differ."""
    if name == "harmony":
        return [
            baseline(name, pca, cells, keys.seed_of(seed, name, number))
            for number in range(num_seeds)
        ]
    return [pca if name == "pca" else given_embedding(obsm, name, cells)]
