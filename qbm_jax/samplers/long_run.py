"""A sampler that runs on without a restart: traces, and whether anything drifts."""

import logging
from typing import Any

import jax
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine import mixing
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.chains import advance_function

LOGGER = logging.getLogger("qbm_jax")
NUM_DISPATCHES = 20  # between which an interrupt takes effect
FEWEST_RECORDS = 60  # their tenths are then long enough for `mixing.compare_tenths`
DISPATCHES_PER_LINE = 5  # of the log


def long_run(
    key: jax.Array, sampler: Sampler, params: Boltzmann, num_chains: int, num_steps: int,
    num_records: int,
) -> dict[str, Any]:  # fmt: skip
    """Traces and the comparison of tenths; steps go on and on, no draw restarts the machine.

    Args:
      key: of start and steps.
      sampler: one whose state has amplitudes, see `chains.find_amplitudes`.
      params: N spins.
      num_chains: side by side.
      num_steps: of all chains, rounded down to equal numbers between records.
      num_records: of each trace, rounded down to a multiple of `NUM_DISPATCHES`.

    Returns:
      `traces` by name, `moments` by the same names (see `mixing.compare_tenths`), whether all is
      `finite`, and `num_steps`, `steps_per_record`, `num_spins` and `num_chains` as they were.

    Raises:
      InputError: fewer records than `FEWEST_RECORDS`, or fewer steps than records.
    """
    if not FEWEST_RECORDS <= num_records <= num_steps:
        raise InputError(
            f"expected at least {FEWEST_RECORDS} records and as many steps, got num_records "
            f"{num_records} and num_steps {num_steps}"
        )
    key_init, key_run = jax.random.split(key)
    records = num_records // NUM_DISPATCHES
    steps_per_record = num_steps // (records * NUM_DISPATCHES)
    advance = advance_function(sampler, records, steps_per_record)
    state = sampler.init(key_init, params, num_chains)
    parts = []
    for index in range(NUM_DISPATCHES):
        state, part = advance(jax.random.fold_in(key_run, index), params, state)
        parts.append(jax.tree.map(np.asarray, part))
        if (index + 1) % DISPATCHES_PER_LINE == 0:
            LOGGER.info("long run: %d %% done", 100 * (index + 1) // NUM_DISPATCHES)
    traces = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {
        "num_steps": steps_per_record * records * NUM_DISPATCHES,
        "steps_per_record": steps_per_record,
        "num_spins": params.num_spins,
        "num_chains": num_chains,
        "finite": all(bool(np.isfinite(trace).all()) for trace in traces.values()),
        "moments": {name: mixing.compare_tenths(trace) for name, trace in traces.items()},
        "traces": {name: np.round(trace, 6).tolist() for name, trace in traces.items()},
    }
