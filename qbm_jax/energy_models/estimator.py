"""What all energy-based estimators share: options, learning, sampling, likelihood."""

import dataclasses
import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from tqdm import tqdm

from qbm_jax import samplers
from qbm_jax.energy_models import inputs, kinds, learning, saving
from qbm_jax.energy_models.edges import Edges
from qbm_jax.energy_models.learning import Rates, Recipe
from qbm_jax.energy_models.phases import OWN, POSITIVE, Phases
from qbm_jax.energy_models.trained import TrainedMachine, as_it_was_if_refused
from qbm_jax.errors import InputError
from qbm_jax.runtime import keys
from qbm_jax.runtime.identity import digest_of
from qbm_jax.runtime.options import (
    check_all,
    field,
    field_kinds,
    flag,
    not_negative,
    optional,
    positive,
    seed,
    whole,
)

logger = logging.getLogger(__name__)

NUM_REPORTS = 20  # of a training: history, progress, checkpoints
FEW_REPORTS = 4  # where nobody looks on: to see a divergence early, and to plot a curve


@dataclasses.dataclass(eq=False, repr=False)
class EnergyModel(TrainedMachine, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """An energy-based model as a scikit-learn estimator."""

    num_hidden: int = field(64, whole(1), "hidden units")
    negative_phase: str | samplers.Sampler = field(  # noqa: RUF009
        "pcd",
        kinds.negative_phase(),
        "what draws the model's moments: pcd, persistent Gibbs chains; cd, Gibbs chains from the "
        "data; or a sampler, by name or built",
    )
    num_gibbs_steps: int = field(1, whole(1), "sweeps of an update, of pcd and cd")
    sampler_options: dict | None = field(  # noqa: RUF009
        None, kinds.sampler_options(), "options of the sampler, before those for a negative phase"
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
        "sgd", kinds.optimizer(), "sgd, momentum (0.9), adam; one of optax's has its own rate"
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

    shaping: ClassVar[tuple[str, ...]] = (
        "num_hidden", "negative_phase", "sampler_options", "num_chains", "optimizer", "edges",
    )  # options on which the arrays of a training depend  # fmt: skip
    num_rows_needed: ClassVar[int] = 1
    saved_arrays: ClassVar[tuple[str, ...]] = ("starts_", "snapshots_")
    scaling_arrays: ClassVar[tuple[str, ...]] = ()  # without which rows do not tell X

    # What kinds of machine differ in.

    @abstractmethod
    def _first_units(self, key: jax.Array, rows: np.ndarray) -> tuple[Any, Edges]:
        """Parameters before the first update, and where couplings may be."""

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
          InputError: options or data that cannot be used, or a training that diverges; the model
            is then as it was before the call.
        """
        del y
        options = self.check_options()
        path = saving.path_of(checkpoint)
        end = options["num_updates"]
        kept = np.geomspace(1, end, options.get("num_snapshots", 0)).astype(int)
        with as_it_was_if_refused(self):
            rows = self._start(X, options)
            if path is not None and path.exists():
                saving.load_into(self, path, rows)
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
        self.check_unchanged()
        rates = self._rates(options)
        rates = rates._replace(end=rates.start)
        with as_it_was_if_refused(self):
            if hasattr(self, "learner_"):
                rows = self.checked_rows(X)
                there = np.concatenate([self.starts_, self.bits_of(rows, options["seed"])])
                self.starts_ = inputs.kept_rows(there, options["seed"], int(self.learner_.step))
            else:
                rows = self._start(X, options)
            number = -(-len(rows) // options["minibatch_size"])
            self._learn(rows, options, int(self.learner_.step) + number, rates, None, None)
        return self

    def check_options(self) -> dict[str, Any]:
        """The options as plain values.

        Raises:
          InputError: a value out of its range, or at odds with another.
        """
        own = field_kinds(type(self))
        options = check_all({name: getattr(self, name) for name in own}, own)
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
        self.starts_ = inputs.kept_rows(self.bits_of(rows, options["seed"]), options["seed"])
        return rows

    def _begin(self, rows: np.ndarray, options: dict[str, Any]) -> None:
        key = keys.key_of(options["seed"], "energy model start")
        key_units, key_chains = jax.random.split(key)
        units, self.edges_ = self._first_units(key_units, rows)
        self.learner_ = learning.start(
            key_chains, units, self.recipe(), options["num_chains"],
            jnp.asarray(rows.mean(axis=0)),
        )  # fmt: skip
        self.snapshots_ = np.zeros((0, ravel_pytree(units)[0].size), np.float32)
        self.history_: list[dict[str, float]] = []
        self._known_log_z = {}
        self._shaped_by = self._shape()

    def _shape(self) -> dict[str, str]:
        """The options that shape the arrays of a training, as they are now."""
        params = self.get_params(deep=False)
        own = {name: saving.as_array(params[name]) for name in self.shaping if name in params}
        return {
            n: str(digest_of(v)) if isinstance(v, np.ndarray) else repr(v) for n, v in own.items()
        }

    def check_unchanged(self) -> None:
        """Raises an InputError where an option that shapes a trained machine is another by now."""
        was = getattr(self, "_shaped_by", None)
        if was is not None and (changed := [n for n, v in self._shape().items() if was[n] != v]):
            name = changed[0]
            raise InputError(
                f"{name} was {was[name]} when this machine was trained and is {self._shape()[name]}"
                " now; set it back, or call fit"
            )

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

    def _learn(
        self,
        rows: np.ndarray,
        options: dict[str, Any],
        end: int,
        rates: learning.Rates,
        checkpoint: Path | None,
        callback: Callable[[Self, int], None] | None,
        kept: Sequence[int] | np.ndarray = (),
    ) -> None:
        recipe, key = self.recipe(), keys.key_of(options["seed"], "energy model")
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
                with samplers.device_errors():
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
        values = learning.checked(measured, self.learner_.units, step)
        self.history_.append({"update": step, "seconds": seconds, **values})

    @property
    def _n_features_out(self) -> int:
        return self.units().hidden.shape[0]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "learner_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags
