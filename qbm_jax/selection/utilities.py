"""What a label of a cell is worth by itself, from a fitted model of the cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import shown


def elbo(model: Any, adata: Any, spins: np.ndarray | None = None) -> np.ndarray:
    """Minus the bound on log p(x) of each cell, in nats [cells]: the model does not expect it."""
    del spins
    _check_in_memory(adata, "elbo")
    return -np.asarray(model.bound(adata).per_cell, np.float64)


def free_energy(model: Any, adata: Any, spins: np.ndarray | None = None) -> np.ndarray:
    """E_q[E(s)] - H(q) of each cell's spins, in nats [cells]: how improbable the prior has them.

    Raises:
      InputError: as `entropy`, or cells that are not in memory.
    """
    _check_spins(model, "free_energy")
    _check_in_memory(adata, "free_energy")
    means, energy = model.embed_with_energy(adata)
    return np.asarray(energy, np.float64) - entropy_of(means if spins is None else spins)


def entropy(model: Any, adata: Any, spins: np.ndarray | None = None) -> np.ndarray:
    """Entropy of the posterior of each cell's spins, in nats [cells]; their sum where factorial.

    Args:
      model: a fitted model.
      adata: the cells.
      spins: their means [cells, spins], where they are known.

    Raises:
      InputError: the latents of the model are no spins.
    """
    _check_spins(model, "entropy")
    return entropy_of(model.embed(adata) if spins is None else spins)


def _check_spins(model: Any, name: str) -> None:
    if not model.vae.prior.binary:
        raise InputError(f"expected a model of spins for utility {name}, got one of numbers")


def _check_in_memory(adata: Any, name: str) -> None:
    if not hasattr(adata, "obs_names"):
        kind = type(adata).__name__
        raise InputError(
            f"expected an AnnData for utility {name}, got {kind}; read it, or take entropy"
        )


def entropy_of(spins: np.ndarray) -> np.ndarray:
    """Entropy of independent spins with these means [cells, spins], in nats [cells]."""
    up = 0.5 * (1 + np.clip(spins.astype(np.float64), -1, 1))
    return np.sum(_plogp(up) + _plogp(1 - up), axis=1)


def disagreement(models: Sequence[Any], adata: Any) -> np.ndarray:
    """Standard deviation over models of each cell's bound less the model's mean, nats [cells].

    Args:
      models: trained alike, from different seeds.
      adata: the cells.

    Raises:
      InputError: fewer than two models.
    """
    if len(models) < 2:
        raise InputError(f"expected at least 2 models to disagree, got {len(models)}")
    return disagreement_of(np.array([elbo(model, adata) for model in models]))


def disagreement_of(bounds: np.ndarray) -> np.ndarray:
    """Standard deviation over models of bounds [models, cells] less each model's mean [cells]."""
    return (bounds - bounds.mean(axis=1, keepdims=True)).std(axis=0, ddof=1)


UTILITIES = {"elbo": elbo, "free_energy": free_energy, "entropy": entropy}


def check_utility(utility: Any, model: Any) -> None:
    """Raises InputError for a name that is none, or a name without a model."""
    if isinstance(utility, str):
        if utility not in UTILITIES:
            raise InputError(
                f"unknown utility {shown(utility)}; choose from {', '.join(UTILITIES)}, "
                "or give an array"
            )
        if model is None:
            raise InputError(f"expected model= for utility {utility}, which it makes, got none")


def standardised(values: np.ndarray, number: int) -> np.ndarray:
    """Utilities [cells] to mean 0 and standard deviation 1 / number^2; constant ones to 0."""
    spread = values.std()
    centred = values - values.mean()
    return centred / (spread * number**2) if spread > 0 else np.zeros_like(centred)


def _plogp(share: np.ndarray) -> np.ndarray:
    return -share * np.log(np.where(share > 0, share, 1))
