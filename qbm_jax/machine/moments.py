"""How far a sampler's draws are from the law of the machine: moments, temperature, distance.

Moment errors and residuals come from two halves of the chains, which are independent: the product
of two independent estimates of a bias has its square as expectation, so that the noise of finite
draws is no error of the sampler.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine import calibration
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.distance import total_variation
from qbm_jax.machine.enumeration import enumerate_spins, log_weights


class Moments(NamedTuple):
    """Two independent estimates, of each mean spin [2, N] and of each pair's product [2, N, N]."""

    spins: np.ndarray
    pairs: np.ndarray


def halves(spins: np.ndarray) -> np.ndarray:
    """Draws of even and of odd chains [2, draws x chains/2, N], of spins [draws, chains, N].

    Raises:
      InputError: there is one chain, whose draws have no independent other half.
    """
    if spins.ndim != 3 or spins.shape[1] < 2:
        raise InputError(
            f"expected spins [draws, chains, N] of at least 2 chains, got {spins.shape}; draw "
            "more chains, for the errors come from two independent halves of them"
        )
    num_chains = spins.shape[1] // 2 * 2
    parts = [spins[:, first:num_chains:2] for first in (0, 1)]
    return np.stack([part.reshape(-1, spins.shape[2]) for part in parts]).astype(np.float32)


def sample_moments(spins: np.ndarray) -> Moments:
    """Moments of spins [draws, chains, N]; raises as `halves`."""
    parts = halves(spins)
    pairs = np.einsum("hdi,hdj->hij", parts, parts, optimize=True) / parts.shape[1]
    return Moments(parts.mean(axis=1), pairs)


def exact_moments(machine: Boltzmann) -> Moments:
    """Moments of the enumerated law; both halves are the same."""
    probabilities = np.asarray(jax.nn.softmax(log_weights(machine)), np.float64)
    states = np.asarray(enumerate_spins(machine.num_spins), np.float64)
    spins = probabilities @ states
    pairs = (states * probabilities[:, None]).T @ states
    return Moments(np.stack([spins, spins]), np.stack([pairs, pairs]))


def rms_bias(first: np.ndarray, second: np.ndarray) -> float:
    """Root mean square of a bias that two arrays [...] estimate independently.

    It is 0 if noise hides the bias.
    """
    return float(np.sqrt(max(np.mean(first * second), 0.0)))


def moment_errors(draws: Moments, truth: Moments) -> dict[str, float]:
    """Root mean square errors of mean spins and of products of pairs of spins."""
    above = np.triu_indices(draws.spins.shape[1], k=1)
    pairs = (draws.pairs - truth.pairs)[:, above[0], above[1]]
    return {
        "pair_error": rms_bias(pairs[0], pairs[1]),
        "mean_error": rms_bias(*(draws.spins - truth.spins)),
    }


def errors(
    spins: np.ndarray, machine: Boltzmann, truth: Moments, enumerated: bool = False
) -> dict[str, float]:
    """Every measured error of spins [draws, chains, N] against the machine's law.

    Returns:
      `pair_error`, `mean_error`; `beta_eff`; `residual`: root mean square over spins of the
      pseudo-likelihood residual at beta_eff, what no temperature explains; where the law is to be
      enumerated, those of `distance`.

    Raises:
      InputError: there is one chain.
    """
    beta, residuals = jax.device_get(temperature(machine, jnp.asarray(halves(spins))))
    return {
        **moment_errors(sample_moments(spins), truth),
        "beta_eff": float(beta),
        "residual": rms_bias(*residuals),
        **(distance(spins, machine) if enumerated else {}),
    }


@jax.jit
def temperature(machine: Boltzmann, parts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """beta_eff of spins [2, draws, N] together, and either half's residuals at it [2, N]."""
    beta = calibration.fit_beta(machine, parts)
    residual = functools.partial(calibration.pseudo_likelihood_residual, machine, beta=beta)
    return beta, jax.vmap(residual)(parts)


def distance(spins: np.ndarray, machine: Boltzmann) -> dict[str, float]:
    """Total variation of spins [draws, chains, N] to the law, and that of as many exact draws."""
    law = log_weights(machine)
    found = total_variation(spins.reshape(-1, machine.num_spins), law)
    return {"total_variation": found.value, "total_variation_floor": found.floor}
