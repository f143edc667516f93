"""Deep belief networks: restricted machines stacked one on the other, learnt from the data up.

The top machine is a prior of the layer below it; lower layers are directed, p(v | h) of their own
machines. With q(h | v) of the same machines, from any layer to the next (Hinton et al. 2006),

    log p(v) >= E_q[sum_l log p(h_l | h_l+1) + entropy q(h_l+1 | h_l) - F_top(h_L-1)] - log Z_top,

with v = h_0: entropies are exact. The expectation is over draws that all rows share, so that the
bound of a row does not depend on others; the lower end of `score` has the error of their mean.
"""

import contextlib
import copy
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from qbm_jax.energy_models.binary import RestrictedBoltzmannMachine
from qbm_jax.energy_models.hidden_sums import FreeEnergies
from qbm_jax.energy_models.likelihood import ERRORS, Effort, Likelihood, likelihood
from qbm_jax.energy_models.saving import Saved, path_of
from qbm_jax.energy_models.trained import NotFitted, as_it_was_if_refused
from qbm_jax.energy_models.units import Units
from qbm_jax.errors import InputError
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import (
    Kind,
    check,
    check_all,
    check_mapping,
    documented,
    field,
    field_kinds,
    optional,
    plain,
    positive,
    seed,
    whole,
    widths,
)

BOUND = "variational bound"  # how hidden units were summed


def _layers() -> Kind:
    def read(value: Any) -> tuple[int, ...]:
        if isinstance(plain(value), int):
            return (whole(1).read(value),) * 2
        layers = widths().read(value)
        if not layers:
            raise ValueError
        return layers

    return Kind("a whole number of at least 1, or a tuple of such, a layer each", read)


