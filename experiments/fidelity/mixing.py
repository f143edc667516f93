"""How fast the exact Markov chains mix, and where they do not within the budget."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.fidelity import samplers as fidelity_samplers
from experiments.kit.runner import Piece, Work
from qbm_jax.machine import instances, mixing
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.runtime import keys
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.chains import record_function, seconds_per_draw


def pieces(config: ConfigDict) -> Iterator[Work]:
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
            params = instances.gaussian(config.seed, options.num_spins, strength)
            work = partial(measure, record, timed, sample, params, options)
            yield Work("mixing", {"b": strength, "sampler": label}, work)


def measure(
    record: Callable,
    timed: Sampler,
    sample: Callable,
    params: Boltzmann,
    options: ConfigDict,
    key: jax.Array,
) -> Piece:
    """Autocorrelation times, and seconds a step of all chains."""
    found = mixing.mixing_times(*record(keys.named(key, "record"), params))
    key = keys.named(key, "speed")
    seconds = seconds_per_draw(key, timed, sample, params, options.num_chains)
    return found | {"seconds_per_step": seconds / options.timed_steps}


def effective_per_second(piece: dict[str, Any]) -> float | None:
    """Independent energies a second from all chains; None where the chains did not mix."""
    if not piece["energy_mixed"]:
        return None
    tau = max(piece["energy_tau"], 1.0)
    return piece["num_chains"] / (tau * piece["seconds_per_step"])
