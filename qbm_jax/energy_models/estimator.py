"""What all energy-based estimators share: options, learning, sampling, likelihood."""

import dataclasses
import logging
import time
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from tqdm import tqdm

from qbm_jax import samplers
from qbm_jax.energy_models import inputs, learning, phases, saving
from qbm_jax.energy_models.edges import Edges
from qbm_jax.energy_models.hidden_sums import FreeEnergies, free_energies
from qbm_jax.energy_models.learning import OPTIMIZERS, Rates, Recipe
from qbm_jax.energy_models.likelihood import (
    Effort,
    Likelihood,
    likelihood,
    log_z,
)
from qbm_jax.energy_models.phases import OWN, POSITIVE, Phases
from qbm_jax.energy_models.saving import Saved
from qbm_jax.errors import InputError
from qbm_jax.partition.estimate import LogZ
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import (
    Kind,
    check,
    check_all,
    check_mapping,
    choice,
    field,
    field_kinds,
    flag,
    not_negative,
    optional,
    positive,
    seed,
    whole,
)
from qbm_jax.samplers import SAMPLERS
from qbm_jax.samplers.base import init_spins

logger = logging.getLogger(__name__)

KEPT_ROWS = 1000  # of the data, at which chains for log Z start
NUM_REPORTS = 20  # of a training: history, progress, checkpoints
FEW_REPORTS = 4  # where nobody looks on: to see a divergence early, and to plot a curve
WEIGHTS = ("last", "averaged")


class NotFitted(InputError, NotFittedError):
    """A method that needs a trained machine was called before `fit`."""


def _optimizer() -> Kind:
    named = choice(OPTIMIZERS)

    def read(value: Any) -> Any:
        return value if isinstance(value, optax.GradientTransformation) else named.read(value)

    return Kind(f"{', '.join(OPTIMIZERS)}, or a transformation of optax", read)


def _negative_phase() -> Kind:
    def read(value: Any) -> str:
        name = samplers.name_of(value)
        return choice((*OWN, *SAMPLERS, *samplers.GIVEN)).read(name)

    named = choice((*OWN, *SAMPLERS))
    return dataclasses.replace(named, says=f"{named.says}, or a built Sampler", read=read)


def _sampler_options() -> Kind:
    return optional(Kind("a dict", lambda value: check_mapping("sampler_options", value)))


