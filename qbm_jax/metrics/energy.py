"""Does the energy of a cell order development, and does it mark cells that do not belong?"""

import numpy as np
from scipy import sparse, stats
from sklearn.metrics import roc_auc_score

from qbm_jax.errors import InputError
from qbm_jax.metrics.trajectory import MIN_PAIRS, ordered_groups

CHUNK = 1024  # cells made dense at once


def energy_order(
    energy: np.ndarray, reference: np.ndarray, batch: np.ndarray | None = None
) -> dict[str, float]:
    """Spearman's rho of energy [cells] with stage or pseudotime [cells], NaN left out.

    Negative where energy falls along the reference, as it does if progenitors have high energy;
    `energy_order` is its size, for which side is up is no merit. NaN if the energy is constant.

    Args:
      energy: [cells].
      reference: [cells], NaN for cells to leave out.
      batch: where references of different batches are on different scales, as in
        `trajectory.conservation`: rho is the plain mean over batches.

    Raises:
      InputError: different lengths, energies that are not finite, or fewer than 3 cells with a
        reference, or all on one value.
    """
    energy, reference = np.asarray(energy, float), np.asarray(reference, float)
    if energy.shape != reference.shape:
        raise InputError(f"expected one reference per cell, got {reference.shape}/{energy.shape}")
    if not np.isfinite(energy).all():
        raise InputError(f"expected finite energies, got {(~np.isfinite(energy)).sum()} of others")
    known = np.isfinite(reference)
    if known.sum() < MIN_PAIRS or np.ptp(reference[known]) == 0:
        raise InputError(f"expected at least 3 cells on several stages, got {known.sum()} cells")
    groups = ordered_groups(known, reference, batch)
    rho = float(np.mean([_rho(energy[of], reference[of]) for of in groups])) if groups else np.nan
    return {"energy_spearman": rho, "energy_order": abs(rho), "num_cells": float(known.sum())}


def _rho(energy: np.ndarray, reference: np.ndarray) -> float:
    """Spearman's rho; NaN if the energy is constant."""
    return stats.spearmanr(energy, reference).statistic if np.ptp(energy) > 0 else np.nan


def anomaly_auroc(usual: np.ndarray, anomalous: np.ndarray) -> float:
    """Probability that an anomalous cell scores above a usual one, ties counting half.

    0.5 tells nothing, 1 is best. The score is anything that should be higher for cells that do not
    belong: energy, minus the bound, minus the likelihood; of a type left out of training, or of
    cells corrupted by `shuffle_genes`.

    Args:
      usual: scores of cells that belong [cells].
      anomalous: scores of cells that do not [other cells].

    Raises:
      InputError: an empty side, or scores that are not finite.
    """
    scores = np.concatenate([usual, anomalous])
    if len(usual) == 0 or len(anomalous) == 0 or not np.isfinite(scores).all():
        raise InputError(
            "expected finite scores of usual and of anomalous cells, got"
            f" {len(usual)} and {len(anomalous)} cells, {(~np.isfinite(scores)).sum()} not finite"
        )
    return float(roc_auc_score(np.arange(len(scores)) >= len(usual), scores))


def shuffle_genes(seed: int, counts: sparse.spmatrix, fraction: float = 1.0) -> sparse.csr_matrix:
    """Corrupted cells: in every cell the counts of some genes change places at random.

    Library size, number of expressed genes and the values of the counts stay; what is lost is which
    genes go together.

    Args:
      seed: the same seed gives the same cells.
      counts: [cells, genes]; left as they are.
      fraction: of the genes, drawn anew for every cell, whose counts change places; in (0, 1].

    Returns:
      Counts [cells, genes] of the same dtype.

    Raises:
      InputError: a fraction outside (0, 1], or one that picks fewer than two genes.
    """
    counts = sparse.csr_matrix(counts)
    num_chosen = round(fraction * counts.shape[1])
    if not 0 < fraction <= 1 or num_chosen < 2:
        raise InputError(
            "expected a fraction in (0, 1] that picks at least 2 genes, got"
            f" {fraction} of {counts.shape[1]} genes"
        )
    rng = np.random.default_rng(seed)
    chunks = []
    for start in range(0, counts.shape[0], CHUNK):
        cells = counts[start : start + CHUNK].toarray()
        source = np.argsort(rng.random(cells.shape), axis=1)[:, :num_chosen]
        values = np.take_along_axis(cells, source, axis=1)
        np.put_along_axis(cells, rng.permuted(source, axis=1), values, axis=1)
        chunks.append(sparse.csr_matrix(cells))
    return sparse.vstack(chunks, format="csr")