@documented
@dataclasses.dataclass(eq=False, repr=False)
class DeepBeliefNetwork(Saved, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A deep belief network over bits; `machines_` are its layers' machines, from the data up."""

    num_hidden: Any = field(  # noqa: RUF009
        (64, 64), _layers(), "units of every layer, from the data up; a number: two such layers"
    )
    machine_options: dict | None = field(  # noqa: RUF009
        None,
        optional(Kind("a dict", lambda value: check_mapping("machine_options", value))),
        "options of every machine, as of RestrictedBoltzmannMachine",
    )
    num_draws: int = field(50, whole(2), "of hidden units behind the bound")
    seed: int = field(0, seed(), "root of all randomness")

    def fit(self, X: Any, y: Any = None, *, checkpoint: str | Path | None = None) -> Self:
        """Learns layer by layer; each sees bits drawn from the hidden means of the one below.

        Args:
          X: bits, or means of bits, [rows, features].
          y: ignored.
          checkpoint: a file; each layer's training is written beside it, `NAME-layer0` and so on,
            and goes on from there, bit for bit.

        Raises:
          InputError: options or data that cannot be used.
        """
        del y
        path = path_of(checkpoint)
        machines, rows = self._new_machines(), X
        for number, machine in enumerate(machines):
            own = None if path is None else path.with_stem(f"{path.stem}-layer{number}")
            rows = machine.fit(rows, checkpoint=own).hidden_means(rows)
        return self._with(machines)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Goes on learning: every layer passes over the rows once, from the data up.

        Args:
          X: bits, or means of bits, [rows, features].
          y: ignored.

        Raises:
          InputError: as `fit`, or an option that shapes a trained machine is another by now.
        """
        del y
        with contextlib.ExitStack() as stack:
            for machine in getattr(self, "machines_", ()):
                stack.enter_context(as_it_was_if_refused(machine))
            rows, machines = X, self._machines_as_asked()
            for machine in machines:
                rows = machine.partial_fit(rows).hidden_means(rows)
        return self._with(machines)

    @property
    def history_(self) -> list[dict[str, float]]:
        """The history of every layer, from the data up, with the layer's number."""
        histories = [machine.history_ for machine in self._machines()]
        return [{"layer": n, **row} for n, history in enumerate(histories) for row in history]

    def _machines_as_asked(self) -> list[RestrictedBoltzmannMachine]:
        """The trained machines with the options as they are now, all of which are checked first."""
        asked = self._new_machines()
        if not hasattr(self, "machines_"):
            return asked
        if len(asked) != len(self.machines_):
            raise InputError(
                f"num_hidden was of {len(self.machines_)} layers when this network was trained and "
                f"is of {len(asked)} now; set it back, or call fit"
            )
        options = [machine.get_params(deep=False) for machine in asked]
        for machine, given in zip(self.machines_, options, strict=True):
            trial = copy.copy(machine).set_params(**given)
            trial.check_options()
            trial.check_unchanged()
        for machine, given in zip(self.machines_, options, strict=True):
            machine.set_params(**given)
        return self.machines_

    def check_options(self) -> dict[str, Any]:
        """The options as plain values.

        Raises:
          InputError: a value out of its range.
        """
        kinds = field_kinds(type(self))
        return check_all({name: getattr(self, name) for name in kinds}, kinds)

    def _new_machines(self) -> list[RestrictedBoltzmannMachine]:
        options = self.check_options()
        given = options["machine_options"] or {}
        valid = set(field_kinds(RestrictedBoltzmannMachine)) - {"num_hidden", "seed"}
        if unknown := sorted(set(given) - valid):
            raise InputError(f"unknown machine_options {unknown}; choose from {sorted(valid)}")
        seeds = [
            keys.seed_of(options["seed"], "deep belief layer", number)
            for number in range(len(options["num_hidden"]))
        ]
        return [
            RestrictedBoltzmannMachine(num_hidden=width, seed=own, **given)
            for width, own in zip(options["num_hidden"], seeds, strict=True)
        ]

    def _with(self, machines: list[RestrictedBoltzmannMachine]) -> Self:
        """Takes trained machines, and the features that the lowest has seen."""
        self.machines_ = machines
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(machines[0], name):
                setattr(self, name, getattr(machines[0], name))
        return self

    def _machines(self) -> list[RestrictedBoltzmannMachine]:
        if not hasattr(self, "machines_"):
            raise NotFitted("This DeepBeliefNetwork instance is not fitted yet; call fit")
        return self.machines_

    def layer_of(self, params: dict[str, Any]) -> RestrictedBoltzmannMachine:
        """A layer's machine, before it is loaded."""
        return RestrictedBoltzmannMachine(**params)

    def transform(self, X: Any) -> np.ndarray:
        """Means of the top layer, [rows, units], means passed from layer to layer."""
        return self._means(X)

    def _means(self, X: Any) -> np.ndarray:
        for machine in self._machines():
            X = machine.hidden_means(X)
        return X

    def reconstruct(self, X: Any) -> np.ndarray:
        """Visible means given the top layer's means given rows [rows, features]."""
        rows = jnp.asarray(self._means(X))
        for machine in reversed(self._machines()):
            rows = machine.units().visible_means(rows)
        return np.asarray(rows)

    def free_energy(self, X: Any, *, weights: str = "last") -> np.ndarray:
        """Refused: the sum over hidden layers has no closed form.

        Raises:
          InputError: always; `score_samples` has the bound of log p(v).
        """
        raise InputError(
            "a deep belief network has no free_energy: the sum over its hidden layers has no "
            "closed form; take score_samples, a bound of log p(v)"
        )

    def score_samples(
        self,
        X: Any,
        *,
        weights: str = "last",
        max_bracket: float = 1.0,
        effort: Effort | None = None,
    ) -> np.ndarray:
        """The variational bound of each row's log-likelihood, in nats [rows]; NaN without log Z."""
        values, total = self._scored(X, weights, max_bracket, effort)
        return total.of_rows(values)

    def score(
        self,
        X: Any,
        y: Any = None,
        *,
        weights: str = "last",
        max_bracket: float = 1.0,
        effort: Effort | None = None,
    ) -> Likelihood:
        """The mean variational bound in nats; the interval has no upper end.

        The lower end is two standard errors of the draws of hidden units and the interval of log Z
        below the bound.

        Args:
          X: [rows, features].
          y: ignored.
          weights: "last" or "averaged" parameters of every layer.
          max_bracket: the widest interval of log Z in nats that gives a value.
          effort: what log Z may cost.
        """
        del y
        return self._scored(X, weights, max_bracket, effort)[1]

    def _scored(
        self, X: Any, weights: str, max_bracket: float, effort: Effort | None
    ) -> tuple[np.ndarray, Likelihood]:
        """Bounds of rows without log Z of the top machine [rows], and the mean with it."""
        bottom, top = self._machines()[0], self._machines()[-1]
        self.check_options()
        log_z, method = top.log_z_and_method(weights, effort)
        bracket = check("max_bracket", max_bracket, positive())
        rows = bottom.checked_rows(X)
        drawn = self._bounds(rows, weights)
        values, means = drawn.mean(axis=0), drawn.mean(axis=1)
        error = ERRORS * float(means.std(ddof=1)) / np.sqrt(len(means))
        free = FreeEnergies.known(-values, BOUND)
        found = likelihood(free, log_z, method, bracket, bottom.said_of(rows))
        return values, dataclasses.replace(found, lower=found.lower - error, upper=np.inf)

    def _bounds(self, rows: np.ndarray, weights: str) -> np.ndarray:
        """Bounds of checked rows without log Z of the top machine, [draws, rows]."""
        machines = self._machines()
        rows = machines[0].bits_of(rows, self.seed)
        layers = tuple(machine.units(weights) for machine in machines)
        key = keys.key_of(self.seed, "deep belief bound")
        found = _bounds(layers, jax.random.split(key, self.num_draws), jnp.asarray(rows))
        return np.asarray(found, np.float64)

    def sample(
        self,
        num: int = 1,
        given: Any = None,
        *,
        seed: int | None = None,
        num_sweeps: int = 1000,
        weights: str = "last",
    ) -> np.ndarray:
        """Rows [num, features]: the top machine's draws, passed down.

        Args:
          num: rows.
          given: must be None: no unit can be clamped below directed layers.
          seed: of the draws; None: that of the model.
          num_sweeps: of the top machine.
          weights: "last" or "averaged" parameters of every layer.

        Raises:
          InputError: unfitted, `given`, or values out of range.
        """
        *lower, top = self._machines()
        self.check_options()
        if given is not None:
            raise InputError(
                "given must be None for a deep belief network, whose lower layers are directed; "
                "clamp units of a RestrictedBoltzmannMachine or BoltzmannMachine"
            )
        seed = self.seed if seed is None else seed
        drawn = top.sample(num, seed=seed, num_sweeps=num_sweeps, weights=weights)
        rows = jnp.asarray(drawn)
        for number, machine in reversed(list(enumerate(lower))):
            key = keys.key_of(seed, "deep belief draws", number)
            rows = machine.units(weights).draw_visible(key, rows)
        return np.asarray(rows)

    @property
    def _n_features_out(self) -> int:
        return self._machines()[-1].num_hidden

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True  # bits
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "machines_")


@jax.jit
def _bounds(layers: tuple[Units, ...], draw_keys: jax.Array, rows: jax.Array) -> jax.Array:
    return jax.lax.map(partial(_bound, layers, rows), draw_keys)


def _bound(layers: tuple[Units, ...], rows: jax.Array, key: jax.Array) -> jax.Array:
    """The bound without log Z [rows], with one draw of the hidden units."""
    total, below = jnp.zeros(rows.shape[0]), rows
    for number, layer in enumerate(layers[:-1]):
        means = layer.hidden_means(below)
        entropy = jax.scipy.special.entr(means) + jax.scipy.special.entr(1 - means)
        # One number for a unit in all rows: a row's bound does not depend on the others.
        noise = jax.random.uniform(jax.random.fold_in(key, number), means.shape[1:])
        h = (noise[None, :] < means).astype(jnp.float32)
        logits = layer.visible[None, :] + h @ layer.weights.T
        total += jnp.sum(below * logits - jax.nn.softplus(logits), axis=-1) + entropy.sum(axis=-1)
        below = h
    return total - layers[-1].free_energy(below)
