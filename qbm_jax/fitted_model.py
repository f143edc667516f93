"""A trained model: embeds cells, scores their energy, generates new ones; saved and loaded."""

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax import generation, inference, minibatches, samplers, vae
from qbm_jax.cell_source import Streamed
from qbm_jax.checkpoint import Checkpoints
from qbm_jax.data import Cells, check_likelihood, from_anndata
from qbm_jax.data.on_disk import StoredCells
from qbm_jax.empty_cells import full_rows, warn_of_empty_cells
from qbm_jax.errors import InputError
from qbm_jax.options import LARGEST_WHOLE, check, whole

SETTINGS_FILE = "model.json"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What rebuilds a model around its parameters.

    Attributes:
      genes: gene names, in the order of the model's columns.
      batch_names: experimental batches, in the order of their codes.
      model: keyword arguments of `vae.build`, but for the numbers of genes and batches.
      sampler: name of the sampler of the negative phase.
      sampler_options: its options.
      median_library: median total count of each batch, the default of `generate`.
    """

    genes: tuple[str, ...]
    batch_names: tuple[str, ...]
    model: dict[str, Any]
    sampler: str
    sampler_options: dict[str, Any]
    median_library: tuple[float, ...]

    def __post_init__(self):
        """Keeps plain options, which are equal to themselves after JSON.

        Raises:
          InputError: an option that is unknown or not of its kind, or an unknown sampler.
        """
        model = vae.check_options(len(self.genes), len(self.batch_names), self.model)
        object.__setattr__(self, "model", model)
        options = samplers.check_options(self.sampler, self.sampler_options)
        object.__setattr__(self, "sampler_options", options)


def build_model(settings: Settings) -> vae.VAE:
    """The VAE that the settings describe."""
    sizes = {"num_genes": len(settings.genes), "num_batches": len(settings.batch_names)}
    return vae.build(**sizes, **settings.model)


def build_sampler(model: vae.VAE, name: str, options: dict[str, Any]) -> samplers.Sampler | None:
    """The sampler of the negative phase, or None where the prior's log Z has a closed form."""
    if model.prior.log_z is not None:
        return None
    options = samplers.check_options(name, options)  # 9 and 9.0 are one key of a cache
    return _same_sampler(name, tuple(sorted(options.items())))


@functools.lru_cache(maxsize=32)  # the same options are the same object, as in `vae.build`
def _same_sampler(name: str, options: tuple[tuple[str, Any], ...]) -> samplers.Sampler:
    return samplers.build(name, **dict(options))


def device_counts(cells: Cells) -> minibatches.DeviceCounts:
    """Cells on the device, sparse."""
    counts = cells.counts
    return minibatches.to_device(
        counts.indptr, counts.indices, counts.data, cells.batch, cells.num_genes
    )


