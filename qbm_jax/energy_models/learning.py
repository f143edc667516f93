"""One update of the parameters, and many of them in one compiled call."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from qbm_jax.energy_models import phases as phases_of
from qbm_jax.energy_models.edges import Edges
from qbm_jax.energy_models.phases import Phases
from qbm_jax.energy_models.units import draw_bits
from qbm_jax.errors import InputError
from qbm_jax.runtime import keys

OPTIMIZERS = {
    "sgd": lambda: optax.sgd(1.0),
    "momentum": lambda: optax.sgd(1.0, momentum=0.9),
    "adam": lambda: optax.adam(1.0),
}
OFFSET_RATE = 0.01  # of the moving averages behind centred gradients (Montavon and Mueller 2012)


class Recipe(NamedTuple):
    """How to learn; hashable, so that one program serves all equal ones.

    Attributes:
      phases: what draws both phases.
      optimizer: a name in `OPTIMIZERS`, or a gradient transformation of optax with its own rate.
      centred: whether gradients are those of units minus moving averages.
      draws_bits: whether data are means of bits, of which each update draws new ones.
      minibatch_size: rows of an update.
    """

    phases: Phases
    optimizer: Any
    centred: bool
    draws_bits: bool
    minibatch_size: int

    @property
    def transformation(self) -> optax.GradientTransformation:
        """The optimiser; named ones have rate 1."""
        named = isinstance(self.optimizer, str)
        return OPTIMIZERS[self.optimizer]() if named else self.optimizer


class Rates(NamedTuple):
    """Numbers of the learning, which one program takes as arguments.

    Attributes:
      start: learning rate of the first update; of a transformation of the user's, 1.
      end: of the last one; it changes linearly.
      num_updates: over which it changes.
      weight_decay: share of the couplings that is added to their gradient.
      averaging: memory of the averaged parameters, in updates.
    """

    start: float
    end: float
    num_updates: int
    weight_decay: float
    averaging: float


class Learner(struct.PyTreeNode):
    """Everything that learning goes on from.

    Attributes:
      units: parameters.
      average: moving average of the parameters.
      optimiser: its state.
      chains: of the negative phase.
      offsets: moving averages of visible and hidden means on the data.
      step: updates made, a scalar.
    """

    units: Any
    average: Any
    optimiser: Any
    chains: Any
    offsets: tuple[jax.Array, jax.Array]
    step: jax.Array


def start(
    key: jax.Array, units: Any, recipe: Recipe, num_chains: int, visible_means: jax.Array
) -> Learner:
    """The learner before its first update; `visible_means` [visible] are those of the data."""
    chains = phases_of.start_chains(key, units, recipe.phases, num_chains)
    optimiser = recipe.transformation.init(units)
    offsets = (visible_means, jax.nn.sigmoid(units.hidden))
    return Learner(units, units, optimiser, chains, offsets, jnp.int32(0))


@partial(jax.jit, static_argnums=0)
def advance(
    recipe: Recipe,
    edges: Edges,
    rates: Rates,
    key: jax.Array,
    data: jax.Array,
    learner: Learner,
    end: jax.Array,
) -> tuple[Learner, dict[str, jax.Array]]:
    """Updates on data [rows, visible] until step `end`; the learner, and means of what is measured.

    An update's key and rows follow from its step, so a training that was interrupted goes on as if
    it had not been.
    """

    def update(
        _: jax.Array, carry: tuple[Learner, dict[str, jax.Array]]
    ) -> tuple[Learner, dict[str, jax.Array]]:
        learner, totals = carry
        learner, measured = _update(recipe, edges, rates, key, data, learner)
        return learner, jax.tree.map(jnp.add, totals, measured)

    first = learner.step
    zero = {name: jnp.float32(0) for name in MEASURED}
    learner, totals = jax.lax.fori_loop(first, end, update, (learner, zero))
    return learner, {name: total / (end - first) for name, total in totals.items()}


def checked(measured: dict[str, jax.Array], units: Any, step: int) -> dict[str, float]:
    """What was measured up to this update, as numbers.

    Raises:
      InputError: draws of the sampler, or parameters, are not finite.
    """
    values = {name: float(value) for name, value in jax.device_get(measured).items()}
    if (share := values.pop("finite_share")) < 1:
        raise InputError(
            f"draws of the sampler were not finite in {1 - share:.0%} of the updates up to "
            f"{step}; see its options, such as a smaller dt"
        )
    if not all(np.isfinite(leaf).all() for leaf in jax.device_get(jax.tree.leaves(units))):
        raise InputError(
            f"the training diverged before update {step}: parameters are NaN or infinite; "
            "lower learning_rate"
        )
    if math.isnan(values["beta_eff"]):  # the sampler does not measure it
        del values["beta_eff"]
    return values


MEASURED = ("free_energy_gap", "hidden_activity", *phases_of.TOLD)


def _update(
    recipe: Recipe, edges: Edges, rates: Rates, key: jax.Array, data: jax.Array, learner: Learner
) -> tuple[Learner, dict[str, jax.Array]]:
    key = jax.random.fold_in(key, learner.step)
    names = ("rows", "bits", "positive", "negative")
    key_rows, key_bits, key_positive, key_negative = (keys.named(key, name) for name in names)
    rows = jax.random.randint(key_rows, (recipe.minibatch_size,), 0, data.shape[0])
    v = data[rows]
    v = draw_bits(key_bits, v) if recipe.draws_bits else v
    units = learner.units
    h = phases_of.positive(key_positive, units, v, recipe.phases)
    v_model, h_model, chains, told = phases_of.negative(
        key_negative, units, learner.chains, v, h, recipe.phases
    )
    gap, gradient = jax.value_and_grad(contrast)(units, v, h, v_model, h_model)
    visible, hidden = (
        (1 - OFFSET_RATE) * old + OFFSET_RATE * new.mean(axis=0)
        for old, new in zip(learner.offsets, (v, h), strict=True)
    )
    gradient = allowed(gradient, edges)
    gradient = centred(gradient, edges, visible, hidden) if recipe.centred else gradient
    gradient = decayed(gradient, units, rates.weight_decay)
    change, optimiser = recipe.transformation.update(gradient, learner.optimiser, units)
    rate = rates.start + (rates.end - rates.start) * learner.step / rates.num_updates
    units = _symmetric(jax.tree.map(lambda p, c: p + rate * c, units, change))
    # A young average forgets its start sooner.
    memory = jnp.minimum(rates.averaging, (learner.step + 1) / 2)
    average = jax.tree.map(
        lambda a, p: a + (p - a) / jnp.maximum(memory, 1), learner.average, units
    )
    average = _symmetric(average)
    measured = {"free_energy_gap": gap, "hidden_activity": h.mean(), **told}
    offsets = visible, hidden
    return Learner(units, average, optimiser, chains, offsets, learner.step + 1), measured


def _symmetric(units: Any) -> Any:
    """The parameters with L and K symmetric to the last bit: their updates are not."""
    squares = {name: getattr(units, name, None) for name in ("lateral", "deep")}
    return units.replace(**{name: 0.5 * (J + J.T) for name, J in squares.items() if J is not None})


def contrast(
    units: Any, v: jax.Array, h: jax.Array, v_model: jax.Array, h_model: jax.Array
) -> jax.Array:
    """Mean energy of data minus that of draws, a scalar: its gradient is that of -log p(v).

    Where hidden units are summed in closed form, free energies take the place of energies.
    """
    if getattr(units, "deep", None) is None:
        return units.free_energy(v).mean() - units.free_energy(v_model).mean()
    return units.energy(v, h).mean() - units.energy(v_model, h_model).mean()


def allowed(gradient: Any, edges: Edges) -> Any:
    """The gradient of pairs' couplings, which stand in two places of L or K, where they may be."""
    found = {"weights": gradient.weights * edges.weights}
    for name in ("lateral", "deep"):
        if (square := getattr(gradient, name, None)) is not None:
            found[name] = (square + square.T) * getattr(edges, name)
    return gradient.replace(**found)


