"""How well chains mix: functions of arrays that return numbers."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qbm_jax.errors import InputError

_SOKAL_WINDOW = 5.0  # in autocorrelation times; bias of order exp(-5), see the source below
_MIN_STEPS = 4
LARGEST_R_HAT = 1.05
FEWEST_TIMES = 50  # autocorrelation times that a series must hold for its tau to be believed
_SHOWN_LAGS = 300
_NUM_BATCHES = 10  # of a tenth, whose means give the error


def integrated_autocorrelation_time(values: ArrayLike) -> float:
    """Steps per independent draw, tau = 1 + 2 sum_t rho(t).

    Autocovariances are pooled over chains about the common mean, so that chains stuck in different
    places count as correlated. The sum stops at the first lag above 5 tau and 5 (Sokal 1997,
    "Monte Carlo methods in statistical mechanics", section 3); trust it if there are over
    50 tau steps.

    Args:
      values: a scalar per chain and step, such as the energy, [chains, steps].

    Returns:
      tau in steps of `values`; 1 if independent; NaN if all values are equal.

    Raises:
      InputError: the values are not [chains, steps], not finite, or of fewer than 4 steps.
    """
    taus = 2 * np.cumsum(autocorrelation(values)) - 1
    if np.isnan(taus[0]):
        return math.nan
    lags_enough = np.arange(taus.size) >= _SOKAL_WINDOW * np.maximum(taus, 1)
    window = int(np.argmax(lags_enough)) if lags_enough.any() else taus.size - 1
    return float(taus[window])


def autocorrelation(values: ArrayLike) -> np.ndarray:
    """Autocorrelation rho(t) at lags t = 0, 1, ... of [chains, steps] values, [steps].

    It is pooled over chains about the common mean; NaN if all values are equal.

    Raises:
      InputError: as in `integrated_autocorrelation_time`.
    """
    values = _checked(values)
    num_steps = values.shape[1]
    centred = values - values.mean()
    spectrum = np.fft.rfft(centred, n=2 * num_steps, axis=1)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :num_steps].sum(axis=0)
    covariance /= np.arange(num_steps, 0, -1)  # number of pairs at each lag
    # Equal values differ from their mean by rounding.
    moves = np.ptp(values) > 0 and covariance[0] > 0
    return covariance / covariance[0] if moves else np.full(num_steps, math.nan)


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
    moves = np.ptp(halves, axis=1).any() and within > 0
    return float(np.sqrt((half - 1) / half + between / within)) if moves else math.nan


def mixing_times(energies: ArrayLike, spins: ArrayLike) -> dict[str, Any]:
    """Autocorrelation times and R-hat of the energy and of single spins.

    Args:
      energies: [steps, chains].
      spins: [steps, chains, recorded].
    """
    energies = np.asarray(energies, np.float64).T
    spins = np.asarray(spins, np.float64)
    num_chains, num_steps = energies.shape
    sites = [spins[:, :, i].T for i in range(spins.shape[2])]
    spin_taus = [integrated_autocorrelation_time(site) for site in sites]
    spin_r_hats = [split_r_hat(site) for site in sites]
    tau = integrated_autocorrelation_time(energies)
    r_hat = split_r_hat(energies)
    # A site that never moved has neither a time nor an R-hat: the chain did not mix in it.
    spin_tau = float(np.max(np.where(np.isnan(spin_taus), np.inf, spin_taus)))
    spin_r_hat = float(np.max(np.where(np.isnan(spin_r_hats), np.inf, spin_r_hats)))
    return {
        "num_steps": num_steps,
        "num_chains": num_chains,
        "energy_tau": tau,
        "energy_r_hat": r_hat,
        "energy_effective": energies.size / max(tau, 1.0),
        "energy_mean": float(energies.mean()),
        "energy_mixed": is_mixed(tau, r_hat, num_steps),
        "spin_tau": spin_tau,
        "spin_r_hat": spin_r_hat,
        "spin_mixed": is_mixed(spin_tau, spin_r_hat, num_steps),
        "autocorrelation": autocorrelation(energies)[:_SHOWN_LAGS].round(4).tolist(),
    }


def is_mixed(tau: float, r_hat: float, num_steps: int) -> bool:
    """Whether chains agree and are long enough for their autocorrelation time to be believed."""
    return bool(r_hat <= LARGEST_R_HAT and tau <= num_steps / FEWEST_TIMES)


def compare_tenths(trace: np.ndarray, burn_in: float = 0.1) -> dict[str, float]:
    """Mean of the first tenth after burn-in and of the last, and their difference over its error.

    The error of each tenth's mean is the larger of two estimates: one from the means of ten
    batches, one from the autocorrelation time within the tenths. (The time of the whole trace would
    grow with the very drift that this function looks for.)

    Args:
      trace: [records].
      burn_in: share of the trace that is left out before the first tenth.

    Raises:
      InputError: tenths of fewer than 4 records.
    """
    kept = np.asarray(trace, np.float64)[round(burn_in * len(trace)) :]
    if len(kept) < 10 * _MIN_STEPS:
        raise InputError(
            f"expected a trace of {10 * _MIN_STEPS} records after burn-in, got {len(kept)}"
        )
    if not np.isfinite(kept).all():
        return {"first": math.nan, "last": math.nan, "error": math.nan, "z": math.nan}
    tenth = len(kept) // 10
    tenths = np.stack([kept[:tenth], kept[-tenth:]])
    means = tenths.mean(axis=1)
    tau = integrated_autocorrelation_time(tenths - means[:, None])
    error = math.hypot(*(mean_error(values, tau) for values in tenths))
    difference = float(means[1] - means[0])
    z = difference / error if error > 0 else (0.0 if difference == 0 else math.inf)
    return {"first": float(means[0]), "last": float(means[1]), "error": error, "z": z}


def mean_error(values: np.ndarray, tau: float) -> float:
    """Standard error of the mean of `values` [records] with autocorrelation time `tau`."""
    batches = np.array_split(values, min(_NUM_BATCHES, len(values)))
    means = np.array([batch.mean() for batch in batches])
    by_batches = means.std(ddof=1) / np.sqrt(len(means))
    by_time = values.std(ddof=1) * np.sqrt(np.fmax(tau, 1) / len(values))
    return float(max(by_batches, by_time))


def _checked(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[1] < _MIN_STEPS:
        raise InputError(
            f"expected values [chains, steps] with at least {_MIN_STEPS} steps, got {values.shape}"
        )
    if not np.isfinite(values).all():
        raise InputError("expected finite values, got NaN or infinity; drop chains that diverged")
    return values
