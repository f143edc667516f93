"""Laws of all samplers on enumerated machines: one draw from each of many independent chains."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.fidelity import models as fidelity_models
from experiments.fidelity import samplers as fidelity_samplers
from experiments.fidelity.statistics import (
    Band,
    count_states,
    exact_band,
    kullback_leibler,
    log_frequency_line,
    normalise,
)
from experiments.kit.pieces import Pieces
from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.calibration import energy_residual, field_residual, fit_beta
from qbm_jax.machine.distance import total_variation

LARGEST_Z = 4.0  # of an exact sampler above exact draws; false alarms: 3e-5 a test for normal z
_SCATTER_POINTS = 150  # kept of a piece for the scatter plot


class Law(NamedTuple):
    """A machine, its states' energies and log probabilities [2^N], and the bands of exact draws."""

    params: Boltzmann
    energies: np.ndarray
    log_p: np.ndarray
    bands: dict[str, Band]


def measure(config: ConfigDict, pieces: Pieces) -> None:
    """One piece per machine and sampler: distances to the law, temperature, slope, correlation."""
    options = config.laws

    @functools.cache
    def law(kind: str, num_spins: int) -> Law:
        params = fidelity_models.KINDS[kind](config.seed, num_spins)
        return enumerated(params, options.num_draws, options.num_exact_sets)

    for label in fidelity_samplers.labels(config):
        sampler = fidelity_samplers.build(config, label)
        draw = draw_function(sampler, options.num_draws, options.chains_per_batch)
        for num_spins, kind in itertools.product(options.num_spins, options.kinds):
            pieces.measure(
                "laws",
                {"model": f"{kind} {num_spins}", "sampler": label},
                lambda key, draw=draw, of=(kind, num_spins): measure_law(key, draw, law(*of)),
            )


def enumerated(params: Boltzmann, num_draws: int, num_exact_sets: int) -> Law:
    """The law of a machine, and what `num_draws` exact draws of it would show."""
    energies = fidelity_models.energies(params)
    log_p = normalise(-energies)
    return Law(params, energies, log_p, exact_band(log_p, num_draws, num_exact_sets, seed=0))


def draw_function(sampler: samplers.Sampler, num_draws: int, chains_per_batch: int):
    """Compiled (key, params) -> spins int8 [draws, N] of independent chains, and mean info.

    Chains of a sampler that is exact in law start anew for each batch. A heuristic is initialised
    once, because that is where it calibrates; its draws begin with a restart.
    """
    num_batches = -(-num_draws // chains_per_batch)

    @jax.jit
    def draw(key, params):
        key_shared, key_batches = jax.random.split(key)
        shared = (
            None
            if sampler.targets_boltzmann
            else sampler.init(key_shared, params, chains_per_batch)
        )

        def batch(key):
            key_init, key_draw = jax.random.split(key)
            state = sampler.init(key_init, params, chains_per_batch) if shared is None else shared
            spins, _, info = sampler.sample(key_draw, params, state)
            finite = jnp.all(jnp.isfinite(spins), axis=1)
            spins = jnp.where(finite[:, None], spins, 0)
            return spins.astype(jnp.int8), {name: jnp.mean(value) for name, value in info.items()}

        spins, info = jax.lax.map(batch, jax.random.split(key_batches, num_batches))
        return spins.reshape(-1, params.num_spins)[:num_draws], info

    return draw


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
    """What no temperature explains, in standard errors: of fields or of energies, the larger."""
    spins = jnp.asarray(spins, jnp.float32)
    values = np.append(field_residual(params, spins, beta), energy_residual(params, spins, beta))
    return float(values[np.argmax(np.abs(values))])


def at_floor(piece: dict[str, Any]) -> bool:
    """Whether draws cannot be told from exact ones: all finite, distances below `LARGEST_Z`."""
    values = (piece.get("total_variation_z"), piece.get("kullback_leibler_z"))
    near = all(value is not None and value < LARGEST_Z for value in values)
    return near and piece["finite_share"] == 1
