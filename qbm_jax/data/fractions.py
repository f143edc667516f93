"""Whether counts suit a likelihood; what others are: normalised, logarithms, fractions, or bits."""

import logging

import numpy as np
import scipy.sparse as sp

from qbm_jax.data.cell_table import CellTable
from qbm_jax.data.cells import Cells
from qbm_jax.errors import InputError
from qbm_jax.model import likelihoods
from qbm_jax.model.token_law import check_places

LOGGER = logging.getLogger("qbm_jax")

_NORMALISED = ("log-normalised", "normalised")  # how they begin in words
_LOOKED_AT = 300  # cells that tell what kind of fractions they hold
_LEAST_INFORMATIVE = 3  # values of a cell, besides the smallest, that tell whether it has a unit


def check_likelihood(cells: CellTable, likelihood: str, num_categories: int | None = None) -> None:
    """Refuses counts that are not whole numbers for a likelihood of whole numbers.

    Likewise values above 1 for a likelihood of bits, and what is not one-hot for one of tokens, of
    `num_categories` kinds (None: all columns are one token). Of cells on disk some hundred are
    looked at. Normalised values for a likelihood that normalises counts itself get a warning in the
    log.

    Raises:
      InputError: names the alternatives; or there is no such likelihood.
    """
    law = likelihoods.build(likelihood)
    if law.redraw is not None and cells.largest > 1:
        raise InputError(
            f"{cells.source}: likelihood {likelihood} expects bits or their means in [0, 1], found "
            f"{cells.largest:.4g}; divide grey values by their largest, or choose a likelihood of "
            f"counts, {' or '.join(likelihoods.those_that(lambda each: each.of_counts))}"
        )
    if cells.is_integer or law.accepts_non_integer:
        if law.of_kinds is not None:
            counts = cells.counts if isinstance(cells, Cells) else _some_counts(cells)
            check_places(counts, num_categories, cells.source)
        elif not cells.is_integer and law.redraw is None:
            warn_of_normalised(_some_counts(cells), likelihood, cells.source)
        elif law.of_counts:
            warn_of_bits(cells.largest, likelihood, cells.source)
        return
    example, _ = cells.fractions()
    accepting = likelihoods.those_that(
        lambda each: each.accepts_non_integer and each.redraw is None
    )
    raise InputError(
        f"{cells.source}: likelihood {likelihood} expects whole-number counts, found values such "
        f"as {example:.4g} ({what_fractions_are(_some_counts(cells))}); name the layer with raw "
        "counts, use raw, round decontaminated or expected counts to whole numbers, or choose "
        f"likelihood {' or '.join(accepting)}"
    )


def _some_counts(cells: CellTable) -> sp.csr_matrix:
    """Counts of a few hundred cells from everywhere."""
    rows = np.unique(np.linspace(0, cells.num_cells - 1, _LOOKED_AT).astype(int))
    return cells.select(rows).counts


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
