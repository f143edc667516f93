"""What a report is made from: the bounds, scores and sampler of trained models as one document."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import jax
import numpy as np

from qbm_jax import samplers
from qbm_jax.data import Cells
from qbm_jax.data.names import some
from qbm_jax.data.on_disk import StoredCells
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.fitted.history import History
from qbm_jax.fitted.settings import Settings
from qbm_jax.machine import calibration, mixing
from qbm_jax.machine.boltzmann import energy
from qbm_jax.model.vae import VAE, Params
from qbm_jax.runtime.json_file import infinite
from qbm_jax.study.estimates import estimate


class Model(Protocol):
    """What is read of a trained model; see `model.FittedModel`."""

    settings: Settings
    params: Params
    vae: VAE
    measured: History | None
    query: Any

    def __init__(self, settings: Settings, params: Params, history: History | None = None):
        """Of the same kind, with other parameters."""

    @property
    def J(self) -> np.ndarray | None:
        """J of the prior [spins, spins], None where it has none."""

    def embed(self, adata: Any, layer: str | None = None) -> np.ndarray:
        """Embedding [cells, N] of the cells of an AnnData."""

    def energy(self, adata: Any, layer: str | None = None) -> np.ndarray:
        """Their energy [cells]."""

    def embed_with_energy(
        self, adata: Any, layer: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embedding and energy, in one pass over the cells."""

    def encode_cells(self, cells: Cells | DeviceCounts) -> tuple[np.ndarray, np.ndarray]:
        """Embedding [cells, N] and energy [cells]."""

    def encode_blocks(self, cells: StoredCells) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """The same of cells on disk, one block after another: slice, [cells, latents], [cells]."""

    def gene_results(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Gates [genes] and loadings [genes, N], each None where the model has none."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Writes the model to a folder."""


AnyModel = TypeVar("AnyModel", bound=Model, covariant=True)
OneModel = TypeVar("OneModel", bound=Model)


class Evaluated(NamedTuple, Generic[AnyModel]):
    """A trained model and what was made of it.

    Attributes:
      model: the fitted model.
      embedding: of the cells that are shown [cells, N].
      energy: of the same [cells].
      bound: the bound on other cells and its terms, by name; empty where none was asked for.
      cells_per_second: while it was trained, all that were trained with it together.
      seconds: its share of their wall time.
      num_train_cells: cells that it was trained on; 0 where it was trained elsewhere.
      best_epoch: the epoch that its parameters are of; 0 likewise.
      again: why it was trained again with another key; "" where it was not.
    """

    model: AnyModel
    embedding: np.ndarray
    energy: np.ndarray
    bound: dict[str, float]
    cells_per_second: float
    seconds: float
    num_train_cells: int = 0
    best_epoch: int = 0
    again: str = ""


def compose(
    main: str,
    cells: Cells | StoredCells,
    runs: Mapping[str, Sequence[Evaluated]],
    scores: Mapping[str, list[dict[str, float]]],
    *,
    seconds: Mapping[str, float],
    **facts: Any,
) -> dict[str, Any]:
    """What `scores.json` holds.

    Args:
      main: name of the own model among `runs`.
      cells: what they are of.
      runs: by model, one for each seed.
      scores: by embedding, a dictionary of metrics for each seed.
      seconds: wall time by what it was spent on; each model's training is added.
      **facts: "sampler" (`sampler_diagnostics`), "settings", "seeds", "versions", "notes",
        "command", ...
    """
    own = mean_and_sd([result.bound for result in runs[main]])
    return {
        "main": main,
        "embeddings": {name: mean_and_sd(rows) for name, rows in scores.items()},
        "per_seed": scores,
        "elbo": {
            "value": own["elbo"],
            "log_z": own["log_z"],
            "log_z_standard_error": own["log_z_standard_error"],
        },
        "bounds": {
            name: {
                "prior": results[0].model.settings.model["prior"],
                "num_latents": results[0].model.vae.num_latents,
                "num_seeds": int(np.isfinite([one.bound["elbo"] for one in results]).sum()),
                **mean_and_sd([result.bound for result in results]),
                "per_seed": [result.bound["elbo"] for result in results],
            }
            for name, results in runs.items()
        },
        "seconds": {
            **seconds,
            **{name: float(np.sum([r.seconds for r in results])) for name, results in runs.items()},
        },
        "cells_per_second": {
            name: float(np.median([r.cells_per_second for r in results]))
            for name, results in runs.items()
        },
        "data": _described(cells),
        **facts,
        "notes": [*facts.get("notes", ()), *_notes_on_infinite(runs, scores)],
    }


def _notes_on_infinite(
    runs: Mapping[str, Sequence[Evaluated]], scores: Mapping[str, list[dict[str, float]]]
) -> list[str]:
    """A note on bounds and scores that are infinite, which no mean counts and no file holds."""
    by_seed = [(name, seed, each.bound) for name, found in runs.items()
               for seed, each in enumerate(found)]  # fmt: skip
    by_seed += [(name, seed, row) for name, rows in scores.items() for seed, row in enumerate(rows)]
    found = [f"{each} of {name} at seed {seed}" for name, seed, row in by_seed
             for each in infinite(row)]  # fmt: skip
    return [f"Infinite numbers enter no mean: {some(found)}."] if found else []


def _described(cells: Cells | StoredCells) -> dict[str, Any]:
    """Where the cells are from, and how many of each batch and type there are."""
    labels = () if cells.labels is None else cells.label_names
    codes = np.zeros(0, int) if cells.labels is None else cells.labels
    batch_counts = np.bincount(cells.batch, minlength=len(cells.batch_names)).tolist()
    label_counts = np.bincount(codes, minlength=len(labels)).tolist()
    return {
        "source": cells.source,
        "simulated": cells.simulated,
        "num_cells": cells.num_cells,
        "num_genes": cells.num_genes,
        "batches": dict(zip(cells.batch_names, batch_counts, strict=True)),
        "labels": dict(zip(labels, label_counts, strict=True)),
        "batch_column": cells.batch_column,
        "label_column": cells.label_column,
    }


def mean_and_sd(rows: list[dict[str, float]]) -> dict[str, float | None]:
    """Every entry's mean over rows, and its standard deviation under <name>_sd.

    As in every table of a study, a row that lacks an entry (NaN) does not enter its mean, see
    `study.estimates`; the standard deviation is None where fewer than two rows have it.
    """
    summary: dict[str, float | None] = {}
    for name in rows[0]:
        found = estimate([row[name] for row in rows])
        summary[name] = found.mean
        summary[f"{name}_sd"] = None if np.isnan(found.sd) else found.sd
    return summary


def sampler_diagnostics(
    key: jax.Array, result: Evaluated, *, num_draws: int, num_chains: int
) -> dict[str, Any]:
    """How the sampler of the negative phase behaves on the trained machine, draw after draw.

    Args:
      key: consumed.
      result: the model and its bound.
      num_draws: one after another, as in training; the second half is judged.
      num_chains: chains.

    Returns:
      Effective inverse temperature, autocorrelation, energies and log Z by name; empty for a prior
      whose log Z has a closed form.
    """
    if result.model.vae.prior.log_z is not None:
        return {}
    settings, params = result.model.settings, result.model.params["prior"]
    sampler = samplers.build(settings.sampler, **settings.sampler_options)
    key_init, key_draws = jax.random.split(key)

    @jax.jit
    def draw_all(key: jax.Array, chains: Any) -> tuple[jax.Array, jax.Array]:
        def draw(chains: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            spins, chains, _ = sampler.sample(key, params, chains)
            return chains, (energy(params, spins), calibration.fit_beta(params, spins))

        return jax.lax.scan(draw, chains, jax.random.split(key, num_draws))[1]

    chains = sampler.init(key_init, params, num_chains)
    energies, betas = (np.asarray(values) for values in draw_all(key_draws, chains))
    settled = energies[num_draws // 2 :].T  # [chains, draws]
    autocorrelation = mixing.autocorrelation(settled)
    betas = betas[num_draws // 2 :]
    # Draws that repel each other (tau < 1) count as independent: the error is never too small.
    beta_time = np.fmax(mixing.integrated_autocorrelation_time(betas[None]), 1)
    beta_error = estimate(betas).standard_error * np.sqrt(beta_time)
    return {
        "name": settings.sampler,
        "options": settings.sampler_options,
        "targets_boltzmann": sampler.targets_boltzmann,
        "beta_eff": float(betas.mean()),
        "beta_eff_standard_error": float(beta_error),
        "autocorrelation_time": float(mixing.integrated_autocorrelation_time(settled)),
        "autocorrelation": [round(float(v), 5) for v in autocorrelation[:100]],
        "energy_trace": [round(float(v), 4) for v in energies.mean(axis=1)],
        **{
            name: result.bound[name]
            for name in result.bound
            if name.startswith("log_z") and name != "log_z"
        },
        "log_z_value": result.bound["log_z"],
    }


def provenance(cells: Cells, model: Model, **facts: Any) -> dict[str, Any]:
    """What `embedding.h5ad` says of its own origin, in `uns["qbm_jax"]`.

    Args:
      cells: embedded.
      model: that embedded them.
      **facts: what else is to be said, such as "config".
    """
    facts = {
        "simulated": cells.simulated,
        "source": cells.source,
        "batch_column": cells.batch_column or "",
        "label_column": cells.label_column or "",
        "notes": list(cells.notes),
        "genes": list(cells.genes),
        **facts,
    }
    prior = model.params["prior"]
    if hasattr(prior, "J"):
        facts |= {"J": np.asarray(prior.J), "h": np.asarray(prior.h)}
    return facts
