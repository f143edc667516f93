"""The training state, its optimiser, its start, and the best parameters so far."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from qbm_jax.model.batch_norm import BatchNorm, is_statistic
from qbm_jax.model.vae import VAE, Params
from qbm_jax.samplers.base import Sampler
from qbm_jax.training import adam
from qbm_jax.training.options import TrainOptions, option_numbers


class TrainState(struct.PyTreeNode):
    """Everything a run needs to go on; arrays only, all of it in every checkpoint.

    Attributes:
      step: steps taken so far.
      params: "encoder", "decoder", "genes", "prior".
      opt_state: the optimiser's state.
      chains: the sampler's state; empty where the prior needs no samples.
      best_params: a copy, by value, of the parameters with the best validation bound so far; of
        those last validated where `report_epoch` is last, and so for the next two.
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


def build_optimiser(
    options: TrainOptions, num_steps: jax.Array | int, delay_steps: jax.Array | int | None = None
) -> optax.GradientTransformation:
    """Adam with clipped gradients and a cosine decay; the couplings J learn later and slower.

    J's rate is a fraction of the networks', since at the full rate the couplings overshoot before
    the chains follow. It is zero at first: couplings that learn from the start make whatever varies
    most early on, the experimental batch, cheap to encode, and the encoder then never gives it up.

    Args:
      options: how to train; its numbers may be traced (`options.with_numbers`).
      num_steps: of the whole training; it may be traced.
      delay_steps: before J learns, likewise; None: its part of a plain `num_steps`.
    """
    numbers = option_numbers(options)
    rate, final = numbers["learning_rate"], numbers["final_learning_rate"]
    if delay_steps is None:
        delay_steps = round(options.couplings_delay * int(num_steps))

    def schedule(step: jax.Array) -> jax.Array:
        # To the bit what XLA makes of `optax.cosine_decay_schedule`, which takes no traced number.
        angle = jnp.minimum(step, num_steps) * (jnp.float32(jnp.pi) * (jnp.float32(1) / num_steps))
        return rate * ((1 - final) * (0.5 * (1 + jnp.cos(angle))) + final)

    couplings_schedule = optax.join_schedules(
        [optax.constant_schedule(0.0), optax.constant_schedule(numbers["couplings_rate"])],
        [delay_steps],
    )
    weights, decay = [], []
    if options.weight_decay:
        weights = [optax.add_decayed_weights(options.weight_decay)]
    if options.couplings_decay:  # after Adam, so that J shrinks by rate * decay a step
        decay = [optax.add_decayed_weights(options.couplings_decay, mask=is_couplings)]
    steps = optax.chain(
        adam.clip_by_global_norm(numbers["gradient_clip"]),
        *weights,
        adam.scale_by_adam(options.adam_epsilon),
        *decay,
        optax.scale_by_learning_rate(schedule),
        optax.masked(optax.scale_by_schedule(couplings_schedule), is_couplings),
    )
    return _following(steps)


def _following(optimiser: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser, that leaves running statistics to steps of their own rate (`BatchNorm`)."""

    def update(gradient: Params, state: Any, params: Params) -> tuple[Params, Any]:
        running = jax.tree_util.tree_map_with_path(is_statistic, gradient)
        updates, state = optimiser.update(of_the_loss(gradient), state, params)
        moved = jax.tree.map(
            lambda own, g, u: -BatchNorm.RATE * g if own else u, running, gradient, updates
        )
        return moved, state

    return optax.GradientTransformation(optimiser.init, update)


def of_the_loss(gradient: Params) -> Params:
    """A gradient with zeros for running statistics, on which the loss does not depend."""
    return jax.tree_util.tree_map_with_path(
        lambda path, g: jnp.zeros_like(g) if is_statistic(path, g) else g, gradient
    )


def is_couplings(params: Params) -> Params:
    """A tree of the parameters' structure that is True at J and False elsewhere."""

    def is_j(path: tuple, _: Any) -> bool:
        return getattr(path[-1], "name", None) == "J"

    return jax.tree_util.tree_map_with_path(is_j, params)


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
        best_params=copied(params),
        best_elbo=jnp.asarray(-jnp.inf, jnp.float32),  # not weakly typed: one compilation
        best_epoch=jnp.zeros((), jnp.int32),
    )


@jax.jit
def copied(tree: Any) -> Any:
    """The same values in arrays of their own, by one program for all shapes of a tree."""
    return jax.tree.map(jnp.copy, tree)


def keep_best(state: TrainState, elbo: float, epoch: int, report: str = "best") -> TrainState:
    """The state with its parameters copied, by value, if this bound is the best so far.

    They are copied whatever the bound if what is to be reported is the last epoch.
    """
    if report == "best" and not elbo > float(state.best_elbo):
        return state
    return state.replace(
        best_params=copied(state.params),
        best_elbo=jnp.asarray(elbo, jnp.float32),
        best_epoch=jnp.asarray(epoch, jnp.int32),
    )
