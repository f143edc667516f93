"""How well chains mix. Arrays in, numbers out."""

import math

import numpy as np
from numpy.typing import ArrayLike

from qbm_jax.errors import InputError

_SOKAL_WINDOW = 5.0  # in autocorrelation times; bias of order exp(-5), see the source below
_MIN_STEPS = 4


def integrated_autocorrelation_time(values: ArrayLike) -> float:
    """Steps per independent draw, tau = 1 + 2 sum_t rho(t).

    Autocovariances are pooled over chains about the common mean, so that chains stuck in different
    places count as correlated. The sum stops at the first lag above 5 tau and 5 (Sokal 1997,
    "Monte Carlo methods in statistical mechanics", section 3); trust it where there are over
    50 tau steps.

    Args:
      values: a scalar per chain and step, such as the energy, [chains, steps].

    Returns:
      tau in steps of `values`; 1 if independent; NaN if all values are equal.

    Raises:
      InputError: not [chains, steps], fewer than 4 steps, or values that are not finite.
    """
    taus = 2 * np.cumsum(autocorrelation(values)) - 1
    if np.isnan(taus[0]):
        return math.nan
    lags_enough = np.arange(taus.size) >= _SOKAL_WINDOW * np.maximum(taus, 1)
    window = int(np.argmax(lags_enough)) if lags_enough.any() else taus.size - 1
    return float(taus[window])


def autocorrelation(values: ArrayLike) -> np.ndarray:
    """Autocorrelation rho(t) at lags t = 0, 1, ... of [chains, steps] values, [steps].

    Pooled over chains about the common mean; NaN if all values are equal.

    Raises:
      InputError: as in `integrated_autocorrelation_time`.
    """
    values = _checked(values)
    num_steps = values.shape[1]
    centred = values - values.mean()
    spectrum = np.fft.rfft(centred, n=2 * num_steps, axis=1)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :num_steps].sum(axis=0)
    covariance /= np.arange(num_steps, 0, -1)  # number of pairs at each lag
    return covariance / covariance[0] if covariance[0] else np.full(num_steps, math.nan)


def effective_sample_size(values: ArrayLike) -> float:
    """Number of independent draws that [chains, steps] values are worth: their number over tau."""
    return np.size(values) / integrated_autocorrelation_time(values)


def split_r_hat(values: ArrayLike) -> float:
    """Potential scale reduction of chains cut in halves; near 1 when they agree.

    Source: Gelman et al. 2013, "Bayesian Data Analysis", third edition, section 11.4.

    Args:
      values: [chains, steps]; an odd last step is dropped.

    Returns:
      sqrt of (pooled variance / within-chain variance); NaN if no half chain moves.

    Raises:
      InputError: as in `integrated_autocorrelation_time`.
    """
    values = _checked(values)
    half = values.shape[1] // 2
    halves = values[:, : 2 * half].reshape(-1, half)
    within = halves.var(axis=1, ddof=1).mean()
    between = halves.mean(axis=1).var(ddof=1)
    return float(np.sqrt((half - 1) / half + between / within)) if within > 0 else math.nan


def _checked(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[1] < _MIN_STEPS:
        raise InputError(
            f"expected values [chains, steps] with at least {_MIN_STEPS} steps, got {values.shape}"
        )
    if not np.isfinite(values).all():
        raise InputError("expected finite values, got NaN or infinity; drop chains that diverged")
    return values
