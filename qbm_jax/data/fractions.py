"""What values that are no counts are: normalised, logarithms of that, true fractions, or bits."""

import logging

import numpy as np
import scipy.sparse as sp

LOGGER = logging.getLogger("qbm_jax")

_NORMALISED = ("log-normalised", "normalised")  # how they begin in words
_LEAST_INFORMATIVE = 3  # values of a cell, besides the smallest, that tell whether it has a unit


def what_fractions_are(counts: sp.csr_matrix) -> str:
    """Says in words what values of cells [cells, genes] are of which some are fractions.

    Normalised counts are whole multiples of one number in each cell, their logarithms are that
    after exp(x) - 1. Decontaminated counts (SoupX) and expected counts (RSEM) have no such number.
    """
    rows = [counts.data[a:b] for a, b in zip(counts.indptr[:-1], counts.indptr[1:], strict=True)]
    rows = [row.astype(np.float64) for row in rows if np.any(row != np.rint(row))]
    if not rows:
        return "few of them"
    least, largest = min(row.min() for row in rows), max(row.max() for row in rows)
    seen = f"{least:.3g} to {largest:.4g} in cells with fractions"
    if largest < 50 and _have_units([np.expm1(row) for row in rows]):
        return f"{_NORMALISED[0]}: exp(x) - 1 is a whole multiple of one number per cell; {seen}"
    if _have_units(rows):
        return f"{_NORMALISED[1]}: whole multiples of one number per cell; {seen}"
    return (
        "no normalised counts, with or without logarithm, since no number per cell divides them; "
        f"decontaminated (SoupX) or expected counts look so; {seen}"
    )


def warn_of_normalised(counts: sp.csr_matrix, likelihood: str, source: str) -> None:
    """Warns in the log of normalised values for a likelihood that normalises counts itself."""
    what = what_fractions_are(counts)
    if what.startswith(_NORMALISED):
        LOGGER.warning(
            "%s: likelihood %s normalises raw counts and takes their logarithm itself, and these "
            "values look %s; give raw counts, or they are transformed twice",
            source, likelihood, what,
        )  # fmt: skip


def warn_of_bits(largest: float, likelihood: str, source: str) -> None:
    """Warns in the log of bits, `largest` of which is 1, for a likelihood of counts."""
    if largest == 1:
        LOGGER.warning(
            "%s: no count is above 1, and likelihood %s is of counts; if these say only whether a "
            "gene was seen, give the counts, or choose likelihood bernoulli",
            source, likelihood,
        )  # fmt: skip


def _have_units(rows: list[np.ndarray]) -> bool:
    """Most of the cells that can tell hold whole multiples of their smallest value."""
    verdicts = []
    for row in rows:
        ratios = row / row.min()
        informative = ratios[ratios > 1.5]
        if len(informative) >= _LEAST_INFORMATIVE:
            tolerance = np.minimum(0.01 + 1e-4 * informative, 0.15)
            verdicts.append(np.all(np.abs(informative - np.rint(informative)) < tolerance))
    return bool(verdicts) and float(np.mean(verdicts)) > 0.5
