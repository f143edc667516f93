"""Certified likelihoods: log Z and free energies as numbers with brackets."""

import dataclasses
import logging
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax import partition
from qbm_jax.energy_models.annealing import annealed
from qbm_jax.energy_models.hidden_sums import MEAN_FIELD, FreeEnergies, free_energies
from qbm_jax.energy_models.units import Units
from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import MAX_SPINS, enumerate_spins
from qbm_jax.partition.annealing import annealed_importance_sampling
from qbm_jax.partition.estimate import LogZ
from qbm_jax.partition.tempering import tempered_acceptance_ratio
from qbm_jax.runtime.options import check, choice, optional, shown, whole

logger = logging.getLogger(__name__)

ERRORS = 2.0  # standard errors of log Z by which an interval is wider than its bracket
_MOST_VISIBLE = 20  # whose free energies are summed
_ROUNDING = 1e-5  # of log Z, in single precision


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Mean log-likelihood of rows, in nats, with what is known of it.

    Attributes:
      value: the estimate; NaN where the bracket is wider than was asked for.
      lower: end of the interval, from the largest log Z within the errors of both directions.
      upper: likewise, from the smallest.
      standard_error: of the mean over rows, as draws of more data; NaN of one row.
      method: how log Z was got: "enumeration", "ais" (annealing in both directions), "trajectory"
        (likewise, along the training) or "bar".
      hidden: how hidden units were summed: "exact" or "ais"; "variational bound" of deep networks.
      log_z: the estimate of log Z with both directions.
      data: which bits were scored, where X holds means of bits.
      reason: why there is no value; "" where there is one.
    """

    value: float
    lower: float
    upper: float
    standard_error: float
    method: str
    hidden: str
    log_z: LogZ
    data: str = ""
    reason: str = ""

    @property
    def width(self) -> float:
        """The width of the interval, in nats."""
        return self.upper - self.lower

    def of_rows(self, values: np.ndarray) -> np.ndarray:
        """Log-likelihoods of rows from their values [rows] but for log Z.

        NaN, with a warning, where this one has no value.
        """
        if self.reason:
            logger.warning("log-likelihoods are not known: %s", self.reason)
            return np.full_like(values, np.nan)
        return values - float(self.log_z.value)

    def item(self) -> float:
        """The value: with it, scikit-learn's searches and cross-validation take the object."""
        return self.value

    def __float__(self) -> float:
        return self.value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype)


METHODS = ("auto", "ais", "bar", "trajectory")


class Effort(NamedTuple):
    """What an estimate of log Z may cost. A count that is None is the method's own.

    Attributes:
      method: "auto": enumeration where it can be, else annealing; "ais": annealing; "trajectory":
        annealing along the parameters that the training went through, of a restricted machine with
        `num_snapshots`; "bar": acceptance ratios of tempering.
      num_temperatures: of annealing, 1000; of "bar", replicas of a chain, by their swap rate.
      num_paths: of annealing, in each direction, 100; of "bar", chains, 32.
      num_equilibration: sweeps before the reverse paths, 500; of "bar", steps before the first
        energy, 1000.
    """

    method: str = "auto"
    num_temperatures: int | None = None
    num_paths: int | None = None
    num_equilibration: int | None = None


_OF_ANNEALING = {"num_temperatures": 1000, "num_paths": 100, "num_equilibration": 500}
_OF_BAR = {"num_temperatures": None, "num_paths": 32, "num_equilibration": 1000}


def checked(effort: Effort | None) -> Effort:
    """The effort, the default for None, with the counts of its method.

    Raises:
      InputError: no `Effort`, another method, or a number out of range.
    """
    effort = Effort() if effort is None else effort
    if not isinstance(effort, Effort):
        raise InputError(f"effort must be an Effort, got {shown(effort)}")
    method = check("effort.method", effort.method, choice(METHODS))
    least = {
        "num_temperatures": 2 if method == "bar" else 1,
        "num_paths": 2,
        "num_equilibration": 1,
    }
    counts = {
        name: check(f"effort.{name}", getattr(effort, name), optional(whole(number)))
        for name, number in least.items()
    }
    own = _OF_BAR if method == "bar" else _OF_ANNEALING
    return Effort(method, **{n: own[n] if count is None else count for n, count in counts.items()})


def log_z(
    key: jax.Array, units: Any, starts: jax.Array, effort: Effort, path: Any = None
) -> tuple[LogZ, str]:
    """Log Z of the bit form (or of Gaussian units), and how it was got.

    Args:
      key: consumed, where it is not enumerated.
      units: parameters.
      starts: visible rows [rows, visible] at which the chains behind reverse paths start.
      effort: what it may cost.
      path: parameters along the training [machines, ...], for method "trajectory" alone.

    Raises:
      InputError: another method of the effort, or "trajectory" without a path or of other machines.
    """
    effort = checked(effort)
    machine, constant = jax.jit(lambda units: units.machine())(units)
    num_visible, num_hidden = units.weights.shape
    num_spins = machine.num_spins
    bipartite = num_spins == num_visible + num_hidden and units.is_bipartite
    smallest = min(num_visible, num_hidden) if bipartite else num_spins
    if effort.method == "auto" and smallest <= MAX_SPINS:
        sides = {"num_visible": num_visible} if bipartite and num_spins > MAX_SPINS else {}
        return _less(partition.log_z(key, machine, "exact", **sides), constant), "enumeration"
    if effort.method == "auto" and num_visible <= _MOST_VISIBLE and _sums_hidden(units):
        return _of_visible_states(units), "enumeration"
    if effort.method == "trajectory":
        _check_path(units, path)
    counts = {name: getattr(effort, name) for name in _OF_ANNEALING}
    if effort.method == "bar":
        found = tempered_acceptance_ratio(
            key, machine, num_temperatures=effort.num_temperatures,
            num_chains=counts["num_paths"], burn_in=counts["num_equilibration"],
        )  # fmt: skip
        return _less(found, constant), "bar"
    if bipartite:
        chosen = jnp.resize(starts, (counts["num_paths"], num_visible))
        method = "ais" if path is None else "trajectory"
        return annealed(key, units, chosen, path, **counts), method
    return _less(_annealed_machine(key, units, machine, starts, **counts), constant), "ais"


