"""A machine that runs on: does anything drift between the first and the last tenth of the run?"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.fidelity import samplers as fidelity_samplers
from experiments.kit.runner import Work
from qbm_jax.errors import InputError
from qbm_jax.machine import instances
from qbm_jax.samplers.chains import find_amplitudes
from qbm_jax.samplers.long_run import long_run

LARGEST_Z = 4.0  # between tenths, of three moments; false alarms: 2e-4 in all for normal z


def pieces(config: ConfigDict) -> Iterator[Work]:
    """One piece per sampler."""
    options = config.long_run
    params = instances.gaussian(config.seed, options.num_spins, options.strength)
    for label in options.samplers:
        sampler = fidelity_samplers.build(config, label)
        yield Work(
            "long_run",
            {"sampler": label},
            functools.partial(
                long_run,
                sampler=sampler,
                params=params,
                num_chains=options.num_chains,
                num_steps=options.num_steps,
                num_records=options.num_records,
            ),
        )


def check(config: ConfigDict) -> None:
    """Raises InputError for a label that there is not, or a machine without amplitudes."""
    for label in config.long_run.samplers:
        init = functools.partial(fidelity_samplers.build(config, label).init, num_chains=1)
        state = jax.eval_shape(init, jax.random.key(0), instances.gaussian(0, 2, 1.0))
        try:
            find_amplitudes(state)
        except InputError as error:
            raise InputError(f"config.long_run.samplers: {error}") from error


def is_steady(piece: dict[str, Any]) -> bool:
    """Whether the run stayed finite and no moment moved between the tenths."""
    moments = piece["moments"].values()
    return piece["finite"] and all(
        moment["z"] is not None and abs(moment["z"]) < LARGEST_Z for moment in moments
    )