class FittedModel:
    """A trained model with the genes and batches it knows.

    Attributes:
      settings: names and options.
      params: "encoder", "decoder", "genes", "prior".
      vae: the model's functions.
    """

    def __init__(self, settings: Settings, params: vae.Params):
        """Wraps trained parameters; `fit` and `load` call this."""
        self.settings = settings
        self.params = params
        self.vae = build_model(settings)

    def embed(self, adata: Any, layer: str | None = None) -> np.ndarray:
        """Posterior mean spins of the cells of `adata`, float32 [cells, N], by genes' names.

        The encoder does not use the batch, so any cells with the model's genes can be embedded.
        Cells without any count in these genes get NaN, as in `fit`, with a warning.

        Raises:
          InputError: genes of the model are missing (they are listed), or counts are unusable.
        """
        return self._encode(adata, layer)[0]

    def energy(self, adata: Any, layer: str | None = None) -> np.ndarray:
        """Energy of each cell's mean spins, in nats; low energy is probable.

        It is E_q[E(s)] where the posterior is factorial; NaN for cells without any count in the
        model's genes.

        Raises:
          InputError: as `embed`.
        """
        return self._encode(adata, layer)[1]

    def generate(
        self,
        key: jax.Array,
        num_cells: int,
        batch: Any = None,
        library_size: float | None = None,
    ) -> np.ndarray:
        """New cells from the prior through the sampler and the decoder.

        Args:
          key: fixes the draw.
          num_cells: how many.
          batch: experimental batch they should look like, by its name or the number that the name
            is the text of; None for the first.
          library_size: their total count; None for the batch's median. Likelihoods normal and
            squared_error have none.

        Returns:
          Counts float32 [num_cells, genes], columns in the order of `settings.genes`. Under the
          likelihoods normal and squared_error these are no counts but log-normalised values,
          log(1 + counts / total * 1e4), which may be negative.

        Raises:
          InputError: an unknown batch, a library size or number of cells that cannot be, or a
            sampler that diverged.
        """
        code = generation.batch_code(batch, self.settings.batch_names)
        num_cells = check("num_cells", num_cells, whole(1))
        likelihood = self.settings.model.get("likelihood", vae.ModelOptions.likelihood)
        generation.check_library_size(library_size, likelihood)
        total = self.settings.median_library[code] if library_size is None else library_size
        return self.generate_like(key, np.full(num_cells, code), np.full(num_cells, total))

    def generate_like(
        self, key: jax.Array, batch: np.ndarray, library_size: np.ndarray
    ) -> np.ndarray:
        """One new cell for each batch code [cells] and total count [cells]; as `generate`.

        Likelihoods without a library size do not use the total counts.

        Raises:
          InputError: codes of no batch, total counts that cannot be, other numbers of them, or a
            sampler that diverged.
        """
        generation.check_key(key)
        batch = generation.check_codes(batch, self.settings.batch_names)
        library_size = generation.check_totals(library_size, batch.size)
        # Fresh chains need more steps than persistent ones: the sampler's own default.
        options = {k: v for k, v in self.settings.sampler_options.items() if k != "num_steps"}
        sampler = build_sampler(self.vae, self.settings.sampler, options)
        counts = inference.generate(
            key, self.vae, self.params, sampler,
            jnp.asarray(batch, jnp.int32), jnp.asarray(library_size, jnp.float32),
        )  # fmt: skip
        counts = np.array(counts, np.float32)
        if not np.isfinite(counts).all():
            raise InputError(
                f"sampler {self.settings.sampler} diverged on this machine; generate needs another"
            )
        if not self.vae.likelihood.accepts_non_integer and counts.min() < 0:
            raise InputError(
                f"a count above {LARGEST_WHOLE} was drawn for a library size of "
                f"{library_size.max():g}, which int32 cannot hold; use a smaller one"
            )
        return counts

    def encode_cells(
        self, cells: Cells | minibatches.DeviceCounts
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embedding [cells, N] and energy [cells] of cells with exactly the model's genes.

        Cells without any count get NaN, with a warning.
        """
        data = device_counts(cells) if isinstance(cells, Cells) else cells
        embedding, energy = inference.embed(self.vae, self.params, data)
        counted = np.diff(jax.device_get(data.indptr)) > 0
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
        if tuple(cells.genes) != tuple(self.settings.genes):
            raise InputError(
                f"expected the model's {len(self.settings.genes)} genes in their order, got "
                f"{len(cells.genes)} others; open the cells with gene_list=model.settings.genes"
            )
        with cells.reader() as reader:
            yield from inference.embed_blocks(self.vae, self.params, Streamed(reader))

    def gates(self) -> np.ndarray:
        """Probability that each gene is zero-inflated, float32 [genes].

        Raises:
          InputError: the likelihood has no gates.
        """
        if self.vae.likelihood.gate_probabilities is None:
            raise InputError(
                f"expected likelihood autozi for gates, got {self.settings.model['likelihood']}"
            )
        return np.array(self.vae.likelihood.gate_probabilities(self.params["genes"]))

    def loadings(self) -> np.ndarray:
        """Weight of each latent in each gene's scale logit, float32 [genes, N].

        Raises:
          InputError: the decoder is not linear.
        """
        return np.array(self.vae.loadings(self.params))

    def gene_results(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """`gates()` and `loadings()`, each None where the model has none."""
        gated = self.vae.likelihood.gate_probabilities is not None
        linear = self.settings.model.get("decoder") == "linear"
        return self.gates() if gated else None, self.loadings() if linear else None

    def save(self, path: str | Path) -> None:
        """Writes the model to the folder `path`: names and options as JSON, arrays with orbax.

        Raises:
          InputError: the folder cannot be written.
        """
        folder = Path(path)
        checkpoints = Checkpoints(folder / "params", keep=1)
        checkpoints.save(checkpoints.newest_step() + 1, self.params)
        text = json.dumps(dataclasses.asdict(self.settings), indent=1)
        try:
            (folder / SETTINGS_FILE).write_text(text + "\n")
        except OSError as error:
            raise InputError(f"cannot save a model to {path}: {error.strerror}") from error

    @staticmethod
    def load(path: str | Path) -> "FittedModel":
        """Reads a model that `save` wrote.

        Raises:
          InputError: there is no sound model in the folder.
        """
        file = Path(path) / SETTINGS_FILE
        try:
            fields = json.loads(file.read_text())
            settings = Settings(**{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in fields.items()
            })  # fmt: skip
            template = build_model(settings).init(jax.random.key(0))
        except OSError as error:
            reason = f"{SETTINGS_FILE}: {error.strerror}"
            raise InputError(f"no saved model in {path} ({reason})") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{file} is damaged; save the model again") from error
        checkpoints = Checkpoints(Path(path) / "params", keep=1)
        params = checkpoints.restore(template)
        if params is template:
            raise InputError(f"the parameters in {path} are missing or damaged")
        return FittedModel(settings, params)

    def _encode(self, adata: Any, layer: str | None) -> tuple[np.ndarray, np.ndarray]:
        cells = from_anndata(adata, layer=layer, genes=self.settings.genes, min_cells=0)
        check_likelihood(cells, self.settings.model["likelihood"])
        warn_of_empty_cells(cells.num_cells, adata.n_obs)
        if not cells.num_cells:
            nothing = np.full((adata.n_obs, self.vae.num_latents), np.nan, np.float32)
            return nothing, nothing[:, 0].copy()
        embedding, energy = self.encode_cells(cells)
        return tuple(full_rows(values, cells.rows, adata.n_obs) for values in (embedding, energy))