def _check_path(units: Any, path: Any) -> None:
    if not (isinstance(units, Units) and units.is_bipartite):
        raise InputError(
            "effort.method trajectory is of restricted machines of bits; use ais for this one"
        )
    if path is None:
        raise InputError(
            "effort.method trajectory needs a machine fitted with num_snapshots above 0; "
            "fit it again, or use ais"
        )


def _annealed_machine(
    key: jax.Array,
    units: Any,
    machine: Boltzmann,
    starts: jax.Array,
    num_temperatures: int,
    num_paths: int,
    num_equilibration: int,
) -> LogZ:
    """Annealing of all spins; chains behind reverse paths start at the rows.

    Hidden units start at 0; those of Gaussian units at their likelier values given the rows.
    """
    rows = jnp.resize(starts, (num_paths, starts.shape[1]))
    if isinstance(units, Units):
        hidden = -jnp.ones((num_paths, machine.num_spins - starts.shape[1]))
        target = jnp.concatenate([boltzmann.bits_to_spins(rows), hidden], axis=1)
    else:  # Gaussian units, whose machine is that of the hidden ones
        target = jnp.where(units.hidden_means(rows) > 0.5, 1.0, -1.0)
    return annealed_importance_sampling(
        key, machine, num_temperatures=num_temperatures, num_chains=num_paths,
        num_equilibration=num_equilibration, target_spins=target,
    )  # fmt: skip


def _less(found: LogZ, constant: jax.Array) -> LogZ:
    """The estimate for the bit form, whose energies are those of spins plus a constant."""
    return found._replace(
        value=found.value - constant,
        forward=found.forward - constant,
        reverse=found.reverse - constant,
    )


def _sums_hidden(units: Any) -> bool:
    return isinstance(units, Units) and units.deep is None


def _of_visible_states(units: Units) -> LogZ:
    states = boltzmann.spins_to_bits(enumerate_spins(units.visible.shape[0]))
    value = jax.nn.logsumexp(-free_energies(units, states).value)
    zero = jnp.zeros(())
    return LogZ(value, zero, value, zero, value, zero)


def likelihood(
    free: FreeEnergies, log_z: LogZ, method: str, max_bracket: float, data: str
) -> Likelihood:
    """The mean log-likelihood of rows from their free energies and log Z.

    Args:
      free: of rows, minus the log of the Jacobian where units were scaled.
      log_z: of the machine.
      method: how it was got.
      max_bracket: the widest interval, in nats, that still gives a value.
      data: what was scored.
    """
    rows = free.value.size
    low_error, high_error = log_z.forward_standard_error, log_z.reverse_standard_error
    # Rows may have the modes in other shares than the machine, and reverse paths then find too
    # little: what either direction alone cannot exclude is within.
    ends = [
        (float(end) - ERRORS * float(error), float(end) + ERRORS * float(error))
        for end, error in ((log_z.forward, low_error), (log_z.reverse, high_error))
    ]
    low, high = min(end for end, _ in ends), max(end for _, end in ends)
    known = bool(np.isfinite(free.low).all())
    gaps = free.high - free.low
    # Of the mean gap: by the spread over rows, or, of few, by the paths behind each row.
    of_rows = float(gaps.std(ddof=1)) / math.sqrt(rows) if known and rows > 1 else 0.0
    of_paths = math.sqrt(np.sum(np.square(free.gap_error))) / rows
    error = ERRORS * max(of_rows, of_paths)
    lower = -float(free.high.mean()) - error - high
    upper = -float(free.low.mean()) + error - low
    crossed = float(log_z.forward) - float(log_z.reverse)
    behind = float((free.low - free.high).mean()) if known else 0.0
    reason = ""
    if crossed > ERRORS * math.hypot(low_error, high_error) + _ROUNDING * abs(float(log_z.value)):
        found = "tempering from below" if method == "bar" else "forward annealing"
        others = "its replicas from above" if method == "bar" else "the reverse chains"
        reason = (
            f"{found} found {crossed:.2f} nats more than {others} know of: these are not at "
            "equilibrium; raise num_equilibration"
        )
    elif free.method == MEAN_FIELD:
        reason = "coupled hidden units are bounded by a mean field: there is a lower end alone"
    elif not (known and math.isfinite(lower + upper)):
        reason = "free energies or log Z are not finite: rows or parameters are too far from 0"
    elif behind > error + _ROUNDING * abs(float(free.value.mean())):
        reason = (
            f"annealing of hidden units found {behind:.2f} nats more than the reverse chains know "
            "of: these are not at equilibrium"
        )
    elif not upper - lower <= max_bracket:
        reason = (
            f"the interval is {upper - lower:.2f} nats wide, more than {max_bracket:g}; "
            "raise num_temperatures or num_paths"
        )
    value = math.nan if reason else -float(free.value.mean()) - float(log_z.value)
    spread = float(free.value.std(ddof=1) / math.sqrt(rows)) if rows > 1 else math.nan
    return Likelihood(value, lower, upper, spread, method, free.method, log_z, data, reason)
