"""The bound on given cells and log Z of a trained model, each with its standard error."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from qbm_jax import partition, training
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.fitted.empty_cells import full_rows
from qbm_jax.model.vae import VAE, Params
from qbm_jax.objective import kl
from qbm_jax.objective.cell_scores import cell_terms
from qbm_jax.objective.importance_weighted import has_bits, importance_weighted_bound
from qbm_jax.runtime import keys

NOT_TERMS = ("elbo", "log_z")  # what `training.bound` returns beside the terms
NUM_DRAWS, NUM_TEMPERATURES = 8, 1000  # behind a bound, where nobody says otherwise


class Bound(np.ndarray):
    """The bound on log p(x | batch) of each cell [cells], in nats; its means are attributes.

    It is a numpy array, NaN for cells without any count in the model's genes, which are in no mean.
    What numpy makes of it (parts, sums) is a plain array.

    Attributes:
      value: its mean over the cells, -(reconstruction + kl); NaN where log Z is not known.
      standard_error: of the mean, from the spread between cells (posterior draws included) and the
        error of log Z, which all cells share.
      terms: means by name: "reconstruction", "kl", and what "kl" is made of, "entropy",
        "expected_energy", "library_kl", "global_kl" and log Z.
      log_z: of the prior, with its own error and bracket.
      per_cell: the same as a plain array.
      importance_weighted: the tighter importance-weighted bound; None where it was not asked for.
      importance_weighted_standard_error: as `standard_error`; None likewise.
      importance_weighted_per_cell: as `per_cell`; None likewise.
    """

    value: float
    standard_error: float
    terms: dict[str, float]
    log_z: partition.LogZ
    importance_weighted: float | None
    importance_weighted_standard_error: float | None
    importance_weighted_per_cell: np.ndarray | None

    @staticmethod
    def of(per_cell: np.ndarray, means: Mapping[str, Any]) -> "Bound":
        """The bounds of cells [cells] with their means, by the names of the attributes."""
        found = np.array(per_cell).view(Bound)
        found.__dict__.update(means)
        return found

    def among(self, rows: np.ndarray, num_rows: int) -> "Bound":
        """The bounds of these cells as some rows [cells] among others, which are NaN."""
        weighted = self.importance_weighted_per_cell
        if weighted is not None:
            weighted = full_rows(weighted, rows, num_rows)
        means = self.__dict__ | {"importance_weighted_per_cell": weighted}
        return Bound.of(full_rows(np.asarray(self), rows, num_rows), means)

    @property
    def per_cell(self) -> np.ndarray:
        """Bound of each cell [cells]."""
        return np.asarray(self)

    def __array_finalize__(self, source: Any) -> None:
        """A copy of all cells keeps the means."""
        if isinstance(source, Bound) and source.shape == self.shape:
            self.__dict__.update(source.__dict__)

    def __reduce__(self) -> tuple:
        """Lets `pickle` keep the means."""
        return Bound.of, (np.asarray(self), self.__dict__)

    def __getitem__(self, item: Any) -> Any:
        """The bounds of some cells, without means."""
        return np.asarray(self)[item]

    def __array_wrap__(self, made: np.ndarray, context: Any = None, scalar: bool = False) -> Any:
        """What an operation of numpy makes is plain."""
        del context
        return made[()] if scalar or not made.ndim else np.asarray(made)

    def __str__(self) -> str:
        """As `repr`."""
        return repr(self)

    def __repr__(self) -> str:
        """The means; the cells are too many to show."""
        if not self.__dict__:
            return repr(np.asarray(self))
        terms = ", ".join(f"{name} {value:.4g}" for name, value in self.terms.items())
        return (
            f"Bound({self.value:.2f} +- {self.standard_error:.2g} nats per cell, mean of "
            f"{np.count_nonzero(np.isfinite(self.per_cell))} cells: {terms})"
        )


def bound_of_cells(
    key: jax.Array,
    vae: VAE,
    params: Params,
    data: DeviceCounts,
    cells: np.ndarray,
    *,
    num_draws: int,
    num_temperatures: int,
    num_train_cells: int | None = None,
) -> dict[str, float]:
    """Means of the bound and its terms, as the reports of experiments have them.

    Args:
      key: consumed; models with the same key get the same posterior draws.
      vae: the model.
      params: its parameters.
      data: counts.
      cells: which of them, indices [cells].
      num_draws: posterior draws of each cell.
      num_temperatures: of the annealing that estimates log Z, where there are too many spins to
        enumerate.
      num_train_cells: as in `training.bound`.
    """
    return training.bound(
        key, vae, training.build_evaluation(vae), data, params, cells, num_draws=num_draws,
        num_train_cells=num_train_cells, num_temperatures=num_temperatures,
    )  # fmt: skip


def check_has_bound(vae: VAE) -> None:
    """Raises an InputError for a model whose latents have no bound."""
    if not has_bits(vae):
        raise InputError(
            "expected a relaxation of true bits, got gumbel: its relaxed latents have no bound; "
            "train with another relaxation"
        )


def bound(
    seed: int,
    vae: VAE,
    params: Params,
    data: DeviceCounts,
    *,
    num_draws: int,
    num_temperatures: int,
    num_train_cells: int | None,
    importance_weighted: int | None,
) -> Bound:
    """The bound on all cells of `data`, see `FittedModel.bound`."""
    check_has_bound(vae)
    key, cells = bound_key(seed), np.arange(data.num_cells)
    found = bound_of_cells(
        key, vae, params, data, cells, num_draws=num_draws, num_temperatures=num_temperatures,
        num_train_cells=num_train_cells,
    )  # fmt: skip
    log_z = partition.LogZ.of_terms(found)
    per_cell = _per_cell(key, vae, params, data, num_draws, found["log_z"] + found["global_kl"])
    values = weighted = weighted_error = None
    if importance_weighted is not None:
        values, weighted = importance_weighted_bound(
            keys.key_of(seed, keys.WEIGHTED_BOUND, 0), vae, params, data, cells,
            log_z.value, num_samples=importance_weighted, num_train_cells=num_train_cells,
        )  # fmt: skip
        weighted_error = _standard_error(values, found["log_z_standard_error"])
    means = {
        "value": found["elbo"],
        "standard_error": _standard_error(per_cell, found["log_z_standard_error"]),
        "terms": {name: value for name, value in found.items() if not name.startswith(NOT_TERMS)},
        "log_z": log_z,
        "importance_weighted": weighted,
        "importance_weighted_standard_error": weighted_error,
        "importance_weighted_per_cell": values,
    }
    return Bound.of(per_cell, means)


def bound_key(seed: int) -> jax.Array:
    """The key of the bound of a run's first training."""
    return keys.key_of(seed, keys.BOUND, 0)


def log_z(
    seed: int, vae: VAE, params: Params, *, num_temperatures: int, num_chains: int
) -> partition.LogZ:
    """Log Z of the prior as floats, with the draws of `bound` at the same seed."""
    found = training.estimate_log_z(
        jax.random.split(bound_key(seed))[1], vae, params,
        num_temperatures=num_temperatures, num_chains=num_chains,
    )  # fmt: skip
    return partition.LogZ(*map(float, found))


def _per_cell(
    key: jax.Array, vae: VAE, params: Params, data: DeviceCounts, num_draws: int, shared: float
) -> np.ndarray:
    """The bound of each cell, by the same posterior draws as the mean in `training.bound`."""
    key_terms, _ = jax.random.split(key)
    drawn = []
    for draw in range(num_draws):
        terms, _ = cell_terms(jax.random.fold_in(key_terms, draw), vae, params, data)
        drawn.append(-terms.reconstruction - kl(terms, shared))
    return np.asarray(np.mean(drawn, axis=0, dtype=np.float64))


def _standard_error(values: np.ndarray, of_log_z: float) -> float:
    spread = np.std(values, ddof=1, dtype=np.float64) if values.size > 1 else math.nan
    return float(np.hypot(spread / math.sqrt(values.size), of_log_z))
