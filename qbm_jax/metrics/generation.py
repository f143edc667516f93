"""Generated cells against held-out cells: gene by gene, pair by pair, and as a whole.

Three questions of rising difficulty: has every gene its mean, variance and share of zeros; do genes
vary together as they should; can a classifier tell the two sets apart?
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.metrics import roc_auc_score

from qbm_jax.errors import InputError
from qbm_jax.metrics.baselines import TARGET_COUNTS
from qbm_jax.metrics.checks import check_names
from qbm_jax.metrics.folds import stratified_folds
from qbm_jax.metrics.trees import fit_trees

NUM_GENES = 500  # most variable ones, for the correlations between genes
NUM_FOLDS = 3
MAX_CELLS = 1000
GENE_SHARE, NUM_BINS = 0.2, 64  # of a tree: with all genes and 256 bins the test takes minutes
MIN_CELLS = 20
METRICS = ("mean", "variance", "zeros", "gene_gene", "two_sample_auroc", "two_sample_excess")


class GeneStatistics(NamedTuple):
    """Statistics by gene [genes]: mean and variance of the counts, share of zeros."""

    mean: np.ndarray
    variance: np.ndarray
    zeros: np.ndarray


class Generation(NamedTuple):
    """Scores, by batch where asked for, and what a figure needs.

    `mean`, `variance` (of log1p of the statistic) and `zeros` are Pearson correlations over genes;
    `gene_gene` is Pearson's over pairs of genes; all are best at 1. `two_sample_auroc` is best at
    0.5, and 1 where every cell is recognised. `two_sample_excess` is its distance from 0.5, best at
    0; that of several batches is the mean of their distances, in which a batch above 0.5 and one
    below do not cancel.
    """

    scores: dict[str, float]
    per_batch: dict[str, dict[str, float]]
    generated: GeneStatistics
    held_out: GeneStatistics
    notes: list[str]


def score_generation(
    generated: sparse.spmatrix,
    held_out: sparse.spmatrix,
    seed: int = 0,
    generated_batch: np.ndarray | None = None,
    held_out_batch: np.ndarray | None = None,
) -> Generation:
    """Compares two sets of counts; with batches, within each of them, and `scores` is the mean.

    The classifier test is `trees.fit_trees`, with a fifth of the genes for each tree, on
    log(1 + counts scaled to 10,000 per cell) of at most 1,000 cells of each set, as many of one as
    of the other: the mean AUROC over 3 folds. Library sizes
    can be read off the log-normalised values, so generated cells should be drawn with the held-out
    cells' sizes. Correlations between genes are those of the log-normalised values of the 500
    genes that vary most among the held-out cells; a gene that is constant among the generated cells
    has correlation 0 with all others.

    Args:
      generated: counts from the model [cells, genes].
      held_out: counts that the model has not seen [other cells, genes].
      seed: of the samples, the folds and the trees.
      generated_batch: batch of every generated cell, or None.
      held_out_batch: batch of every held-out cell, or None; batches with fewer than 20 cells on
        either side are left out with a note.

    Raises:
      InputError: different genes, batches for one side alone, or fewer than 20 cells.
    """
    generated, held_out = sparse.csr_matrix(generated), sparse.csr_matrix(held_out)
    if generated.shape[1] != held_out.shape[1]:
        raise InputError(
            f"expected the same genes on both sides, got {generated.shape[1]} generated and"
            f" {held_out.shape[1]} held out"
        )
    if (generated_batch is None) != (held_out_batch is None):
        raise InputError("expected batches of generated and of held-out cells, got one of the two")
    if generated_batch is None or held_out_batch is None:
        generated_batch = np.full(generated.shape[0], "all")
        held_out_batch = np.full(held_out.shape[0], "all")
    generated_batch = check_names(generated_batch, "batch", generated.shape[0])
    held_out_batch = check_names(held_out_batch, "batch", held_out.shape[0])
    per_batch, left_out = {}, []
    for name in np.union1d(generated_batch, held_out_batch).tolist():
        ours, theirs = generated[generated_batch == name], held_out[held_out_batch == name]
        if min(ours.shape[0], theirs.shape[0]) < MIN_CELLS:
            left_out.append(name)
            continue
        per_batch[name] = _compare(ours, theirs, seed)
    if not per_batch:
        raise InputError(
            f"expected at least {MIN_CELLS} generated and held-out cells of a batch, got"
            f" {generated.shape[0]} and {held_out.shape[0]} in all"
        )
    means = {m: float(np.mean([scores[m] for scores in per_batch.values()])) for m in METRICS}
    notes = [f"batches of fewer than {MIN_CELLS} cells: {', '.join(left_out)}"] if left_out else []
    return Generation(
        means, per_batch, gene_statistics(generated), gene_statistics(held_out), notes
    )


def gene_statistics(counts: sparse.csr_matrix) -> GeneStatistics:
    """Mean and variance of the counts and share of zeros of every gene of counts [cells, genes]."""
    mean = np.asarray(counts.mean(axis=0, dtype=np.float64)).ravel()
    square = np.asarray(counts.astype(np.float64).multiply(counts).mean(axis=0)).ravel()
    zeros = 1 - np.asarray((counts > 0).sum(axis=0)).ravel() / counts.shape[0]
    return GeneStatistics(mean, np.maximum(square - mean**2, 0), zeros)


def _compare(
    generated: sparse.csr_matrix, held_out: sparse.csr_matrix, seed: int
) -> dict[str, float]:
    """All scores of two sets of counts."""
    ours, theirs = gene_statistics(generated), gene_statistics(held_out)
    size = min(generated.shape[0], held_out.shape[0], MAX_CELLS)
    rng = np.random.default_rng(seed)
    samples = [
        _log_normalised(counts[np.sort(rng.choice(counts.shape[0], size, replace=False))])
        for counts in (generated, held_out)
    ]
    auroc = _two_sample_auroc(samples[0], samples[1], seed)
    return {
        "mean": _pearson(np.log1p(ours.mean), np.log1p(theirs.mean)),
        "variance": _pearson(np.log1p(ours.variance), np.log1p(theirs.variance)),
        "zeros": _pearson(ours.zeros, theirs.zeros),
        "gene_gene": _gene_gene(samples[0], samples[1]),
        "two_sample_auroc": auroc,
        "two_sample_excess": abs(auroc - 0.5),
    }


def _log_normalised(counts: sparse.csr_matrix) -> np.ndarray:
    """log(1 + counts scaled to 10,000 per cell), dense float32 [cells, genes]."""
    dense = counts.toarray().astype(np.float32)
    return np.log1p(dense / np.maximum(dense.sum(axis=1, keepdims=True), 1) * TARGET_COUNTS)


def _gene_gene(generated: np.ndarray, held_out: np.ndarray) -> float:
    """Pearson's correlation, over pairs of genes, of the genes' own correlations."""
    spread = held_out.var(axis=0)
    genes = np.argsort(-spread, kind="stable")[: min(NUM_GENES, (spread > 0).sum())]
    pairs = np.triu_indices(len(genes), 1)
    return _pearson(*(_correlation(cells[:, genes])[pairs] for cells in (generated, held_out)))


def _correlation(values: np.ndarray) -> np.ndarray:
    """Correlations of the columns [columns, columns], 0 where a column is constant."""
    centred = values - values.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(centred, axis=0)
    centred /= np.where(length > 0, length, 1)
    return centred.T @ centred


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation; NaN if one side is constant."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])


def _two_sample_auroc(generated: np.ndarray, held_out: np.ndarray, seed: int) -> float:
    """Mean over folds of the AUROC of trees that tell held-out cells from generated ones."""
    points = np.concatenate([generated, held_out])
    origin = np.repeat([0, 1], [len(generated), len(held_out)])
    folds = stratified_folds(origin, NUM_FOLDS, seed)
    scores = []
    for fold in range(NUM_FOLDS):
        test = folds == fold
        trees = fit_trees(
            points[~test], origin[~test], seed, feature_share=GENE_SHARE, num_bins=NUM_BINS
        )
        scores.append(roc_auc_score(origin[test], trees.predict_proba(points[test])[:, 1]))
    return float(np.mean(scores))
