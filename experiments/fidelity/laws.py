"""Laws of all samplers on enumerated machines: one draw from each of many independent chains."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.fidelity import samplers as fidelity_samplers
from experiments.kit.runner import Piece, Work
from qbm_jax.machine import instances
from qbm_jax.samplers.chains import draw_function
from qbm_jax.samplers.law import Law, enumerated, measure_law

LARGEST_Z = 4.0  # of an exact sampler above exact draws; false alarms: 3e-5 a test for normal z


def pieces(config: ConfigDict) -> Iterator[Work]:
    """One piece per machine and sampler: distances to the law, temperature, slope, correlation."""
    options = config.laws

    @functools.cache
    def law(kind: str, num_spins: int) -> Law:
        params = instances.KINDS[kind](config.seed, num_spins)
        return enumerated(params, options.num_draws, options.num_exact_sets)

    def measure(draw: Callable, kind: str, num_spins: int, key: jax.Array) -> Piece:
        return measure_law(key, draw, law(kind, num_spins))

    for label in fidelity_samplers.labels(config):
        sampler = fidelity_samplers.build(config, label)
        draw = draw_function(sampler, options.num_draws, options.chains_per_batch)
        for num_spins, kind in itertools.product(options.num_spins, options.kinds):
            yield Work(
                "laws",
                {"model": f"{kind} {num_spins}", "sampler": label},
                functools.partial(measure, draw, kind, num_spins),
            )


def at_floor(piece: dict[str, Any]) -> bool:
    """Whether draws cannot be told from exact ones: all finite, distances below `LARGEST_Z`."""
    values = (piece.get("total_variation_z"), piece.get("kullback_leibler_z"))
    near = all(value is not None and value < LARGEST_Z for value in values)
    return near and piece["finite_share"] == 1
