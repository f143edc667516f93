"""A machine that runs on: does anything drift between the first and the last tenth of the run?"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.fidelity import samplers as fidelity_samplers
from experiments.kit.runner import LOGGER, Work
from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import instances, mixing
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.chains import advance_function, find_amplitudes

LARGEST_Z = 4.0  # between tenths, of three moments; false alarms: 2e-4 in all for normal z
_NUM_DISPATCHES = 20  # between which a stop takes effect
_DISPATCHES_PER_LINE = 5  # of the log


def pieces(config: ConfigDict) -> Iterator[Work]:
    """One piece per sampler."""
    options = config.long_run
    params = instances.gaussian(config.seed, options.num_spins, options.strength)
    for label in options.samplers:
        sampler = fidelity_samplers.build(config, label)
        yield Work(
            "long_run",
            {"sampler": label},
            functools.partial(long_run, sampler=sampler, params=params, options=options),
        )


def long_run(
    key: jax.Array, sampler: samplers.Sampler, params: Boltzmann, options: ConfigDict
) -> dict[str, Any]:
    """Traces and the comparison of tenths; steps go on and on, no draw restarts the machine."""
    key_init, key_run = jax.random.split(key)
    records = options.num_records // _NUM_DISPATCHES
    steps_per_record = options.num_steps // (records * _NUM_DISPATCHES)
    advance = advance_function(sampler, records, steps_per_record)
    state = sampler.init(key_init, params, options.num_chains)
    parts = []
    for index in range(_NUM_DISPATCHES):
        state, part = advance(jax.random.fold_in(key_run, index), params, state)
        parts.append(jax.tree.map(np.asarray, part))
        if (index + 1) % _DISPATCHES_PER_LINE == 0:
            LOGGER.info("long run: %d %% done", 100 * (index + 1) // _NUM_DISPATCHES)
    traces = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {
        "num_steps": steps_per_record * records * _NUM_DISPATCHES,
        "steps_per_record": steps_per_record,
        "num_spins": params.num_spins,
        "num_chains": options.num_chains,
        "finite": all(bool(np.isfinite(trace).all()) for trace in traces.values()),
        "moments": {name: mixing.compare_tenths(trace) for name, trace in traces.items()},
        "traces": {name: np.round(trace, 6).tolist() for name, trace in traces.items()},
    }


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