@dataclasses.dataclass(eq=False, repr=False)
class EnergyModel(Saved, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """An energy-based model as a scikit-learn estimator."""

    num_hidden: int = field(64, whole(1), "hidden units")
    negative_phase: str | samplers.Sampler = field(  # noqa: RUF009
        "pcd",
        _negative_phase(),
        "what draws the model's moments: pcd, persistent Gibbs chains; cd, Gibbs chains from the "
        "data; or a sampler, by name or built",
    )
    num_gibbs_steps: int = field(1, whole(1), "sweeps of an update, of pcd and cd")
    sampler_options: dict | None = field(  # noqa: RUF009
        None, _sampler_options(), "options of the sampler, before those for a negative phase"
    )
    precision_bits: int | None = field(
        None, optional(whole(2, 24)), "of couplings and fields that the sampler is given"
    )
    num_chains: int = field(100, whole(1), "persistent chains, or those of the sampler")
    num_updates: int = field(5000, whole(1), "updates of a fit")
    minibatch_size: int = field(100, whole(1), "rows of an update")
    learning_rate: float = field(0.1, positive(), "rate of the first update")
    final_learning_rate: float = field(
        0.1, not_negative(), "where a linear decay ends", unit="learning_rate"
    )
    optimizer: Any = field(  # noqa: RUF009
        "sgd", _optimizer(), "sgd, momentum (0.9), adam; one of optax's has its own rate"
    )
    weight_decay: float = field(0.0, not_negative(), "share of couplings added to their gradient")
    centred: bool = field(
        True,
        flag(),
        "whether gradients are those of units minus their moving averages",
        source="arXiv 1203.4416",
    )
    averaging: float = field(
        1000.0, positive(), "memory of the averaged parameters", unit="updates"
    )
    start_scale: float = field(0.03, not_negative(), "standard deviation of the first weights")
    seed: int = field(0, seed(), "root of all randomness")
    progress: bool = field(False, flag(), "whether a bar is shown")

    num_rows_needed: ClassVar[int] = 1
    saved_arrays: ClassVar[tuple[str, ...]] = ("starts_", "snapshots_")

    # What kinds of machine differ in.

    @abstractmethod
    def _prepare(self, X: np.ndarray, is_first: bool) -> np.ndarray:
        """Checked rows as the machine sees them [rows, visible]; learns a scaling if first."""

    @abstractmethod
    def _first_units(self, key: jax.Array, rows: np.ndarray) -> tuple[Any, Edges]:
        """Parameters before the first update, and where couplings may be."""

    def _log_jacobian(self) -> float:
        """What is added to log densities of scaled rows."""
        return 0.0

    def _restored(self, v: np.ndarray) -> np.ndarray:
        """Visible units [rows, visible] in units of X."""
        return v

    # Learning.

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        checkpoint: str | Path | None = None,
        callback: Callable[[Self, int], None] | None = None,
    ) -> Self:
        """Learns from rows, from the start.

        Args:
          X: [rows, features].
          y: ignored.
          checkpoint: a file that the training is written to along the way. If it is there already,
            of the same options and data, the training goes on from it, bit for bit.
          callback: called with the model and the number of updates, some twenty times.

        Raises:
          InputError: options or data that cannot be used, or a training that diverges.
        """
        del y
        options = self.check_options()
        rows = self._start(X, options)
        path = None if checkpoint is None else Path(checkpoint)
        if path is not None and path.exists():
            saving.load_into(self, path, rows)
        end = options["num_updates"]
        kept = np.geomspace(1, end, options.get("num_snapshots", 0)).astype(int)
        self._learn(rows, options, end, self._rates(options), path, callback, kept)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Goes on learning, with as many updates as pass over these rows once, at one rate.

        Args:
          X: [rows, features].
          y: ignored.

        Raises:
          InputError: as `fit`.
        """
        del y
        options = self.check_options()
        rows = self.checked_rows(X) if hasattr(self, "learner_") else self._start(X, options)
        rates = self._rates(options)
        rates = rates._replace(end=rates.start)
        number = -(-len(rows) // options["minibatch_size"])
        self._learn(rows, options, int(self.learner_.step) + number, rates, None, None)
        return self

    def check_options(self) -> dict[str, Any]:
        """The options as plain values.

        Raises:
          InputError: a value out of its range, or at odds with another.
        """
        kinds = field_kinds(type(self))
        options = check_all({name: getattr(self, name) for name in kinds}, kinds)
        if options["negative_phase"] in OWN:
            for name in ("sampler_options", "precision_bits"):
                if options[name] is not None:
                    raise InputError(
                        f"{name} must be None with negative_phase {options['negative_phase']}, "
                        f"got {options[name]!r}; name a sampler, such as gibbs"
                    )
        else:
            given = options["sampler_options"] or {}
            options["sampler_options"] = samplers.check_options(options["negative_phase"], given)
        return options

    def _rates(self, options: dict[str, Any]) -> Rates:
        named = isinstance(options["optimizer"], str)
        start = options["learning_rate"] if named else 1.0
        end = start * options["final_learning_rate"] if named else 1.0
        return Rates(
            start, end, options["num_updates"], options["weight_decay"], options["averaging"]
        )

    def recipe(self) -> Recipe:
        """How the machine learns, as one hashable value."""
        options = self.check_options()
        given = tuple(sorted((options["sampler_options"] or {}).items()))
        return Recipe(
            Phases(
                options["negative_phase"], options["num_gibbs_steps"], given,
                options.get("positive_phase", POSITIVE[0]), options.get("positive_steps", 1),
                options["precision_bits"],
            ),
            options["optimizer"],
            options["centred"] and self._centres,
            self._draws_bits,
            options["minibatch_size"],
        )  # fmt: skip

    _centres: ClassVar[bool] = True

    @property
    def _draws_bits(self) -> bool:
        return False

    def _start(self, X: Any, options: dict[str, Any]) -> np.ndarray:
        """Rows of a first call, with everything else as before the first update."""
        given = inputs.checked_rows(self, X, reset=True, least=self.num_rows_needed)
        rows = self._prepare(given, is_first=True)
        self._begin(rows, options)
        self.starts_ = self.bits_of(rows[:KEPT_ROWS], options["seed"])
        return rows

    def _begin(self, rows: np.ndarray, options: dict[str, Any]) -> None:
        key = keys.named(keys.root(options["seed"]), "energy model start")
        key_units, key_chains = jax.random.split(key)
        units, self.edges_ = self._first_units(key_units, rows)
        self.learner_ = learning.start(
            key_chains, units, self.recipe(), options["num_chains"],
            jnp.asarray(rows.mean(axis=0)),
        )  # fmt: skip
        self.snapshots_ = np.zeros((0, ravel_pytree(units)[0].size), np.float32)
        self.history_: list[dict[str, float]] = []
        self._known_log_z: dict[Any, tuple[Any, LogZ, str]] = {}

    def with_units(self, units: Any, X: Any) -> Self:
        """Takes parameters from elsewhere, such as those that another package has learnt.

        Args:
          units: `Units` [features, num_hidden], or of this kind of machine.
          X: rows [rows, features], at which chains for log Z start.

        Raises:
          InputError: options or data that cannot be used, or parameters of other shapes.
        """
        self._start(X, self.check_options())
        shapes = [jax.tree.map(np.shape, each) for each in (self.learner_.units, units)]
        if shapes[0] != shapes[1]:
            raise InputError(f"expected parameters of shapes {shapes[0]}, got {shapes[1]}")
        self.learner_ = self.learner_.replace(units=units, average=units)
        return self

    def _learn(self, rows, options, end, rates, checkpoint, callback, kept=()) -> None:
        recipe, key = self.recipe(), keys.named(keys.root(options["seed"]), "energy model")
        data = jnp.asarray(rows)
        first = int(self.learner_.step)
        quiet = checkpoint is None and callback is None and not options["progress"]
        number = FEW_REPORTS if quiet else NUM_REPORTS
        ends = np.unique(np.linspace(0, end, number + 1).astype(int)[1:])
        before = self.history_[-1]["seconds"] if self.history_ else 0.0
        began = time.perf_counter()
        bar = tqdm(
            total=end, initial=first, desc=type(self).__name__, disable=not options["progress"]
        )
        with bar:
            for stop in (stop for stop in np.union1d(ends, kept) if stop > first):
                self.learner_, measured = learning.advance(
                    recipe, self.edges_, rates, key, data, self.learner_, jnp.int32(stop)
                )
                jax.block_until_ready(self.learner_)  # its time counts
                if stop in kept:
                    flat = ravel_pytree(self.learner_.units)[0]
                    self.snapshots_ = np.vstack([self.snapshots_, np.asarray(flat)])
                if stop not in ends:
                    continue
                self._record(int(stop), measured, before + time.perf_counter() - began)
                bar.update(int(stop) - bar.n)
                if checkpoint is not None:
                    saving.save(self, checkpoint, rows)
                if callback is not None:
                    paused = time.perf_counter()
                    callback(self, int(stop))
                    began += time.perf_counter() - paused

    def _record(self, step: int, measured: dict[str, jax.Array], seconds: float) -> None:
        values = {name: float(value) for name, value in jax.device_get(measured).items()}
        leaves = jax.device_get(jax.tree.leaves(self.learner_.units))
        if not all(np.isfinite(leaf).all() for leaf in leaves):
            raise InputError(
                f"the training diverged before update {step}: parameters are NaN or infinite; "
                "lower learning_rate"
            )
        self.history_.append({"update": step, "seconds": seconds, **values})

    # What a trained machine is asked for.

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
          InputError: unfitted, or X as in `fit`.
        """
        self.units()
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
        units, rows = self.units(), self.checked_rows(X)
        key = keys.named(keys.root(self.seed), "energy model transform")
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
        units, effort = self.units(weights), effort or Effort()
        known = self._known_log_z.get((weights, effort))
        if known is None or known[0] is not units:  # other parameters have another log Z
            key = keys.named(keys.root(self.seed), "energy model log Z")
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
        """Of rows, and their mean."""
        max_bracket = check("max_bracket", max_bracket, positive())
        units, rows = self.units(weights), self.checked_rows(X)
        found = free_energies(units, jnp.asarray(self.bits_of(rows, self.seed)))
        if jacobian := self._log_jacobian():
            found = FreeEnergies.known(found.value - jacobian)  # real rows are summed exactly
        log_z, method = self.log_z_and_method(weights, effort)
        return found, likelihood(found, log_z, method, max_bracket, self.said_of(rows))

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
        num = check("num", num, whole(1))
        num_sweeps = check("num_sweeps", num_sweeps, whole(1))
        root = keys.root(self.seed if seed is None else seed)
        held = self._given(given, num)
        key = keys.named(root, "energy model draws")
        drawn = self._restored(np.asarray(_draw(key, units, held, num, num_sweeps)))
        given = np.nan if given is None else np.asarray(given, drawn.dtype)
        return np.where(np.isnan(given), drawn, given)  # clamped ones to the last digit

    def _given(self, given: Any, num: int) -> np.ndarray | None:
        return inputs.given_rows(given, num, self.n_features_in_, bits=True)

    def reconstruct(self, X: Any) -> np.ndarray:
        """Visible means given the hidden means given rows [rows, features]."""
        units, rows = self.units(), self.checked_rows(X)
        return self._restored(np.asarray(_reconstructed(units, rows, self.transform(X))))

    def _machines(self) -> list[Self]:
        self.units()
        return [self]

    @property
    def _n_features_out(self) -> int:
        return self.units().hidden.shape[0]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "learner_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


@jax.jit
def _reconstructed(units, v, h):
    lateral = getattr(units, "lateral", None)
    if lateral is None:
        return units.visible_means(h)
    return jax.nn.sigmoid(units.visible[None, :] + h @ units.weights.T + v @ lateral)


_hidden = jax.jit(phases.positive, static_argnums=3)
_block_gibbs = jax.jit(phases.block_gibbs)  # any number of sweeps: one program
_sweeps = jax.jit(phases.sweeps)


def _draw(key, units, held, num, num_sweeps):
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