def centred(gradient: Any, edges: Edges, visible: jax.Array, hidden: jax.Array) -> Any:
    """The gradient for units minus offsets, in the parameters of units as they are.

    With (v - mu)(h - lambda)' in place of vh' (Montavon and Mueller 2012; Melchior et al. 2016),
    couplings change biases, b = beta - L mu - W lambda.

    Args:
      gradient: of `allowed`.
      edges: where couplings may be.
      visible: offsets mu [visible].
      hidden: offsets lambda [hidden].
    """
    db, dc = gradient.visible, gradient.hidden
    shift = visible[:, None] * dc[None, :] + db[:, None] * hidden[None, :]
    dW = gradient.weights - shift * edges.weights
    dL = _centred_square(gradient.lateral, edges.lateral, db, visible)
    dK = _centred_square(gradient.deep, edges.deep, dc, hidden)
    db, dc = db - dW @ hidden, dc - dW.T @ visible
    db = db if dL is None else db - dL @ visible
    dc = dc if dK is None else dc - dK @ hidden
    return gradient.replace(visible=db, hidden=dc, weights=dW, lateral=dL, deep=dK)


def _centred_square(
    square: jax.Array | None, mask: np.ndarray | None, bias: jax.Array, offsets: jax.Array
) -> jax.Array | None:
    if square is None or mask is None:
        return None
    outer = bias[:, None] * offsets[None, :]
    return square - (outer + outer.T) * mask


def decayed(gradient: Any, units: Any, weight_decay: jax.Array | float) -> Any:
    """The gradient with a share of the couplings added to theirs; biases do not decay."""
    names = [n for n in ("weights", "lateral", "deep") if getattr(units, n, None) is not None]
    return gradient.replace(
        **{name: getattr(gradient, name) + weight_decay * getattr(units, name) for name in names}
    )
