"""How fast the exact Markov chains mix, and where they do not within the budget."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.fidelity import models as fidelity_models
from experiments.fidelity import samplers as fidelity_samplers
from experiments.kit.pieces import Pieces
from qbm_jax import samplers
from qbm_jax.machine import mixing
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.runtime import keys

LARGEST_R_HAT = 1.05
FEWEST_TIMES = 50  # autocorrelation times that a series must hold for its tau to be believed
_RECORDED_SPINS = 16
_SHOWN_LAGS = 300


def measure(config: ConfigDict, pieces: Pieces) -> None:
    """One piece per coupling strength and exact sampler that is a Markov chain."""
    options = config.mixing
    for label in fidelity_samplers.exact_in_law(config):
        if fidelity_samplers.is_enumeration(config, label):
            continue
        record = record_function(
            fidelity_samplers.build(config, label, num_steps=1),
            options.num_chains, options.num_burn_in, options.num_steps,
        )  # fmt: skip
        timed = fidelity_samplers.build(config, label, num_steps=options.timed_steps)
        sample = jax.jit(timed.sample)
        for strength in options.strengths:
            params = fidelity_models.gaussian(config.seed, options.num_spins, strength)
            pieces.measure(
                "mixing",
                {"b": strength, "sampler": label},
                lambda key, params=params, record=record, sample=sample, timed=timed: (
                    mixing_times(*record(keys.named(key, "record"), params))
                    | speed(keys.named(key, "speed"), timed, sample, params, options)
                ),
            )


def record_function(sampler: samplers.Sampler, num_chains: int, burn_in: int, num_steps: int):
    """Compiled (key, params) -> energies [steps, chains], spins int8 [steps, chains, recorded].

    Chains start from the product law of the fields; the sampler makes one step a draw.
    """

    @jax.jit
    def record(key, params):
        key_init, key_steps = jax.random.split(key)

        def advance(state, key):
            spins, state, _ = sampler.sample(key, params, state)
            return state, (energy(params, spins), spins[:, :_RECORDED_SPINS].astype(jnp.int8))

        state = sampler.init(key_init, params, num_chains)
        keys = jax.random.split(key_steps, burn_in + num_steps)
        _, (energies, spins) = jax.lax.scan(advance, state, keys)
        return energies[burn_in:], spins[burn_in:]

    return record


def mixing_times(energies: jax.Array, spins: jax.Array) -> dict[str, Any]:
    """Autocorrelation times and R-hat of the energy and of single spins.

    Args:
      energies: [steps, chains].
      spins: [steps, chains, recorded].
    """
    energies = np.asarray(energies, np.float64).T
    spins = np.asarray(spins, np.float64)
    num_chains, num_steps = energies.shape
    sites = [spins[:, :, i].T for i in range(spins.shape[2])]
    spin_taus = [mixing.integrated_autocorrelation_time(site) for site in sites]
    spin_r_hats = [mixing.split_r_hat(site) for site in sites]
    tau = mixing.integrated_autocorrelation_time(energies)
    r_hat = mixing.split_r_hat(energies)
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
        "autocorrelation": mixing.autocorrelation(energies)[:_SHOWN_LAGS].round(4).tolist(),
    }


def is_mixed(tau: float, r_hat: float, num_steps: int) -> bool:
    """Whether chains agree and are long enough for their autocorrelation time to be believed."""
    return bool(r_hat <= LARGEST_R_HAT and tau <= num_steps / FEWEST_TIMES)


def speed(
    key: jax.Array, sampler: samplers.Sampler, sample, params: Boltzmann, options: ConfigDict
) -> dict[str, float]:
    """Seconds a step of all chains, the least of three compiled draws of `timed_steps` steps."""
    state = sampler.init(key, params, options.num_chains)
    jax.block_until_ready(sample(key, params, state))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(sample(key, params, state))
        seconds.append(time.perf_counter() - start)
    return {"seconds_per_step": min(seconds) / options.timed_steps}


def effective_per_second(piece: dict[str, Any]) -> float | None:
    """Independent energies a second from all chains; None where the chains did not mix."""
    if not piece["energy_mixed"]:
        return None
    tau = max(piece["energy_tau"], 1.0)
    return piece["num_chains"] / (tau * piece["seconds_per_step"])
