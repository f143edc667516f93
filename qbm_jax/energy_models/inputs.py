"""What users hand in: rows of bits, of means of bits, of real numbers, and clamped units."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from qbm_jax.errors import InputError
from qbm_jax.runtime import keys

KEPT_ROWS = 1000  # of the data, at which chains for log Z start
_SAME = 1e-13  # of a column's largest value: a spread that is rounding
_ALIKE = 1e-8  # below 1 of a correlation: columns that are the same but for rounding
BINARISATIONS = {
    "sampled": "bits drawn with X as their means",
    "thresholded": "bits X > 1/2",
    "means": "X itself, as means of bits",
}


def checked_rows(estimator: BaseEstimator, X: Any, reset: bool, least: int = 1) -> np.ndarray:
    """X as float32, or the estimator's `input_dtype`, [rows, features]; features as in the fit.

    Raises:
      InputError: sparse, empty, NaN, masked, infinite, not of numbers, or of other features.
    """
    if np.ma.is_masked(X):  # scikit-learn reads what is under the mask
        raise InputError(
            f"expected all values of X, got {np.ma.count_masked(X)} masked; remove or impute those "
            "rows"
        )
    try:
        return validate_data(
            estimator, X, reset=reset, dtype=getattr(estimator, "input_dtype", np.float32),
            ensure_min_samples=least, order="C",
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        text = str(error).strip()
        said = (text if "Reshape" in text else text.partition("\n")[0]).rstrip(".")
        if isinstance(error, TypeError) and "parse" not in said:
            raise  # entries of other types, which scikit-learn wants told so
        hint = "; remove or impute those rows" if "NaN" in said else ""
        raise InputError(said + hint) from error


def check_bits(X: np.ndarray) -> None:
    """Refuses rows [rows, features] that hold neither bits nor means of bits.

    Raises:
      InputError: values outside of 0 to 1; says what to do with spins.
    """
    low, high = float(X.min()), float(X.max())
    if low < 0 or high > 1:
        if set(np.unique(X[:100]).tolist()) <= {-1.0, 1.0}:
            raise InputError("expected bits 0 and 1 in X, got spins -1 and 1; use (1 + X) / 2")
        found = "Negative values in data: " if low < 0 else ""  # words of scikit-learn's checks
        raise InputError(
            f"{found}expected bits 0 and 1, or their means, in X, got values from {low:g} to "
            f"{high:g}; scale X, or use GaussianRestrictedBoltzmannMachine for real numbers"
        )


def is_binary(X: np.ndarray) -> bool:
    """Whether all of X [rows, features] are bits."""
    return bool(np.isin(X, (0, 1)).all())


def check_real(X: np.ndarray) -> None:
    """Refuses rows [rows, features] with columns on which no density exists.

    Raises:
      InputError: a constant column, one that is another times a number, or one whose variance is
        not finite; it names them.
    """
    if len(X) < 2:
        raise InputError(f"expected at least 2 rows to scale real columns by, got {len(X)} sample")
    with np.errstate(over="ignore", invalid="ignore"):
        spread = X.std(axis=0, dtype=np.float64)
    if (huge := np.flatnonzero(~np.isfinite(spread))).size:
        raise InputError(
            f"column {huge[0]} of X is so large that its variance is not finite; divide it"
        )
    if (constant := np.flatnonzero(spread <= _SAME * np.abs(X).max(axis=0))).size:
        raise InputError(
            f"column {constant[0]} of X is constant, so it has no density; leave it out"
        )
    scaled = (X - X.mean(axis=0, dtype=np.float64)) / spread
    alike = np.abs(scaled.T @ scaled) / len(X) > 1 - _ALIKE
    first, second = np.nonzero(np.triu(alike, 1))
    if len(X) > 2 and first.size:
        raise InputError(
            f"columns {first[0]} and {second[0]} of X are the same but for scale and shift, so X "
            "has no density; leave one out"
        )


def given_rows(given: Any, num: int, num_visible: int, bits: bool) -> np.ndarray | None:
    """Clamped values [num, visible] with NaN where a unit is free; None for none.

    Args:
      given: [visible] for all draws, or [num, visible], a row for each.
      num: draws.
      num_visible: units.
      bits: whether values must be 0 and 1.

    Raises:
      InputError: another shape, infinite values, values that are no bits, or no free unit.
    """
    if given is None:
        return None
    try:
        if np.iscomplexobj(given):
            raise TypeError
        rows = np.asarray(given, np.float32 if bits else np.float64)  # these are scaled later
    except (TypeError, ValueError) as error:
        raise InputError("expected numbers in given, NaN for a free unit") from error
    if rows.shape not in ((num_visible,), (num, num_visible), (1, num_visible)):
        raise InputError(
            f"expected given [{num_visible}] or [{num}, {num_visible}] (a row a draw), "
            f"got shape {list(rows.shape)}"
        )
    held = rows[~np.isnan(rows)]
    if bits and not np.isin(held, (0, 1)).all():
        hint = "; use (1 + given) / 2" if np.isin(held, (-1, 1)).all() else ""
        raise InputError(
            f"expected 0, 1 or NaN (free) in given, got {held.min():g} to {held.max():g}{hint}"
        )
    if not np.isfinite(held).all():
        raise InputError("expected finite values or NaN (free) in given, got infinity")
    if not np.isnan(np.atleast_2d(rows)).any(axis=1).all():
        raise InputError("expected at least one free unit (NaN) in given, got all clamped")
    return np.broadcast_to(rows, (num, num_visible))


def kept_rows(rows: np.ndarray, seed: int, num_updates: int = 0) -> np.ndarray:
    """The rows [`KEPT_ROWS` at most, visible] at which chains for log Z start, drawn from these.

    The first ones would all be of one kind where rows are in the order of theirs.
    """
    rng = np.random.default_rng(keys.seed_of(seed, "energy model starts", num_updates))
    return rows[rng.permutation(len(rows))[:KEPT_ROWS]]
