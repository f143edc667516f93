"""What has to be known of all cells before any is trained on: one pass in bounded memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from qbm_jax.data.fingerprint import CountsDigest
from qbm_jax.data.on_disk.bar import cells_bar
from qbm_jax.data.on_disk.csr_file import CsrFile
from qbm_jax.data.on_disk.genes import pick
from qbm_jax.data.on_disk.parts import FilePart, all_rows
from qbm_jax.data.read import to_counts
from qbm_jax.runtime.identity import digest_names, digest_of

_LEAST_CELLS = 100
"""Cells of a batch that are sampled before shares count: enough for its vote on the genes."""


@dataclass
class Survey:
    """Facts on all rows of all files, in the genes of the first.

    Attributes:
      totals: total counts, float32 [rows].
      nonzeros: stored counts, int32 [rows].
      seen: rows in which each gene has a count, int64 [genes].
      fraction: the first count that is no whole number; None if all are whole.
      largest: the largest count.
      clean: for each file, whether its rows are stored sorted and without zeros.
      counts_digest: digest of all counts, and of the files' columns of the genes.
      sample: counts of the sampled rows, CSR float32 [sampled, genes].
    """

    totals: np.ndarray
    nonzeros: np.ndarray
    seen: np.ndarray
    fraction: float | None
    largest: float
    clean: list[bool]
    counts_digest: str
    sample: sp.csr_matrix


def survey(
    files: Sequence[CsrFile], columns: Sequence[np.ndarray], sampled: np.ndarray, progress: bool
) -> Survey:
    """Reads all rows once, checks the values and keeps the rows `sampled` [sample], ascending.

    Args:
      files: the parts, one after another.
      columns: of each file, the columns of the genes [genes].
      sampled: the rows to keep [sample], ascending.
      progress: whether to show a bar.

    Raises:
      InputError: a file cannot be read, or holds counts that are negative or not finite.
    """
    num_rows, num_genes = sum(file.shape[0] for file in files), len(columns[0])
    facts = Survey(
        totals=np.zeros(num_rows, np.float32),
        nonzeros=np.zeros(num_rows, np.int32),
        seen=np.zeros(num_genes, np.int64),
        fraction=None,
        largest=0.0,
        clean=[True] * len(files),
        counts_digest="",
        sample=sp.csr_matrix((0, num_genes), dtype=np.float32),
    )
    samples, digest = [facts.sample], CountsDigest()
    with cells_bar("read and check", num_rows, progress) as advance:
        for index, rows, stored in all_rows(files):
            facts.clean[index] &= bool(stored.has_canonical_format and stored.data.all())
            counts = to_counts(stored, str(files[index].path))
            digest.add(counts)
            counts = pick(counts, columns[index])
            _add(facts, rows, counts)
            inside = sampled[np.searchsorted(sampled, rows.start) :]
            inside = inside[: np.searchsorted(inside, rows.stop)]
            samples.append(counts[inside - rows.start])
            advance(counts.shape[0])
    facts.sample = sp.vstack(samples, format="csr")
    facts.sample.sort_indices()
    facts.counts_digest = digest_names([digest.text(), *(digest_of(each) for each in columns)])
    return facts


def totals_and_nonzeros(
    parts: Sequence[FilePart], files: Sequence[CsrFile], progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Total counts float32 [rows] and stored counts int32 [rows] in the genes of the parts."""
    num_rows = sum(file.shape[0] for file in files)
    totals, nonzeros = np.zeros(num_rows, np.float32), np.zeros(num_rows, np.int32)
    with cells_bar("count in the genes kept", num_rows, progress) as advance:
        for index, rows, stored in all_rows(files):
            counts = parts[index].restrict(stored)
            totals[rows] = np.asarray(counts.sum(axis=1)).ravel()
            nonzeros[rows] = np.diff(counts.indptr)
            advance(counts.shape[0])
    return totals, nonzeros


def stratified_sample(strata: np.ndarray, size: int, seed: int = 0) -> np.ndarray:
    """At most `size` cells, ascending: a function of the strata, the size and the seed alone.

    Each stratum gives in proportion to its cells, but small ones their first 100 before that.

    Args:
      strata: integer code of each cell [cells].
      size: cells to choose; all are chosen where there are not more.
      seed: another one gives other cells.
    """
    if len(strata) <= size:
        return np.arange(len(strata))
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    _, sizes = np.unique(strata, return_counts=True)
    rank = np.concatenate([np.arange(n) for n in sizes])
    least = rank < _LEAST_CELLS
    turn = np.where(least, rank / _LEAST_CELLS - 1, rank / np.repeat(sizes, sizes))
    return np.sort(by_stratum[np.argsort(turn, kind="stable")[:size]])


def _add(facts: Survey, rows: slice, counts: sp.csr_matrix) -> None:
    facts.totals[rows] = np.asarray(counts.sum(axis=1)).ravel()
    facts.nonzeros[rows] = np.diff(counts.indptr)
    facts.seen += counts.getnnz(axis=0)
    facts.largest = max(facts.largest, float(counts.data.max(initial=0)))
    if facts.fraction is None:
        fractions = counts.data[counts.data != np.rint(counts.data)]
        facts.fraction = float(fractions[0]) if len(fractions) else None
