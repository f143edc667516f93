"""What a trained machine is asked for: free energies, likelihoods, draws, hidden means."""

import contextlib
import logging
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from sklearn.base import TransformerMixin
from sklearn.exceptions import NotFittedError

from qbm_jax.energy_models import inputs, learning, phases
from qbm_jax.energy_models.hidden_sums import FreeEnergies, free_energies
from qbm_jax.energy_models.learning import Recipe
from qbm_jax.energy_models.likelihood import (
    Effort,
    Likelihood,
    checked,
    likelihood,
    log_z,
)
from qbm_jax.energy_models.saving import Saved
from qbm_jax.errors import InputError
from qbm_jax.partition.estimate import LogZ
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import (
    check,
    choice,
    positive,
    whole,
)
from qbm_jax.samplers import DeviceError
from qbm_jax.samplers.base import init_spins

logger = logging.getLogger(__name__)

WEIGHTS = ("last", "averaged")
NEGLIGIBLE = 1.0  # nats a row, of training that has hardly begun


@contextlib.contextmanager
def as_it_was_if_refused(model: Any) -> Iterator[None]:
    """Leaves an estimator as it was where the block raises an InputError.

    A device that fails is none of the estimator's: what was learnt until then stays.
    """
    before = dict(vars(model))
    history = list(before.get("history_", ()))
    try:
        yield
    except InputError as error:
        if not isinstance(error, DeviceError):
            vars(model).clear()
            vars(model).update(before)
            if "history_" in before:  # which going on appends to
                model.history_ = history
        raise


class NotFitted(InputError, NotFittedError):
    """A method that needs a trained machine was called before `fit`."""


