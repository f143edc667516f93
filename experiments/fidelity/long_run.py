"""A machine that runs on: does anything drift between the first and the last tenth of the run?"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.fidelity import models as fidelity_models
from experiments.fidelity import samplers as fidelity_samplers
from experiments.kit.pieces import LOGGER, Pieces
from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import mixing
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.calibration import fit_beta

LARGEST_Z = 4.0  # between tenths, of three moments; false alarms: 2e-4 in all for normal z
_NUM_DISPATCHES = 20  # between which a stop takes effect
_DISPATCHES_PER_LINE = 5  # of the log
_NUM_BATCHES = 10  # of a tenth, whose means give the error


def measure(config: ConfigDict, pieces: Pieces) -> None:
    """One piece per sampler."""
    options = config.long_run
    params = fidelity_models.gaussian(config.seed, options.num_spins, options.strength)
    for label in options.samplers:
        sampler = fidelity_samplers.build(config, label)
        pieces.measure(
            "long_run",
            {"sampler": label},
            lambda key, sampler=sampler: long_run(key, sampler, params, options),
        )


def long_run(
    key: jax.Array, sampler: samplers.Sampler, params: Boltzmann, options: ConfigDict
) -> dict[str, Any]:
    """Traces and the comparison of tenths; steps go on and on, no draw restarts the machine."""
    key_init, key_run = jax.random.split(key)
    records = options.num_records // _NUM_DISPATCHES
    steps_per_record = options.num_steps // (records * _NUM_DISPATCHES)
    advance = _advance_function(sampler, records, steps_per_record)
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
        "moments": {name: compare_tenths(trace) for name, trace in traces.items()},
        "traces": {name: np.round(trace, 6).tolist() for name, trace in traces.items()},
    }


def _advance_function(sampler: samplers.Sampler, num_records: int, steps_per_record: int):
    """Compiled (key, params, state) -> state, and traces [records] of moments over chains."""

    @jax.jit
    def advance(key, params, state):
        def record(state, key):
            def step(state, key):
                return sampler.step(key, params, state)[0], None

            key_steps, key_read = jax.random.split(key)
            state, _ = jax.lax.scan(step, state, jax.random.split(key_steps, steps_per_record - 1))
            state, info = sampler.step(key_read, params, state)
            amplitudes = find_amplitudes(state)
            return state, {
                "energy": info["energy"] / params.num_spins,
                "amplitude": jnp.mean(jnp.abs(amplitudes)),
                "beta_eff": fit_beta(params, jnp.sign(amplitudes)),
            }

        return jax.lax.scan(record, state, jax.random.split(key, num_records))

    return advance


def find_amplitudes(state: Any) -> jax.Array:
    """The amplitudes [chains, spins] in the state of a machine, calibrated or not.

    Raises:
      InputError: it has none.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if getattr(path[-1], "name", "") == "amplitudes":
            return leaf
    raise InputError(
        "expected machines with amplitudes in config.long_run.samplers, got one without; name a cim"
    )


def check(config: ConfigDict) -> None:
    """Raises InputError for a label that there is not, or a machine without amplitudes."""
    for label in config.long_run.samplers:
        init = functools.partial(fidelity_samplers.build(config, label).init, num_chains=1)
        find_amplitudes(
            jax.eval_shape(init, jax.random.key(0), fidelity_models.gaussian(0, 2, 1.0))
        )


def compare_tenths(trace: np.ndarray, burn_in: float = 0.1) -> dict[str, float]:
    """Mean of the first tenth after burn-in and of the last, and their difference over its error.

    The error of each tenth's mean is the larger of two: that by the means of ten batches, and that
    which the autocorrelation time within the tenths implies. (The time of the whole trace would
    grow with the very drift that is looked for.)

    Args:
      trace: [records].
      burn_in: share of the trace that is left out before the first tenth.
    """
    kept = np.asarray(trace, np.float64)[round(burn_in * len(trace)) :]
    if not np.isfinite(kept).all():
        return {"first": math.nan, "last": math.nan, "error": math.nan, "z": math.nan}
    tenth = len(kept) // 10
    tenths = np.stack([kept[:tenth], kept[-tenth:]])
    means = tenths.mean(axis=1)
    tau = mixing.integrated_autocorrelation_time(tenths - means[:, None])
    error = math.hypot(*(mean_error(values, tau) for values in tenths))
    difference = float(means[1] - means[0])
    z = difference / error if error > 0 else (0.0 if difference == 0 else math.inf)
    return {"first": float(means[0]), "last": float(means[1]), "error": error, "z": z}


def mean_error(values: np.ndarray, tau: float) -> float:
    """Standard error of the mean of `values` [records] with autocorrelation time `tau`."""
    batches = np.array_split(values, min(_NUM_BATCHES, len(values)))
    means = np.array([batch.mean() for batch in batches])
    by_batches = means.std(ddof=1) / np.sqrt(len(means))
    by_time = values.std() * np.sqrt(np.fmax(tau, 1) / len(values))
    return float(max(by_batches, by_time))


def is_steady(piece: dict[str, Any]) -> bool:
    """Whether the run stayed finite and no moment moved between the tenths."""
    moments = piece["moments"].values()
    return piece["finite"] and all(
        moment["z"] is not None and abs(moment["z"]) < LARGEST_Z for moment in moments
    )
