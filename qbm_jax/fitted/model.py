"""A trained model: embeds cells, scores their energy, generates new ones; saved and loaded."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from qbm_jax import partition
from qbm_jax.data import Cells
from qbm_jax.data.on_disk import StoredCells
from qbm_jax.data.read import check_genes, check_is_anndata, gene_positions
from qbm_jax.errors import InputError
from qbm_jax.feed import minibatches
from qbm_jax.feed.cell_source import Streamed
from qbm_jax.fitted import (
    bounds,
    describe,
    expression,
    further,
    generation,
    model_report,
    posterior,
    query,
    run_models,
    saving,
    scoring,
    spins,
    transfer,
)
from qbm_jax.fitted import denoise as denoising
from qbm_jax.fitted import programmes as meaning
from qbm_jax.fitted.bounds import NUM_DRAWS, NUM_TEMPERATURES, Bound
from qbm_jax.fitted.empty_cells import full_rows, warn_of_empty_cells
from qbm_jax.fitted.history import History
from qbm_jax.fitted.model_cells import (
    cells_in_batches,
    cells_of_model,
    column_in_use,
    device_counts,
)
from qbm_jax.fitted.scoring import MAX_CELLS, Scores
from qbm_jax.fitted.settings import Settings, build_model, build_sampler
from qbm_jax.model import inference, likelihoods, vae
from qbm_jax.runtime import keys
from qbm_jax.runtime.compiled import keep_compiled
from qbm_jax.runtime.options import check, optional, whole
from qbm_jax.runtime.saved_model import SETTINGS_FILE
from qbm_jax.runtime.user_cache import expand_home

__all__ = [
    "SETTINGS_FILE",
    "FittedModel",
    "Settings",
    "build_model",
    "build_sampler",
    "device_counts",
]


class FittedModel:
    """A trained model with the genes and batches it knows.

    Attributes:
      settings: names and options.
      params: "encoder", "decoder", "genes", "prior".
      vae: the model's functions.
      query: what `map_query` found of its cells; None of other models.
      measured: what its training measured; None of models that were saved without it.
    """

    def __init__(self, settings: Settings, params: vae.Params, history: History | None = None):
        """Wraps trained parameters; `fit` and `load` call this."""
        keep_compiled()
        self.settings = settings
        self.params = params
        self.measured = history
        self.query: query.Query | None = None
        self.vae = build_model(settings)

    def __reduce__(self) -> tuple:
        """Lets `pickle` and `copy.deepcopy` build the model's functions anew."""
        return FittedModel, (self.settings, self.params, self.measured), {"query": self.query}

    @property
    def history(self) -> Any:
        """What its training measured, a row for each dispatch and validation: a pandas DataFrame.

        The columns are those of `History`, beside "split" ("train" or "validation"). It is empty
        where a model was saved without its history.

        Example:
          >>> model.history.query("split == 'validation'").plot("epoch", "elbo")
        """
        return History({}, {}).to_frame() if self.measured is None else self.measured.to_frame()

    def __repr__(self) -> str:
        """What it is, in one line."""
        return describe.in_one_line(self)

    summary = describe.summary
    plot_history = describe.plot_history
    continue_training = further.continue_training
    posterior = posterior.posterior
    generate = generation.generate
    generate_like = generation.generate_like
    save = saving.save

    @property
    def J(self) -> np.ndarray | None:
        """J of the prior [spins, spins], in units of kT; None where the prior has no couplings."""
        return np.asarray(self.params["prior"].dense_J) if self.vae.prior.couplings else None

    def embed(self, adata: Any, layer: str | None = None) -> np.ndarray:
        """Posterior mean spins of the cells of `adata`, float32 [cells, N], by genes' names.

        The encoder does not use the batch, so any cells with the model's genes can be embedded.
        Cells without any count in these genes get NaN, as in `fit`, with a warning.

        Raises:
          InputError: genes of the model are missing (they are listed), or counts are unusable.
        """
        return self.embed_with_energy(adata, layer)[0]

    def energy(self, adata: Any, layer: str | None = None) -> np.ndarray:
        """Energy of each cell's mean spins, in nats; low energy is probable.

        It is E_q[E(s)] where the posterior is factorial; NaN for cells without any count in the
        model's genes.

        Raises:
          InputError: as `embed`.
        """
        return self.embed_with_energy(adata, layer)[1]

    denoise = denoising.denoise
    reconstruct = denoising.reconstruct
    differential_expression = expression.differential_expression
    map_query = query.map_query
    transfer_labels = transfer.transfer_labels
    programmes = meaning.programmes
    enrichment = meaning.enrichment
    couplings = spins.couplings
    plot_couplings = spins.plot_couplings
    mean_spins = spins.mean_spins
    plot_mean_spins = spins.plot_mean_spins
    plot_energy_landscape = spins.plot_energy_landscape

    def bound(
        self,
        adata: Any,
        *,
        batch_column: str | None = None,
        layer: str | None = None,
        num_draws: int = NUM_DRAWS,
        num_temperatures: int = NUM_TEMPERATURES,
        importance_weighted: int | None = None,
        seed: int = 0,
    ) -> Bound:
        """The bound on log p(x | batch) of the cells of `adata`, in nats per cell.

        The KL has weight 1, whatever it was in training; it is the bound that an experiment
        reports, there of the validation cells. Cells without any count in the model's genes get
        NaN, with a warning, and are in no mean.

        Args:
          adata: cells with the model's genes.
          batch_column: column of `obs` with the experimental batch, names that the model knows;
            None: that of the training.
          layer: layer with the raw counts; None: that of the training, or `X`.
          num_draws: posterior draws of each cell.
          num_temperatures: as in `log_z`.
          importance_weighted: draws K of the importance-weighted bound, which rises with K to
            log p(x | batch); None: leaves it out.
          seed: of the draws; models with the same seed are compared on the same ones.

        Returns:
          An array of each cell's bound [cells], whose attributes are the mean with its standard
          error, that of log Z included, and its terms by name.

        Raises:
          InputError: as `embed`; unknown batches, no cells with counts, or relaxation gumbel,
            whose latents have no bound.

        Example:
          >>> found = model.bound(adata, batch_column="tech")
          >>> print(f"{found.value:.1f} ± {found.standard_error:.1f} nats per cell")
        """
        num_draws = check("num_draws", num_draws, whole(1))
        num_temperatures = check("num_temperatures", num_temperatures, whole(1))
        importance_weighted = check("importance_weighted", importance_weighted, optional(whole(1)))
        cells = cells_in_batches(
            self, adata, layer=layer, batch_column=batch_column, need_counts_for="bound"
        )
        if not cells.num_cells:
            raise InputError("expected cells with a count in the model's genes, got none")
        warn_of_empty_cells(cells.num_cells, adata.n_obs, stacklevel=3)
        found = bounds.bound(
            seed, self.vae, self.params, device_counts(cells),
            num_draws=num_draws, num_temperatures=num_temperatures,
            num_train_cells=None if self.measured is None else self.measured.num_train_cells,
            importance_weighted=importance_weighted,
        )  # fmt: skip
        return found.among(cells.rows, adata.n_obs)

    def importance_weighted_bound(
        self, adata: Any, *, num_samples: int = 64, **arguments: Any
    ) -> np.ndarray:
        """The importance-weighted bound on log p(x | batch) of each cell [cells], in nats.

        Args:
          adata: cells with the model's genes.
          num_samples: draws K of each cell; the bound rises with K to log p(x | batch).
          **arguments: of `bound`, which gives the mean and its error as well.

        Raises:
          InputError: as `bound`, or draws under the name that they have there.
        """
        if taken := {"num_draws", "importance_weighted"} & arguments.keys():
            raise InputError(f"expected num_samples for the draws of each cell, got {min(taken)}")
        found = self.bound(adata, importance_weighted=num_samples, num_draws=1, **arguments)
        assert found.importance_weighted_per_cell is not None, "it was asked for"
        return found.importance_weighted_per_cell

    def log_z(
        self, *, num_temperatures: int = NUM_TEMPERATURES, num_chains: int = 128, seed: int = 0
    ) -> partition.LogZ:
        """Log Z of the prior, in nats, between a forward and a reverse estimate.

        Gaussian and Bernoulli priors have a closed form and up to 16 spins are enumerated, both
        without an error; with more it is annealed importance sampling (`partition`). Where the
        bracket is wider than 1 nat, value and standard error are NaN, with a warning in the log.

        Args:
          num_temperatures: steps of the annealing.
          num_chains: annealed in each direction.
          seed: of the draws; `bound` with the same seed has the same estimate.

        Raises:
          InputError: a number that cannot be.

        Example:
          >>> found = model.log_z()
          >>> print(found.value, found.standard_error, found.bracket)
        """
        num_temperatures = check("num_temperatures", num_temperatures, whole(1))
        num_chains = check("num_chains", num_chains, whole(2))
        return bounds.log_z(
            seed, self.vae, self.params, num_temperatures=num_temperatures, num_chains=num_chains
        )

    def score(
        self,
        adata: Any,
        *,
        label_column: str | None,
        batch_column: str | None = None,
        layer: str | None = None,
        baselines: str | Iterable[str] = ("pca",),
        max_cells: int = MAX_CELLS,
        seed: int = 0,
    ) -> Scores:
        """The scIB scores of the embedding of `adata`, beside those of baselines.

        They are the scores of an experiment's report. Cells without any count in the model's
        genes, or without a cell type, are left out.

        Args:
          adata: cells with the model's genes.
          label_column: column of `obs` with the cell type; None: what needs types is not scored.
          batch_column: column of `obs` with the experimental batch, any names; None: what needs
            batches is not scored.
          layer: layer with the raw counts; None: that of the training, or `X`.
          baselines: "pca" (50 components of the uncorrected log-normalised counts), "harmony", or
            keys of `adata.obsm` with other embeddings.
          max_cells: scored at most; of more a stratified sample.
          seed: of principal components, Harmony and the sample.

        Returns:
          Scores by embedding and metric, with notes on what could not be scored.

        Raises:
          InputError: as `embed`; an unknown baseline, fewer than 10 cells, or the packages of the
            extra "scores" are not installed.

        Example:
          >>> scores = model.score(adata, label_column="celltype", batch_column="tech")
          >>> scores.to_frame()[["total", "bio_conservation", "batch_correction"]]
        """
        cells = cells_of_model(
            self, adata, layer=layer, batch_column=batch_column, label_column=label_column,
            need_counts_for="score",
        )  # fmt: skip
        name = self.vae.prior.model_name
        return scoring.score(
            name, self.encode_cells(cells)[0], cells, adata.obsm, baselines,
            max_cells=check("max_cells", max_cells, whole(10)), seed=keys.check_seed(seed),
        )  # fmt: skip

    def report(
        self,
        folder: str | Path,
        adata: Any,
        *,
        label_column: str | None = None,
        batch_column: str | None = None,
        layer: str | None = None,
        num_draws: int = NUM_DRAWS,
        num_temperatures: int = NUM_TEMPERATURES,
        max_cells: int = MAX_CELLS,
        gene_sets: Mapping[str, Iterable[str]] | None = None,
        seed: int = 0,
    ) -> Path:
        """Writes what an integration run writes, for this model on the cells of `adata`.

        That is `report.md` with its figures, `report.html` that has them inside, `scores.json`,
        `results.csv`, `embedding.h5ad`, `metrics.jsonl` (the history) and the model itself, so that
        `load(folder)` reads it. The bound is of all cells given, those that were trained on among
        them.

        Args:
          folder: new, empty, or of an earlier report, which is replaced.
          adata: cells with the model's genes; those without any count in them are left out.
          label_column: column of `obs` with the cell type; None: no types.
          batch_column: column of `obs` with the experimental batch, names that the model knows;
            None: that of the training.
          layer: layer with the raw counts; None: that of the training, or `X`.
          num_draws: posterior draws of each cell, for the bound.
          num_temperatures: as in `log_z`.
          max_cells: scored at most; of more a stratified sample.
          gene_sets: names of genes by the name of the set, looked for in the 50 most telling genes
            of each spin, as `enrichment` does.
          seed: of all draws.

        Returns:
          The path of `report.md`.

        Raises:
          InputError: as `bound` and `score`; a folder that holds something else or cannot be
            written, or packages of the extras "scores" and "report" that are not installed.

        Example:
          >>> model.report("report", adata, label_column="celltype")
        """
        cells = cells_of_model(
            self, adata, layer=layer, label_column=label_column, need_counts_for="report",
            batch_column=column_in_use(self.settings, adata, batch_column),
        )  # fmt: skip
        return model_report.write_report(
            self, expand_home(folder), cells, num_draws=check("num_draws", num_draws, whole(1)),
            num_temperatures=check("num_temperatures", num_temperatures, whole(1)),
            max_cells=check("max_cells", max_cells, whole(10)), seed=keys.check_seed(seed),
            gene_sets=gene_sets,
        )  # fmt: skip

    def encode_cells(
        self, cells: Cells | minibatches.DeviceCounts
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embedding [cells, N] and energy [cells] of cells with exactly the model's genes.

        Cells without any count get NaN, with a warning.

        Raises:
          InputError: they have other genes than the model; of counts on the device another number.
        """
        if isinstance(cells, Cells):
            self._check_genes(cells, "choose them with data.align_genes")
        elif cells.num_genes != len(self.settings.genes):
            raise InputError(
                f"expected counts of the model's {len(self.settings.genes)} genes, got those of "
                f"{cells.num_genes}; give cells with these genes"
            )
        data = device_counts(cells) if isinstance(cells, Cells) else cells
        embedding, energy = inference.embed(self.vae, self.params, data)
        counted = np.diff(jax.device_get(data.indptr)[: data.num_cells + 1]) > 0
        warn_of_empty_cells(int(counted.sum()), counted.size, stacklevel=3)
        embedding[~counted], energy[~counted] = np.nan, np.nan
        return embedding, energy

    def encode_blocks(self, cells: StoredCells) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Embedding [n, N] and energy [n] of cells on disk, a block after another, with its slice.

        None of them is empty: `open_cells` leaves out cells without a count in the genes, with a
        note; `cells.rows` says which rows of the files are there.

        Raises:
          InputError: they have other genes than the model, or could not be read.
        """
        self._check_genes(cells, "open the cells with gene_list=model.settings.genes")
        with cells.reader() as reader:
            yield from inference.embed_blocks(self.vae, self.params, Streamed(reader))

    def _check_genes(self, cells: Cells | StoredCells, remedy: str) -> None:
        if tuple(cells.genes) != tuple(self.settings.genes):
            raise InputError(
                f"expected the model's {len(self.settings.genes)} genes in their order, got "
                f"{len(cells.genes)} others; {remedy}"
            )

    def gates(self) -> np.ndarray:
        """Probability that each gene is zero-inflated, float32 [genes].

        Raises:
          InputError: the likelihood has no gates.
        """
        likelihood = self.vae.likelihood
        if likelihood.gate_probabilities is None:
            gated = " or ".join(likelihoods.those_that(lambda each: bool(each.gate_probabilities)))
            raise InputError(f"expected likelihood {gated} for gates, got {likelihood.name}")
        return np.array(likelihood.gate_probabilities(self.params["genes"]))

    def loadings(self) -> np.ndarray:
        """Weight of each latent in each gene's scale logit, float32 [genes, N].

        Raises:
          InputError: the decoder is not linear.
        """
        return np.array(self.vae.loadings(self.params))

    def gene_results(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """`gates()` [genes] and `loadings()` [genes, N], each None where the model has none."""
        gated = self.vae.likelihood.gate_probabilities is not None
        linear = self.settings.model.get("decoder") == "linear"
        return self.gates() if gated else None, self.loadings() if linear else None

    @staticmethod
    def load(
        path: str | Path, adata: Any = None, *, name: str | None = None, seed: int = 0
    ) -> "FittedModel":
        """Reads a model that `save` wrote, or one of a run; older ones have no history.

        Args:
          path: folder of a saved model, or working directory of `run.py` with experiment
            integration, whose models have the parameters of the best epoch.
          adata: cells to use it with, whose genes are checked at once; None: none are.
          name: in a working directory, the model: "bernoulli_vae", "gaussian_vae", ...; None: the
            run's own.
          seed: in a working directory, the number of the training.

        Raises:
          InputError: there is no such model or no sound one, its names, options and arrays do not
            belong together, or it is not of this run.

        Example:
          >>> model = qbm_jax.FittedModel.load("runs/pancreas", seed=2)
          >>> model.history.tail()
        """
        folder = expand_home(path)
        if run_models.is_workdir(folder):
            model = FittedModel(*saving.read(run_models.find_model(folder, name, seed)))
            run_models.check_belongs(folder, model.settings)
        else:
            model = FittedModel(*saving.read(folder))
        if adata is not None:
            check_is_anndata(adata, "load")
            check_genes(adata.var_names.astype(str), "load")
            wanted = [g for g in model.settings.genes if g not in model.settings.missing_genes]
            gene_positions(tuple(map(str, adata.var_names)), wanted)
        return model

    def embed_with_energy(
        self, adata: Any, layer: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What `embed` and `energy` give [cells, N] and [cells], in one pass over the cells."""
        cells = cells_of_model(self, adata, layer=layer)
        warn_of_empty_cells(cells.num_cells, adata.n_obs)
        if not cells.num_cells:
            nothing = np.full((adata.n_obs, self.vae.num_latents), np.nan, np.float32)
            return nothing, nothing[:, 0].copy()
        embedding, energy = self.encode_cells(cells)
        rows, size = cells.rows, adata.n_obs
        return full_rows(embedding, rows, size), full_rows(energy, rows, size)
