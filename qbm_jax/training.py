"""The training state, the training step, and the loop around it."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from qbm_jax import objective, partition
from qbm_jax.checkpoint import Checkpoints
from qbm_jax.errors import InputError
from qbm_jax.minibatches import DeviceCounts, dispatch_plan, epoch_order, gather, pad_rows
from qbm_jax.samplers.base import Sampler
from qbm_jax.vae import VAE, Params

# Of a bound: not finite means divergence. log Z itself is NaN where its bracket is too wide.
CHECKED = (*objective.Terms._fields, "log_z_forward", "log_z_reverse")
ANY_BRACKET = 1e9  # nats: a rough log Z will do to compare epochs of one training
LARGEST_ENUMERATED = 16  # spins up to which log Z is enumerated rather than estimated

# Sampler options of the negative phase. Where chains persist few steps a draw are enough; machines
# that start anew take all the steps they need.
NEGATIVE_PHASE = {
    "gibbs": {"num_steps": 2},
    "auxiliary_cim": {"num_steps": 4},
    "auxiliary_langevin": {"num_steps": 20},
    "metropolis_cim": {"num_steps": 10},
    "tempering": {"num_steps": 2},
    "cim": {"num_steps": 60},
    "cac": {"num_steps": 60},
    "cfc": {"num_steps": 60},
    "noisy_analog": {"num_steps": 60},
    "bifurcation": {"num_steps": 100},
    "annealing": {"num_steps": 20},
    "exact": {},
}


class TrainState(struct.PyTreeNode):
    """Everything a run needs to go on; arrays only, all of it in every checkpoint.

    Attributes:
      step: steps taken so far.
      params: "encoder", "decoder", "genes", "prior".
      opt_state: the optimiser's state.
      chains: the sampler's state; empty where the prior needs no samples.
      best_params: a copy, by value, of the parameters with the best validation bound so far.
      best_elbo: that bound, in nats per cell.
      best_epoch: the epoch after which it was measured.
    """

    step: jax.Array
    params: Params
    opt_state: Any
    chains: Any
    best_params: Params
    best_elbo: jax.Array
    best_epoch: jax.Array


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How to train. Rates are per step, fractions of 1; see `configs/base.py` for the manual."""

    num_epochs: int = 150
    minibatch_size: int = 128
    learning_rate: float = 4e-3
    final_learning_rate: float = 0.1
    couplings_rate: float = 0.05
    couplings_delay: float = 0.2
    gradient_clip: float = 1000.0
    kl_weight: float = 1.0
    kl_warmup_epochs: float = 10.0
    validation_fraction: float = 0.1
    validate_every: int = 15
    validation_temperatures: int = 200
    max_steps_per_dispatch: int = 100
    num_chains: int = 64

    def __post_init__(self):
        """Checks every range.

        Raises:
          InputError: a value out of range; the message names the field.
        """
        for name in ("num_epochs", "minibatch_size", "validate_every", "validation_temperatures",
                     "max_steps_per_dispatch", "num_chains"):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"training.{name} must be a whole number above 0, got {value}")
        for name in ("learning_rate", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"training.{name} must be above 0, got {getattr(self, name)}")
        for name in ("couplings_rate", "kl_weight", "kl_warmup_epochs", "final_learning_rate"):
            if not getattr(self, name) >= 0:
                raise InputError(f"training.{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.couplings_delay <= 1:
            raise InputError(
                f"training.couplings_delay must be between 0 and 1, got {self.couplings_delay}"
            )
        if not 0 < self.validation_fraction < 1:
            raise InputError(
                f"training.validation_fraction must be between 0 and 1, "
                f"got {self.validation_fraction}"
            )


class TrainingStopped(Exception):
    """The run was asked to stop; its state is saved and the same command goes on from there."""


class TrainingDiverged(InputError):
    """A quantity became NaN or infinite; the last good state is kept."""


class Progress(NamedTuple):
    """What a dispatch reports: epoch count, cells per second so far, mean metrics by name."""

    step: int
    epoch: float
    num_epochs: int
    cells_per_second: float
    split: str  # "start" (once, after a restore), "train" or "validation"
    metrics: dict[str, float]


class Trained(NamedTuple):
    """The result of `train`.

    Attributes:
      params: the parameters with the best validation bound.
      state: the final state.
      validation_cells: indices of the cells kept out of training.
      cells_per_second: median over dispatches; compilation and validation are not in it.
      seconds: wall time of this call, all included.
    """

    params: Params
    state: TrainState
    validation_cells: np.ndarray
    cells_per_second: float
    seconds: float


def build_optimiser(options: TrainOptions, num_steps: int) -> optax.GradientTransformation:
    """Adam with clipped gradients and a cosine decay; the couplings J learn later and slower.

    J's rate is a fraction of the networks', since at the full rate the couplings overshoot before
    the chains follow. It is zero at first: couplings that learn from the start make whatever varies
    most early on, the experimental batch, cheap to encode, and the encoder then never gives it up.
    """
    schedule = optax.cosine_decay_schedule(
        options.learning_rate, num_steps, alpha=options.final_learning_rate
    )
    couplings_schedule = optax.join_schedules(
        [optax.constant_schedule(0.0), optax.constant_schedule(options.couplings_rate)],
        [round(options.couplings_delay * num_steps)],
    )
    return optax.chain(
        optax.clip_by_global_norm(options.gradient_clip),
        optax.scale_by_adam(),
        optax.scale_by_learning_rate(schedule),
        optax.masked(optax.scale_by_schedule(couplings_schedule), is_couplings),
    )


def is_couplings(params: Params) -> Params:
    """A tree of the parameters' structure that is True at J and False elsewhere."""

    def is_j(path: tuple, _: Any) -> bool:
        return getattr(path[-1], "name", None) == "J"

    return jax.tree_util.tree_map_with_path(is_j, params)


class Plan(NamedTuple):
    """Which cells are trained on, and how an epoch is cut into steps."""

    train_cells: np.ndarray
    validation_cells: np.ndarray
    minibatch_size: int
    num_dispatches: int
    steps_per_dispatch: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one epoch."""
        return self.num_dispatches * self.steps_per_dispatch


def plan_epochs(num_cells: int, options: TrainOptions, key: jax.Array) -> Plan:
    """Splits cells into training and validation by the key, and an epoch into dispatches."""
    order = np.asarray(jax.random.permutation(key, num_cells))
    num_validation = min(max(round(options.validation_fraction * num_cells), 1), num_cells - 1)
    train_cells = np.sort(order[num_validation:])
    minibatch_size = min(options.minibatch_size, train_cells.size)
    dispatches, steps = dispatch_plan(
        train_cells.size, minibatch_size, options.max_steps_per_dispatch
    )
    validation_cells = np.sort(order[:num_validation])
    return Plan(train_cells, validation_cells, minibatch_size, dispatches, steps)


def init_state(
    key: jax.Array,
    vae: VAE,
    sampler: Sampler | None,
    optimiser: optax.GradientTransformation,
    num_chains: int,
) -> TrainState:
    """Fresh parameters and chains."""
    key_params, key_chains = jax.random.split(key)
    params = jax.jit(vae.init)(key_params)  # one program, not dozens of small ones
    chains = ()
    if sampler is not None:
        chains = sampler.init(key_chains, params["prior"], num_chains)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimiser.init(params),
        chains=chains,
        best_params=jax.tree.map(jnp.copy, params),
        best_elbo=jnp.asarray(-jnp.inf, jnp.float32),  # not weakly typed: one compilation
        best_epoch=jnp.zeros((), jnp.int32),
    )


def train_step(
    vae: VAE,
    sampler: Sampler | None,
    optimiser: optax.GradientTransformation,
    kl_schedule: Callable[[jax.Array], jax.Array],
    key: jax.Array,
    data: DeviceCounts,
    state: TrainState,
    rows: jax.Array,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One optimiser step on the cells `rows` [minibatch].

    Args:
      vae: the model.
      sampler: draws the negative phase; None where log Z has a closed form.
      optimiser: an optax transformation over the whole parameter tree.
      kl_schedule: step -> weight of the KL term.
      key: the run's training key; the step folds its number in.
      data: all counts.
      state: the state before the step.
      rows: the cells of the minibatch.

    Returns:
      The next state and scalar metrics by name.
    """
    key_posterior, key_prior = jax.random.split(jax.random.fold_in(key, state.step))
    cells = gather(data, rows)

    negatives, chains, info = None, state.chains, {}
    if sampler is not None:
        negatives, chains, info = sampler.sample(key_prior, state.params["prior"], state.chains)

    def loss_fn(params: Params) -> tuple[jax.Array, objective.Terms]:
        weight = kl_schedule(state.step)
        return objective.surrogate_loss(vae, params, key_posterior, cells, negatives, weight)

    (_, terms), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = optimiser.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {
        "reconstruction": terms.reconstruction.mean(),
        "entropy": terms.entropy.mean(),
        "expected_energy": terms.expected_energy.mean(),
        "gradient_norm": optax.tree.norm(gradient),
        **{f"sampler/{name}": value for name, value in info.items()},
    }
    state = state.replace(step=state.step + 1, params=params, opt_state=opt_state, chains=chains)
    return state, metrics


@functools.lru_cache(maxsize=32)  # trainings that differ in their seed share one compilation
def build_dispatch(
    vae: VAE, sampler: Sampler | None, options: TrainOptions, steps_per_epoch: int
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """Compiles (key, data, state, rows [steps, minibatch]) -> (state, metrics [steps] by name).

    The state is donated: its buffers are reused, so the caller must not read it again.
    """
    optimiser = build_optimiser(options, options.num_epochs * steps_per_epoch)
    warmup_steps = max(options.kl_warmup_epochs * steps_per_epoch, 1)

    def kl_schedule(step: jax.Array) -> jax.Array:
        return options.kl_weight * jnp.minimum((step + 1) / warmup_steps, 1.0)

    @functools.partial(jax.jit, donate_argnums=2)
    def dispatch(key: jax.Array, data: DeviceCounts, state: TrainState, rows: jax.Array):
        step = functools.partial(train_step, vae, sampler, optimiser, kl_schedule, key, data)
        return jax.lax.scan(step, state, rows)

    return dispatch


@functools.lru_cache(maxsize=32)
def build_evaluation(
    vae: VAE, minibatch_size: int = 256
) -> Callable[[jax.Array, DeviceCounts, Params, np.ndarray], dict[str, float]]:
    """Returns (key, data, params, cells) -> mean terms of the bound over these cells.

    The key fixes the posterior draws, so that two parameter sets are compared on the same noise.
    """

    @jax.jit
    def sums(key, data, params, rows, weights):
        def body(_, item):
            index, rows_, weights_ = item
            terms = objective.terms(
                vae, params, jax.random.fold_in(key, index), gather(data, rows_)
            )
            return None, jax.tree.map(lambda x: jnp.sum(x * weights_), terms)

        _, totals = jax.lax.scan(body, None, (jnp.arange(rows.shape[0]), rows, weights))
        return jax.tree.map(jnp.sum, totals)

    def evaluate(key, data, params, cells):
        rows, weights = pad_rows(cells, minibatch_size)
        totals = sums(key, data, params, rows, weights)
        return {name: float(value) / len(cells) for name, value in totals._asdict().items()}

    return evaluate


def estimate_log_z(key: jax.Array, vae: VAE, params: Params, **options: Any) -> partition.LogZ:
    """Log Z of the trained prior: closed form, enumeration for few spins, AIS otherwise."""
    if vae.prior.log_z is not None:
        value, zero = vae.prior.log_z(params["prior"]), jnp.zeros(())
        return partition.LogZ(value, zero, value, zero, value, zero)
    if vae.num_latents <= LARGEST_ENUMERATED:
        return partition.log_z(key, params["prior"], method="exact")
    return partition.log_z(key, params["prior"], method="ais", **options)


def bound(
    key: jax.Array,
    vae: VAE,
    evaluate: Callable[..., dict[str, float]],
    data: DeviceCounts,
    params: Params,
    cells: np.ndarray,
    *,
    num_draws: int = 1,
    **log_z_options: Any,
) -> dict[str, float]:
    """The bound and its terms on `cells`, in nats per cell, with log Z and its standard error.

    Args:
      key: consumed; the same key gives the same posterior draws, for paired comparisons.
      vae: the model.
      evaluate: what `build_evaluation` returned for it.
      data: all counts.
      params: the parameters.
      cells: indices of the cells.
      num_draws: posterior draws per cell.
      **log_z_options: of `partition.log_z` where log Z is estimated by AIS.
    """
    key_terms, key_log_z = jax.random.split(key)
    draws = [
        evaluate(jax.random.fold_in(key_terms, i), data, params, cells) for i in range(num_draws)
    ]
    terms = {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}
    log_z = estimate_log_z(key_log_z, vae, params, **log_z_options)
    kl = terms["expected_energy"] - terms["entropy"] + float(log_z.value)
    return {
        **terms,
        "kl": kl,
        "elbo": -terms["reconstruction"] - kl,
        "log_z": float(log_z.value),
        **{f"log_z_{name}": float(getattr(log_z, name)) for name in log_z._fields[1:]},
    }


def first_fault(metrics: dict[str, np.ndarray]) -> tuple[int, str] | None:
    """(step within the dispatch, name) of the first value that is not finite, if there is one.

    Within a step the gradient comes last, because whatever else is bad makes it bad too.
    """
    bad = {name: np.flatnonzero(~np.isfinite(values)) for name, values in metrics.items()}
    faults = [(int(steps[0]), name) for name, steps in bad.items() if steps.size]
    return min(faults, key=lambda fault: (fault[0], fault[1] == "gradient_norm"), default=None)


def dispatches(key: jax.Array, plan: Plan, first_step: int, num_epochs: int) -> Iterator[jax.Array]:
    """Rows [steps, minibatch] of every dispatch from `first_step` on, a function of the key."""
    first_dispatch = first_step // plan.steps_per_dispatch
    per_dispatch = plan.steps_per_dispatch * plan.minibatch_size
    cells = jnp.asarray(plan.train_cells)
    for epoch in range(first_dispatch // plan.num_dispatches, num_epochs):
        order = epoch_order(key, epoch, cells)
        start = max(first_dispatch - epoch * plan.num_dispatches, 0)
        for i in range(start, plan.num_dispatches):
            rows = order[i * per_dispatch : (i + 1) * per_dispatch]
            yield rows.reshape(plan.steps_per_dispatch, plan.minibatch_size)


def train(
    key: jax.Array,
    vae: VAE,
    sampler: Sampler | None,
    data: DeviceCounts,
    options: TrainOptions,
    *,
    checkpoints: Checkpoints | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Trains a model, resuming from the newest sound checkpoint if there is one.

    Args:
      key: the run's root key; it fixes the split, the start, the order and all noise.
      vae: the model.
      sampler: draws the negative phase; None where log Z has a closed form.
      data: all counts.
      options: how to train.
      checkpoints: where state is kept; None keeps none.
      on_progress: called after every dispatch and every validation.
      should_stop: asked after every dispatch.

    Raises:
      TrainingStopped: `should_stop` said so; the state is saved.
      TrainingDiverged: a value was NaN or infinite; the last good state is saved.
    """
    start_time = time.perf_counter()
    key_split, key_init, key_order, key_train, key_validation = jax.random.split(key, 5)
    plan = plan_epochs(data.num_cells, options, key_split)
    optimiser = build_optimiser(options, options.num_epochs * plan.steps_per_epoch)
    state = init_state(key_init, vae, sampler, optimiser, options.num_chains)
    if checkpoints is not None:
        state = checkpoints.restore(state)
    dispatch = build_dispatch(vae, sampler, options, plan.steps_per_epoch)
    evaluate = build_evaluation(vae)
    rates: list[float] = []

    def save(state: TrainState) -> None:
        if checkpoints is not None:
            checkpoints.save(int(state.step), state)

    def stop_if(fault: tuple[int, str] | None, last_good: TrainState) -> None:
        if fault is not None:
            save(last_good)
            step = int(last_good.step) + fault[0]
            raise TrainingDiverged(
                f"training diverged at step {step}: {fault[1]} is not finite; the state of step "
                f"{int(last_good.step)} is kept; try a smaller training.learning_rate"
            )

    def emit(state: TrainState, split: str, metrics: dict[str, float]) -> None:
        epoch = int(state.step) / plan.steps_per_epoch
        rate = float(np.median(rates)) if rates else float("nan")
        on_progress(Progress(int(state.step), epoch, options.num_epochs, rate, split, metrics))

    emit(state, "start", {})
    for rows in dispatches(key_order, plan, int(state.step), options.num_epochs):
        last_good = jax.tree.map(jnp.copy, state)  # the dispatch donates `state`
        dispatch_start = time.perf_counter()
        state, traces = dispatch(key_train, data, state, rows)
        traces = jax.device_get(traces)
        rates.append(rows.size / (time.perf_counter() - dispatch_start))
        stop_if(first_fault(traces), last_good)
        emit(state, "train", {name: float(np.mean(v)) for name, v in traces.items()})

        epoch, within = divmod(int(state.step), plan.steps_per_epoch)
        if within == 0 and (epoch % options.validate_every == 0 or epoch == options.num_epochs):
            metrics = bound(
                key_validation, vae, evaluate, data, state.params,
                plan.validation_cells, num_temperatures=options.validation_temperatures,
                num_equilibration=options.validation_temperatures, max_bracket=ANY_BRACKET,
            )  # fmt: skip
            fault = first_fault({f"validation {name}": metrics[name] for name in CHECKED})
            stop_if(fault and (plan.steps_per_dispatch, fault[1]), last_good)
            state = keep_best(state, metrics["elbo"], epoch)
            emit(state, "validation", metrics)
            save(state)
        if should_stop():
            save(state)
            raise TrainingStopped(f"stopped after step {int(state.step)}")

    return Trained(
        params=state.best_params,
        state=state,
        validation_cells=plan.validation_cells,
        cells_per_second=float(np.median(rates[1:])) if len(rates) > 1 else float("nan"),
        seconds=time.perf_counter() - start_time,
    )


def keep_best(state: TrainState, elbo: float, epoch: int) -> TrainState:
    """The state with its parameters copied, by value, if this bound is the best so far."""
    if not elbo > float(state.best_elbo):
        return state
    return state.replace(
        best_params=jax.tree.map(jnp.copy, state.params),
        best_elbo=jnp.asarray(elbo, jnp.float32),
        best_epoch=jnp.asarray(epoch, jnp.int32),
    )
