"""Moments of samplers at N = 1024 against quadrature, with errors from independent chains."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.fidelity import samplers as fidelity_samplers
from experiments.fidelity.laws import LARGEST_Z
from experiments.kit.pieces import Pieces
from qbm_jax import samplers
from qbm_jax.machine import planted
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.calibration import fit_beta
from qbm_jax.machine.enumeration import MAX_SPINS

_SCATTER_POINTS = 300  # of means, and of pairs, kept for the figure


def measure(config: ConfigDict, pieces: Pieces) -> None:
    """One piece per sampler that does not enumerate."""
    options = config.planted
    model = planted.random_planted(
        config.seed, options.num_spins, options.strengths, options.field, options.bias
    )
    exact = planted.moments(model)
    params = planted.machine(model)
    for label in fidelity_samplers.labels(config):
        if fidelity_samplers.is_enumeration(config, label) and options.num_spins > MAX_SPINS:
            continue
        sampler = fidelity_samplers.build(config, label)
        pieces.measure(
            "planted",
            {"model": f"planted {options.num_spins}", "sampler": label},
            lambda key, sampler=sampler: compare(
                _draw(key, sampler, params, options.num_chains), params, model, exact,
                options.num_pairs,
            ),
        )  # fmt: skip


def _draw(key: jax.Array, sampler: samplers.Sampler, params: Boltzmann, num_chains: int):
    """One draw from each of independent chains, spins [chains, N]."""

    @jax.jit
    def draw(key, params):
        key_init, key_draw = jax.random.split(key)
        return sampler.sample(key_draw, params, sampler.init(key_init, params, num_chains))[0]

    return np.asarray(draw(key, params), np.float64)


def compare(
    spins: np.ndarray,
    params: Boltzmann,
    model: planted.Planted,
    exact: planted.PlantedMoments,
    num_pairs: int,
) -> dict[str, Any]:
    """Moments of spins [chains, N] minus the exact ones, in standard errors.

    Single means and pairs have the errors of the exact law, sqrt((1 - moment^2)/chains). Overlaps
    u_k's and the energy, which add what many spins have in common, have their sample errors.
    """
    finite = np.isfinite(spins).all(axis=1)
    measured = {"finite_share": float(finite.mean()), "num_chains": int(finite.sum())}
    if finite.sum() < 2:
        return measured
    spins = spins[finite]
    first, second = _pairs(len(exact.mean), num_pairs)
    pair_exact = exact.second[first, second]
    pair_mean = np.mean(spins[:, first] * spins[:, second], axis=0)
    mean = spins.mean(axis=0)
    z_mean, z_pair = (
        (found - wanted) / np.sqrt((1 - wanted**2) / len(spins))
        for found, wanted in ((mean, exact.mean), (pair_mean, pair_exact))
    )
    collective = collective_z(spins, params, model, exact)
    return measured | {
        "mean_rms_z": float(np.sqrt(np.mean(z_mean**2))),
        "mean_largest_z": float(np.abs(z_mean).max()),
        "mean_rms_error": float(np.sqrt(np.mean((mean - exact.mean) ** 2))),
        "mean_slope": float(mean @ exact.mean / (exact.mean @ exact.mean)),
        "pair_rms_z": float(np.sqrt(np.mean(z_pair**2))),
        "pair_largest_z": float(np.abs(z_pair).max()),
        "collective_z": collective,
        "largest_collective_z": max(abs(z) for z in collective.values()),
        "energy_exact": exact.energy,
        "beta_eff": float(fit_beta(params, jnp.asarray(spins, jnp.float32))),
        "standard_error": float(np.sqrt(1 / len(spins))),
        "scatter_mean": [exact.mean[:_SCATTER_POINTS].tolist(), mean[:_SCATTER_POINTS].tolist()],
        "scatter_pair": [
            pair_exact[:_SCATTER_POINTS].tolist(), pair_mean[:_SCATTER_POINTS].tolist()
        ],
    }  # fmt: skip


def collective_z(
    spins: np.ndarray, params: Boltzmann, model: planted.Planted, exact: planted.PlantedMoments
) -> dict[str, float]:
    """Error over standard error of overlaps u_k's, of their squares and of the energy."""
    overlaps = spins @ model.directions
    wanted = exact.mean @ model.directions
    squares = np.einsum("ik,ij,jk->k", model.directions, exact.second, model.directions)
    quantities = {
        "energy": (np.asarray(energy(params, jnp.asarray(spins, jnp.float32))), exact.energy)
    }
    for k in range(len(wanted)):
        quantities[f"overlap {k + 1}"] = (overlaps[:, k], wanted[k])
        quantities[f"overlap {k + 1} squared"] = (overlaps[:, k] ** 2, squares[k])
    return {
        name: float((values.mean() - mean) / (values.std(ddof=1) / np.sqrt(len(spins))))
        for name, (values, mean) in quantities.items()
    }


def within_error(piece: dict[str, Any]) -> bool:
    """Whether all collective moments agree with quadrature."""
    z = piece.get("largest_collective_z")
    return z is not None and z < LARGEST_Z


def _pairs(num_spins: int, num_pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pairs i < j, the same for all samplers."""
    draw = np.random.default_rng(0)
    first = draw.integers(0, num_spins - 1, num_pairs)
    return first, first + 1 + (draw.random(num_pairs) * (num_spins - 1 - first)).astype(int)
