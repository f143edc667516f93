"""The law of the energy per spin: of a sampler's draws, and of a machine that can be enumerated."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.machine import instances
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.calibration import fit_beta
from qbm_jax.machine.distance import count_states, log_frequency_line, normalise
from qbm_jax.machine.enumeration import MAX_SPINS
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.chains import draw_once

NUM_QUANTILES = 400


def drawn(key: jax.Array, sampler: Sampler, params: Boltzmann, num_chains: int) -> dict[str, Any]:
    """One draw from each of independent chains; those that diverged are counted.

    Returns:
      `mean`, `standard_deviation` and `NUM_QUANTILES` `quantiles` of the energy per spin in kT, the
      `standard_error` of the mean (NaN of one draw), `beta_eff`, and the `finite_share` of the
      draws. Where the machine can be enumerated, `slope` and `correlation` of log frequency against
      energy. Nothing but `finite_share` where all diverged.
    """
    spins = np.asarray(draw_once(key, sampler, params, num_chains))
    spins = spins[np.isfinite(spins).all(axis=1)]
    if not len(spins):
        return {"finite_share": 0.0}
    energies = np.asarray(energy(params, jnp.asarray(spins)), np.float64)
    found = _told(energies, np.full(len(energies), 1 / len(energies)), params) | {
        "finite_share": len(spins) / num_chains,
        "standard_error": _standard_error(energies) / params.num_spins,
        "beta_eff": float(fit_beta(params, jnp.asarray(spins))),
    }
    if params.num_spins <= MAX_SPINS:
        halves = count_states(spins[::2]), count_states(spins[1::2])
        line, _ = log_frequency_line(*halves, instances.energies(params))
        found |= {"slope": line.slope, "correlation": line.correlation}
    return found


def exact(params: Boltzmann) -> dict[str, Any]:
    """What `drawn` tells of infinitely many exact draws, by enumeration; `beta_eff` is 1."""
    energies = np.asarray(instances.energies(params), np.float64)
    return _told(energies, np.exp(normalise(-energies)), params) | {"beta_eff": 1.0}


def _standard_error(energies: np.ndarray) -> float:
    """Of the mean of independent draws; NaN of one draw, which tells nothing of the spread."""
    if len(energies) < 2:
        return float("nan")
    return float(energies.std(ddof=1) / np.sqrt(len(energies)))


def _told(energies: np.ndarray, weights: np.ndarray, params: Boltzmann) -> dict[str, Any]:
    """Mean, s.d. and quantiles of the energy per spin, in kT."""
    per_spin = energies / params.num_spins
    mean = float(weights @ per_spin)
    at = (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES
    quantiles = np.quantile(per_spin, at, weights=weights, method="inverted_cdf")
    return {
        "mean": mean,
        "standard_deviation": float(np.sqrt(weights @ (per_spin - mean) ** 2)),
        "quantiles": np.round(quantiles, 6).tolist(),
    }
