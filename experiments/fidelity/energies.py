"""Energy histograms of samplers on one machine a size, beside the exact law where it is known."""

import functools
from collections.abc import Iterator

import jax
from ml_collections import ConfigDict

from experiments.fidelity import samplers as fidelity_samplers
from experiments.kit.runner import Piece, Work
from qbm_jax.errors import InputError
from qbm_jax.machine import instances
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import MAX_SPINS
from qbm_jax.samplers import energy_draws

EXACT = "exact law"


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
                "energies",
                names | {"sampler": EXACT},
                functools.partial(_exact, params),
            )
        for label in options.samplers:
            sampler = fidelity_samplers.build(config, label)
            measure = functools.partial(
                energy_draws.drawn, sampler=sampler, params=params, num_chains=num_chains
            )
            yield Work("energies", names | {"sampler": label}, measure)


def _exact(params: Boltzmann, key: jax.Array) -> Piece:
    del key
    return energy_draws.exact(params)