class TrainedMachine(Saved, TransformerMixin):
    """What needs the parameters of a machine alone, however it has learnt.

    Attributes:
      seed: root of all randomness.
      n_features_in_: features of the rows that it has seen.
      learner_: its parameters, last and averaged, and all that learning goes on from.
      starts_: rows at which chains for log Z start.
      snapshots_: parameters along the training [snapshots, parameters], for trajectory annealing.
    """

    independent: ClassVar[str]  # units without couplings that a machine has to be better than
    seed: int
    n_features_in_: int
    learner_: learning.Learner
    starts_: np.ndarray
    snapshots_: np.ndarray
    _known_log_z: dict[Any, tuple[Any, LogZ, str]]

    @abstractmethod
    def _prepare(self, X: np.ndarray, is_first: bool) -> np.ndarray:
        """Checked rows as the machine sees them [rows, visible]; learns a scaling if first."""

    @abstractmethod
    def recipe(self) -> Recipe:
        """How the machine learns, as one hashable value."""

    @abstractmethod
    def check_options(self) -> dict[str, Any]:
        """The options as plain values; raises an InputError where one cannot be."""

    @abstractmethod
    def log_independent(self, rows: np.ndarray) -> float:
        """Mean log-density of scaled rows [rows, visible] by `independent` units of the data."""

    def _log_jacobian(self) -> float:
        """What is added to log densities of scaled rows."""
        return 0.0

    def _restored(self, v: np.ndarray) -> np.ndarray:
        """Visible units [rows, visible] in units of X."""
        return v

    def units(self, weights: str = "last") -> Any:
        """The parameters, "last" or "averaged".

        Raises:
          InputError: unfitted, or other weights.
        """
        if not hasattr(self, "learner_"):
            raise NotFitted(
                f"This {type(self).__name__} instance is not fitted yet; call fit or partial_fit"
            )
        check("weights", weights, choice(WEIGHTS))
        return self.learner_.units if weights == "last" else self.learner_.average

    def checked_rows(self, X: Any) -> np.ndarray:
        """X as the machine sees it, float32 [rows, visible].

        Raises:
          InputError: unfitted, options that were set since the fit and cannot be, or X as in `fit`.
        """
        self.units()
        self.check_options()
        return self._prepare(inputs.checked_rows(self, X, reset=False), is_first=False)

    def bits_of(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Rows [rows, visible] as they are scored: bits, where they are means of bits."""
        del seed
        return rows

    def said_of(self, rows: np.ndarray) -> str:
        """Which bits of rows [rows, visible] are scored; "" where they are what they are."""
        del rows
        return ""

    def transform(self, X: Any) -> np.ndarray:
        """Hidden means given rows, [rows, num_hidden].

        Raises:
          InputError: unfitted, or X as in `fit`.
        """
        return self.hidden_means(X)

    def hidden_means(self, X: Any) -> np.ndarray:
        """What `transform` gives, an array whatever container scikit-learn is set to.

        Raises:
          InputError: unfitted, or X as in `fit`.
        """
        units, rows = self.units(), self.checked_rows(X)
        key = keys.key_of(self.seed, "energy model transform")
        return np.asarray(_hidden(key, units, rows, self.recipe().phases))

    def free_energy(self, X: Any, *, weights: str = "last") -> np.ndarray:
        """F(v) [rows] in nats, log p(v) = -F(v) - log Z; of many coupled hidden units, annealed."""
        units, rows = self.units(weights), self.bits_of(self.checked_rows(X), self.seed)
        return free_energies(units, jnp.asarray(rows)).value - self._log_jacobian()

    def log_z(self, *, weights: str = "last", effort: Effort | None = None) -> LogZ:
        """Log Z in nats with its bracket; found once for each machine and effort."""
        return self.log_z_and_method(weights, effort)[0]

    def log_z_and_method(
        self, weights: str = "last", effort: Effort | None = None
    ) -> tuple[LogZ, str]:
        """Log Z in nats as `log_z`, and how it was got."""
        units, effort = self.units(weights), checked(effort)
        self.check_options()
        known = self._known_log_z.get((weights, effort))
        if known is None or known[0] is not units:  # other parameters have another log Z
            key = keys.key_of(self.seed, "energy model log Z")
            path = None
            if effort.method == "trajectory" and len(self.snapshots_):
                path = jax.vmap(ravel_pytree(units)[1])(jnp.asarray(self.snapshots_))
            found, method = log_z(key, units, jnp.asarray(self.starts_), effort, path)
            known = units, LogZ(*(float(value) for value in found)), method
            self._known_log_z[weights, effort] = known
        return known[1:]

    def score(
        self,
        X: Any,
        y: Any = None,
        *,
        weights: str = "last",
        max_bracket: float = 1.0,
        effort: Effort | None = None,
    ) -> Likelihood:
        """Mean log-likelihood of rows in nats, with an interval.

        Args:
          X: [rows, features].
          y: ignored.
          weights: "last" or "averaged" parameters.
          max_bracket: the widest interval in nats that gives a value.
          effort: what log Z may cost.

        Raises:
          InputError: unfitted, or X as in `fit`.
        """
        del y
        return self._scored(X, weights, max_bracket, effort)[1]

    def _scored(
        self, X: Any, weights: str, max_bracket: float, effort: Effort | None
    ) -> tuple[FreeEnergies, Likelihood]:
        """Of rows, and their mean; said where units without couplings would be better."""
        max_bracket = check("max_bracket", max_bracket, positive())
        units, rows = self.units(weights), self.checked_rows(X)
        scored = self.bits_of(rows, self.seed)
        found = free_energies(units, jnp.asarray(scored))
        if jacobian := self._log_jacobian():
            found = FreeEnergies.known(found.value - jacobian)  # real rows are summed exactly
        log_z, method = self.log_z_and_method(weights, effort)
        total = likelihood(found, log_z, method, max_bracket, self.said_of(rows))
        behind = self.log_independent(scored) + jacobian - total.upper
        if behind > NEGLIGIBLE:
            logger.warning(
                "the machine is %.1f nats a row below %s: it did not learn; lower learning_rate",
                behind, self.independent,
            )  # fmt: skip
        return found, total

    def score_samples(
        self,
        X: Any,
        *,
        weights: str = "last",
        max_bracket: float = 1.0,
        effort: Effort | None = None,
    ) -> np.ndarray:
        """Log-likelihood of each row in nats [rows]; NaN, with a warning, where log Z is unknown.

        Raises:
          InputError: unfitted, or X as in `fit`.
        """
        free, total = self._scored(X, weights, max_bracket, effort)
        return total.of_rows(-free.value)

    def sample(
        self,
        num: int = 1,
        given: Any = None,
        *,
        seed: int | None = None,
        num_sweeps: int = 1000,
        weights: str = "last",
    ) -> np.ndarray:
        """Draws rows [num, features] by Gibbs sweeps, with some units clamped where asked.

        Args:
          num: rows, each of a chain of its own.
          given: values [features] for all rows, or [num, features], a row each; NaN: a free unit.
          seed: of the draws; None: that of the model.
          num_sweeps: from units without couplings.
          weights: "last" or "averaged" parameters.

        Raises:
          InputError: unfitted, or values out of range.
        """
        units = self.units(weights)
        self.check_options()
        num = check("num", num, whole(1))
        num_sweeps = check("num_sweeps", num_sweeps, whole(1))
        key = keys.key_of(self.seed if seed is None else seed, "energy model draws")
        held = self._given(given, num)
        drawn = self._restored(np.asarray(_draw(key, units, held, num, num_sweeps)))
        given = np.nan if given is None else np.asarray(given, drawn.dtype)
        return np.where(np.isnan(given), drawn, given)  # clamped ones to the last digit

    def _given(self, given: Any, num: int) -> np.ndarray | None:
        return inputs.given_rows(given, num, self.n_features_in_, bits=True)

    def reconstruct(self, X: Any) -> np.ndarray:
        """Visible means given the hidden means given rows [rows, features]."""
        units, rows = self.units(), self.checked_rows(X)
        return self._restored(np.asarray(_reconstructed(units, rows, self.hidden_means(X))))

    def _machines(self) -> list[Self]:
        self.units()
        return [self]


@jax.jit
def _reconstructed(units: Any, v: jax.Array, h: jax.Array) -> jax.Array:
    lateral = getattr(units, "lateral", None)
    if lateral is None:
        return units.visible_means(h)
    return jax.nn.sigmoid(units.visible[None, :] + h @ units.weights.T + v @ lateral)


_hidden = jax.jit(phases.hidden_means, static_argnums=3)
_block_gibbs = jax.jit(phases.block_gibbs)  # any number of sweeps: one program
_sweeps = jax.jit(phases.sweeps)


def _draw(
    key: jax.Array, units: Any, held: np.ndarray | None, num: int, num_sweeps: int
) -> jax.Array:
    """Visible rows [num, visible] after sweeps from units without couplings."""
    key_start, key_run, key_split = jax.random.split(key, 3)
    if units.is_bipartite:
        return _block_gibbs(key_run, units, units.start(key_start, num), num_sweeps, held)
    machine, _ = units.machine()
    start = init_spins(key_start, machine, num)
    if held is not None:
        free = np.full((num, machine.num_spins - held.shape[1]), np.nan, np.float32)
        held = np.concatenate([2 * held - 1, free], axis=1)
    return units.split(key_split, _sweeps(key_run, machine, start, num_sweeps, held))[0]
