"""Sequences of bits as spins: how far their energies and correlations are from a known law."""

import jax.numpy as jnp
import numpy as np

from qbm_jax.machine.boltzmann import Boltzmann, bits_to_spins, energy
from qbm_jax.machine.distance import normalise
from qbm_jax.machine.enumeration import log_weights
from qbm_jax.machine.moments import exact_moments


def correlation_error(rows: np.ndarray, others: np.ndarray, machine: Boltzmann | None) -> float:
    """Root mean square error of the second moments of spins, of the law or of other sequences."""
    if machine is None:
        given = np.asarray(bits_to_spins(jnp.asarray(others)))
        truth = given.T @ given / len(given)
    else:
        truth = exact_moments(machine).pairs[0]
    drawn = np.asarray(bits_to_spins(jnp.asarray(rows)))
    found = drawn.T @ drawn / len(drawn)
    pairs = np.triu_indices(len(truth), 1)
    return float(np.sqrt(np.mean((found - truth)[pairs] ** 2)))


def energy_variation(machine: Boltzmann, rows: np.ndarray) -> float:
    """Total variation of the energies of sequences [n, N] from the enumerated law of energies."""
    weights = np.asarray(log_weights(machine), np.float64)
    p = np.exp(normalise(weights))
    found = np.asarray(energy(machine, bits_to_spins(jnp.asarray(rows))))
    levels, places = np.unique(np.round(-weights, 3), return_inverse=True)
    law = np.bincount(places, weights=p)
    nearest = np.argmin(np.abs(found[:, None] - levels[None]), axis=1)
    share = np.bincount(nearest, minlength=len(levels)) / len(rows)
    return float(0.5 * np.abs(share - law).sum())
