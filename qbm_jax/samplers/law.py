"""How far a sampler's draws are from the law of an enumerated machine, and in which way."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.machine import instances
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.calibration import energy_residual, field_residual, fit_beta
from qbm_jax.machine.distance import (
    Band,
    count_states,
    exact_band,
    kullback_leibler,
    log_frequency_line,
    normalise,
    total_variation,
)

_SCATTER_POINTS = 150  # kept of a measurement for a scatter plot


class Law(NamedTuple):
    """A machine, its states' energies and log probabilities [2^N], and the bands of exact draws."""

    params: Boltzmann
    energies: np.ndarray
    log_p: np.ndarray
    bands: dict[str, Band]


def enumerated(params: Boltzmann, num_draws: int, num_exact_sets: int) -> Law:
    """The law of a machine, and what `num_draws` exact draws of it would show."""
    energies = instances.energies(params)
    log_p = normalise(-energies)
    return Law(params, energies, log_p, exact_band(log_p, num_draws, num_exact_sets, seed=0))


def measure_law(key: jax.Array, draw: Callable, law: Law) -> dict[str, Any]:
    """Everything about the law of one sampler on one machine."""
    spins, info = jax.tree.map(np.asarray, draw(key, law.params))
    finite = spins[:, 0] != 0
    infos = {name: float(np.mean(values)) for name, values in info.items()}
    measured = {"finite_share": float(finite.mean()), "info": infos}
    return measured | (distances(spins[finite], law) if finite.any() else {})


def distances(spins: np.ndarray, law: Law) -> dict[str, Any]:
    """Distance of draws [draws, N] to the law, the same at the fitted temperature, and the line."""
    counts = count_states(spins)
    variation = total_variation(spins, law.log_p)
    divergence = kullback_leibler(counts, law.log_p)
    beta = float(fit_beta(law.params, jnp.asarray(spins, jnp.float32)))
    at_beta = total_variation(spins, normalise(-beta * law.energies))
    line, chosen = log_frequency_line(
        count_states(spins[::2]), count_states(spins[1::2]), law.energies
    )
    chosen = chosen[np.argsort(law.energies[chosen])]
    shown = chosen[:: max(1, -(-chosen.size // _SCATTER_POINTS))]
    return {
        "total_variation": variation.value,
        "total_variation_floor": variation.floor,
        "total_variation_z": law.bands["total_variation"].z(variation.value),
        "kullback_leibler": divergence,
        "kullback_leibler_floor": law.bands["kullback_leibler"].mean,
        "kullback_leibler_z": law.bands["kullback_leibler"].z(divergence),
        "beta_eff": beta,
        "field_residual_z": largest_residual(law.params, spins, beta),
        "residual_total_variation": at_beta.value,
        "residual_floor": at_beta.floor,
        "slope": line.slope,
        "slope_standard_error": line.standard_error,
        "correlation": line.correlation,
        "num_states": line.num_states,
        "scatter_energy": law.energies[shown].tolist(),
        "scatter_log_frequency": np.log((counts[shown] + 0.5) / len(spins)).tolist(),
        "log_z": float(np.logaddexp.reduce(-law.energies)),
    }


def largest_residual(params: Boltzmann, spins: np.ndarray, beta: float) -> float:
    """What no temperature explains of spins [draws, spins], in standard errors.

    It is the larger of the residuals of fields and of energies.
    """
    drawn = jnp.asarray(spins, jnp.float32)
    values = np.append(field_residual(params, drawn, beta), energy_residual(params, drawn, beta))
    return float(values[np.argmax(np.abs(values))])
