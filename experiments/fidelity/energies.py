"""Energy histograms of samplers on one machine a size, beside the exact law where it is known."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.fidelity import samplers as fidelity_samplers
from experiments.kit.runner import Piece, Work
from qbm_jax.errors import InputError
from qbm_jax.machine import instances
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.calibration import fit_beta
from qbm_jax.machine.distance import count_states, log_frequency_line, normalise
from qbm_jax.machine.enumeration import MAX_SPINS
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.chains import draw_once

EXACT = "exact law"
_NUM_QUANTILES = 400  # kept of the energies of a piece


def check(config: ConfigDict) -> None:
    """Raises InputError for a label that there is not, or that enumerates."""
    for label in config.energies.samplers:
        fidelity_samplers.build(config, label)
        if fidelity_samplers.is_enumeration(config, label):
            raise InputError(
                f"expected samplers with chains in config.energies.samplers, got {label!r}, "
                f"whose law is drawn beside them up to {MAX_SPINS} spins"
            )


def pieces(config: ConfigDict) -> Iterator[Work]:
    """One piece per machine and sampler, and one for the exact law of each enumerated machine."""
    options = config.energies
    for num_spins in options.num_spins:
        params = instances.gaussian(config.seed, num_spins, options.strength)
        names = {"model": f"Gaussian {num_spins}"}
        num_chains = options.num_draws if num_spins <= MAX_SPINS else options.num_chains
        if num_spins <= MAX_SPINS:
            yield Work(
                "energies", names | {"sampler": EXACT}, functools.partial(_exact, params=params)
            )
        for label in options.samplers:
            sampler = fidelity_samplers.build(config, label)
            measure = functools.partial(
                _drawn, sampler=sampler, params=params, num_chains=num_chains
            )
            yield Work("energies", names | {"sampler": label}, measure)


def _drawn(key: jax.Array, sampler: Sampler, params: Boltzmann, num_chains: int) -> Piece:
    """One draw from each of many independent chains; those that diverged are counted."""
    spins = np.asarray(draw_once(key, sampler, params, num_chains))
    spins = spins[np.isfinite(spins[:, 0])]
    if not len(spins):
        return {"finite_share": 0.0}
    energies = np.asarray(energy(params, jnp.asarray(spins)), np.float64)
    found = _told(energies, np.full(len(energies), 1 / len(energies)), params) | {
        "finite_share": len(spins) / num_chains,
        "standard_error": float(energies.std() / np.sqrt(len(energies)) / params.num_spins),
        "beta_eff": float(fit_beta(params, jnp.asarray(spins))),
    }
    if params.num_spins <= MAX_SPINS:
        halves = count_states(spins[::2]), count_states(spins[1::2])
        line, _ = log_frequency_line(*halves, instances.energies(params))
        found |= {"slope": line.slope, "correlation": line.correlation}
    return found


def _exact(key: jax.Array, params: Boltzmann) -> Piece:
    del key
    energies = np.asarray(instances.energies(params), np.float64)
    return _told(energies, np.exp(normalise(-energies)), params) | {"beta_eff": 1.0}


def _told(energies: np.ndarray, weights: np.ndarray, params: Boltzmann) -> Piece:
    """Mean, s.d. and quantiles of the energy per spin, in kT."""
    per_spin = energies / params.num_spins
    mean = float(weights @ per_spin)
    at = (np.arange(_NUM_QUANTILES) + 0.5) / _NUM_QUANTILES
    quantiles = np.quantile(per_spin, at, weights=weights, method="inverted_cdf")
    return {
        "mean": mean,
        "standard_deviation": float(np.sqrt(weights @ (per_spin - mean) ** 2)),
        "quantiles": np.round(quantiles, 6).tolist(),
    }
