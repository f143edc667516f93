"""F(v) = -log sum_h exp(-E(v, h)) of rows: exact where it can be, else between two ends.

Coupled hidden units of more than a few are annealed for each row, from independent units to their
couplings K. As in `partition.annealing`, forward paths give an F that is too high in expectation;
reverse paths, from sweeps with the row clamped, one that is too low.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.energy_models.phases import clamped_hidden, hidden_sweep, mean_field
from qbm_jax.energy_models.units import Units, draw_bits, visible_energy
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import spins_to_bits
from qbm_jax.machine.enumeration import enumerate_spins
from qbm_jax.runtime import keys

MAX_SUMMED = 12  # coupled hidden units whose states are summed for each row
EXACT, ANNEALED, MEAN_FIELD = "exact", "ais", "mean field"
_ROWS = 1024  # whose free energies are computed at once
_OTHER_MODE = 1.0  # nats between ends from two starts that are no noise
_PATHS, _TEMPERATURES, _EQUILIBRATION = 8, 100, 100  # of each row, in each direction


class FreeEnergies(NamedTuple):
    """F(v) of rows in nats, arrays [rows]; all alike where hidden units are summed exactly.

    Attributes:
      value: the estimate.
      low: an end that is too low in expectation; minus infinity where none is known.
      high: an end that is too high in expectation.
      method: "exact", "ais" or "mean field", an upper end alone.
      gap_error: standard errors of high - low, of annealed rows.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    method: str
    gap_error: np.ndarray | float = 0.0

    @classmethod
    def known(cls, value: np.ndarray, method: str = EXACT) -> "FreeEnergies":
        """The free energies of rows whose values [rows] are known."""
        return cls(value, value, value, method)


def free_energies(units: Any, v: jax.Array, method: str = "") -> FreeEnergies:
    """F of rows [rows, visible].

    Args:
      units: parameters.
      v: rows.
      method: "ais" or "mean field" of coupled hidden units; "": exact of few, else "ais".

    Raises:
      InputError: another method.
    """
    if method not in ("", ANNEALED, MEAN_FIELD):
        raise InputError(f"expected {ANNEALED} or {MEAN_FIELD} to sum hidden units, got {method!r}")
    parts = [v[first : first + _ROWS] for first in range(0, len(v), _ROWS)]
    if getattr(units, "deep", None) is None:
        return FreeEnergies.known(_joined(_free_energy, units, parts))
    if not method and units.hidden.shape[0] <= MAX_SUMMED:
        return FreeEnergies.known(_joined(_summed, units, parts))
    if method == MEAN_FIELD:
        high = _joined(_mean_field, units, parts)
        return FreeEnergies(high, np.full_like(high, -np.inf), high, MEAN_FIELD)
    # Seed 0: the same calls, the same values; each part has noise of its own.
    drawn_with = [keys.key_of(0, "hidden units of rows", n) for n in range(len(parts))]
    ends = [
        np.asarray(_annealed(key, units, part), np.float64)
        for key, part in zip(drawn_with, parts, strict=True)
    ]
    low, high, error = np.concatenate(ends, axis=1)
    return FreeEnergies((low + high) / 2, low, high, ANNEALED, error)


def _joined(
    function: Callable[[Units, jax.Array], jax.Array], units: Units, parts: Iterable[jax.Array]
) -> np.ndarray:
    return np.concatenate([np.asarray(function(units, part), np.float64) for part in parts])


@jax.jit
def _free_energy(units: Units, v: jax.Array) -> jax.Array:
    return units.free_energy(v)


@jax.jit
def _summed(units: Units, v: jax.Array) -> jax.Array:
    assert units.deep is not None, "otherwise the free energy has a closed form"
    states = spins_to_bits(enumerate_spins(units.hidden.shape[0]))
    coupled = 0.5 * jnp.sum(states @ units.deep * states, axis=-1)
    logits = units.hidden_inputs(v) @ states.T + coupled[None]
    return visible_energy(units, v) - jax.nn.logsumexp(logits, axis=1)


@partial(jax.jit, static_argnames="num_steps")
def _mean_field(units: Units, v: jax.Array, num_steps: int = 50) -> jax.Array:
    """Expected energy minus entropy of the mean field's law: at least F(v)."""
    means = mean_field(units, v, num_steps)
    entropy = jax.scipy.special.entr(means) + jax.scipy.special.entr(1 - means)
    return units.energy(v, means) - entropy.sum(axis=-1)


@jax.jit
def _annealed(key: jax.Array, units: Units, v: jax.Array) -> jax.Array:
    """Low and high ends of F, and the standard error of their distance [3, rows]."""
    assert units.deep is not None, "otherwise the free energy has a closed form"
    key_start, key_forward, key_posterior, key_reverse = jax.random.split(key, 4)
    rows = jnp.repeat(v, _PATHS, axis=0)
    inputs, betas = units.hidden_inputs(rows), jnp.linspace(0.0, 1.0, _TEMPERATURES + 1)
    start = draw_bits(key_start, jax.nn.sigmoid(inputs))
    forward, forward_error = _log_mean(_path(key_forward, inputs, units.deep, start, betas))
    # Chains that start at one place may not leave its mode: two other starts may know of more.
    begun = (start, jnp.zeros_like(start), jnp.ones_like(start))
    lows, errors = [], []
    for number, h in enumerate(begun):
        key_run, key_back = (jax.random.fold_in(k, number) for k in (key_posterior, key_reverse))
        ends = clamped_hidden(key_run, units, rows, _EQUILIBRATION, h)
        low, error = _log_mean(_path(key_back, inputs, units.deep, ends, betas[::-1]))
        lows.append(low)
        errors.append(error)
    base = visible_energy(units, v) - jax.nn.softplus(units.hidden_inputs(v)).sum(axis=-1)
    lowest = jnp.min(jnp.stack(lows), axis=0)
    low = jnp.where(lows[0] - lowest > _OTHER_MODE, lowest, lows[0])
    error = jnp.hypot(errors[0], forward_error)
    return jnp.stack([base + low, base - forward, error])


def _log_mean(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log means of each row's weights, given as logs, and their standard errors [rows]."""
    logs = values.reshape(-1, _PATHS)
    mean = jax.nn.logsumexp(logs, axis=1) - np.log(_PATHS)
    spread = jnp.std(jnp.exp(logs - mean[:, None]), axis=1, ddof=1)
    return mean, spread / np.sqrt(_PATHS)


def _path(
    key: jax.Array, inputs: jax.Array, deep: jax.Array, h: jax.Array, betas: jax.Array
) -> jax.Array:
    """Log weights [rows] along betas: the change of the energy of K at each step, then a sweep."""

    def advance(
        carry: tuple[jax.Array, jax.Array], step: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        h, total = carry
        key, beta, following = step
        total += (following - beta) * 0.5 * jnp.sum(h @ deep * h, axis=-1)
        return (hidden_sweep(key, inputs, following * deep, h), total), None

    steps = jax.random.split(key, betas.shape[0] - 1), betas[:-1], betas[1:]
    return jax.lax.scan(advance, (h, jnp.zeros(h.shape[0])), steps)[0][1]
