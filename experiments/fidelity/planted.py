"""Moments of samplers at N = 1024 against quadrature, with errors from independent chains."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.fidelity import samplers as fidelity_samplers
from experiments.fidelity.laws import LARGEST_Z
from experiments.kit.runner import Piece, Work
from qbm_jax.machine import planted
from qbm_jax.machine.enumeration import MAX_SPINS
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.chains import draw_once


def pieces(config: ConfigDict) -> Iterator[Work]:
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

        def measure(key: jax.Array, sampler: Sampler = sampler) -> Piece:
            spins = np.asarray(draw_once(key, sampler, params, options.num_chains), np.float64)
            return planted.compare(spins, params, model, exact, options.num_pairs)

        yield Work("planted", {"model": f"planted {options.num_spins}", "sampler": label}, measure)


def within_error(piece: dict[str, Any]) -> bool:
    """Whether all collective moments agree with quadrature."""
    z = piece.get("largest_collective_z")
    return z is not None and z < LARGEST_Z
