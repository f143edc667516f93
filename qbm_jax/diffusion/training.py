"""Training of all models of tokens: every random number of a step is keyed by its number.

A resumed training therefore goes on bit for bit as if it had never stopped.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from qbm_jax.diffusion import latent
from qbm_jax.diffusion.network import NetworkShape, Params, causal_nll, token_nll
from qbm_jax.diffusion.schedule import SCHEDULES, draw_counts, draw_masks
from qbm_jax.feed.minibatches import scan_some
from qbm_jax.objective.bound import weight_at
from qbm_jax.runtime import keys
from qbm_jax.runtime.compiled import keep_compiled
from qbm_jax.training import TrainingDiverged, TrainingStopped
from qbm_jax.training.checkpoint import Checkpoints

LOGGER = logging.getLogger("qbm_jax")
STEPS_PER_DISPATCH = 25
NUM_SAVES = 10  # in a training


class Stream(NamedTuple):
    """Where sequences begin in a row of tokens.

    Attributes:
      tokens: all of them [number].
      stride: a sequence begins at every multiple of it.
      num_starts: how many there are.
    """

    tokens: jax.Array
    stride: int
    num_starts: int


class State(struct.PyTreeNode):
    """Everything that a training needs to go on; arrays only.

    Attributes:
      step: steps taken so far.
      params: "network", and "encoder" and "prior" with latents.
      ema: their mean over steps, which is what is used.
      opt_state: the optimiser's state.
      chains: the state of what draws the prior's spins; empty where nothing does.
    """

    step: jax.Array
    params: Params
    ema: Params
    opt_state: Any
    chains: Any


def stream_of(rows: np.ndarray, length: int) -> Stream:
    """The stream of one long text [number], of which any part is a sequence, or of rows [n, L]."""
    tokens = jnp.asarray(rows.reshape(-1), jnp.int32)
    if rows.ndim == 1:
        return Stream(tokens, 1, rows.size - length + 1)
    return Stream(tokens, length, len(rows))


def init_state(shape: NetworkShape, key: jax.Array) -> State:
    """Fresh parameters, and chains where the prior needs them."""
    key_network, key_latent, key_chains = jax.random.split(key, 3)
    tokens = jnp.zeros((1, shape.length), jnp.int32)
    condition = None
    if latent.has_latents(shape):
        condition = jnp.zeros((1, shape.options.num_latents))
    params = {"network": shape.network().init(key_network, tokens, condition)["params"]}
    params |= latent.init(shape, key_latent, tokens)
    sampler = latent.negative_phase(shape)
    chains = ()
    if sampler is not None:
        chains = sampler.init(key_chains, params["prior"], latent.NUM_CHAINS)
    step, ema = jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params)
    return State(step, params, ema, build_optimiser(shape).init(params), chains)


def build_optimiser(shape: NetworkShape) -> optax.GradientTransformation:
    """Adam with clipped gradients, a warm-up and a cosine decay to a tenth."""
    own, num_steps = shape.options, max(2, shape.options.num_steps)
    grown = min(max(1, round(own.warmup * num_steps)), num_steps - 1)
    rate = optax.warmup_cosine_decay_schedule(
        0.1 * own.learning_rate, own.learning_rate, grown, num_steps, 0.1 * own.learning_rate
    )
    return optax.chain(optax.clip_by_global_norm(own.gradient_clip), optax.adam(rate, b2=0.98))


def loss_of(
    shape: NetworkShape,
    params: Params,
    key: jax.Array,
    tokens: jax.Array,
    kl_weight: Any,
    negatives: Any,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """What is trained, in nats per token, and its parts by name, for tokens [rows, length].

    Where negatives stand for log Z, the KL has a gradient but no value, and is no part.
    """
    if shape.causal:
        bound = jnp.mean(causal_nll(shape, params, tokens))
        return bound, {"bound": bound}
    key_counts, key_masks, key_latent = jax.random.split(key, 3)
    rows, length = tokens.shape
    counts, weights = draw_counts(key_counts, SCHEDULES[shape.options.schedule], rows, length)
    masked = draw_masks(key_masks, counts, length)
    read, kl = None, jnp.zeros(())
    if latent.has_latents(shape):
        drawn = latent.draw_posterior(shape, params, key_latent, tokens)
        log_z = latent.log_z_in_training(shape, params, negatives)
        read, kl = drawn.read, (jnp.mean(drawn.energy_minus_entropy) + log_z) / length
    sums = jnp.sum(token_nll(shape, params, tokens, masked, read), axis=-1)
    bound = jnp.mean(weights * sums) / length
    parts = {"bound": bound} | ({"kl": kl} if negatives is None else {})
    return bound + kl_weight * kl, parts


def one_step(
    shape: NetworkShape,
    key: jax.Array,
    tokens: jax.Array,
    stride: Any,
    num_starts: Any,
    state: State,
) -> tuple[State, dict[str, jax.Array]]:
    """One optimiser step on random sequences of all tokens [number]."""
    own, key = shape.options, jax.random.fold_in(key, state.step)
    key_rows, key_loss, key_chains = jax.random.split(key, 3)
    starts = stride * jax.random.randint(key_rows, (own.minibatch_size,), 0, num_starts)
    minibatch = tokens[starts[:, None] + jnp.arange(shape.length)[None, :]]
    sampler, negatives, chains = latent.negative_phase(shape), None, state.chains
    if sampler is not None:
        machine = latent.prior_of(shape).project(state.params["prior"])
        negatives, chains, _ = sampler.sample(key_chains, machine, chains)
    warmup = max(1.0, own.kl_warmup * own.num_steps)
    kl_weight = weight_at(state.step, own.kl_weight, warmup)

    def loss(params: Params) -> tuple[jax.Array, dict[str, jax.Array]]:
        return loss_of(shape, params, key_loss, minibatch, kl_weight, negatives)

    (value, parts), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
    optimiser = build_optimiser(shape)
    updates, opt_state = optimiser.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    decay = jnp.minimum(own.ema, (1 + state.step) / (10 + state.step))  # short at first
    ema = optax.incremental_update(params, state.ema, 1 - decay)
    return State(state.step + 1, params, ema, opt_state, chains), {"loss": value, **parts}


@functools.lru_cache(maxsize=32)
def build_dispatch(shape: NetworkShape) -> Callable[..., tuple[State, dict[str, jax.Array]]]:
    """Compiles (key, tokens, stride, num_starts, state, count): so many steps, and metrics."""

    @functools.partial(jax.jit, donate_argnums=4)
    def dispatch(
        key: jax.Array,
        tokens: jax.Array,
        stride: jax.Array,
        num_starts: jax.Array,
        state: State,
        count: jax.Array,
    ) -> tuple[State, dict[str, jax.Array]]:
        def body(state: State, _: jax.Array) -> tuple[State, dict[str, jax.Array]]:
            return one_step(shape, key, tokens, stride, num_starts, state)

        return scan_some(body, state, jnp.arange(STEPS_PER_DISPATCH), count)

    return dispatch


def train(
    shape: NetworkShape,
    seed: int,
    stream: Stream,
    checkpoints: Checkpoints | None = None,
    on_progress: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Params:
    """Trains a model and returns the mean of its parameters over steps.

    Args:
      shape: of the model.
      seed: root of all randomness.
      stream: what sequences are cut from.
      checkpoints: where states are kept and gone on from; None keeps none.
      on_progress: called with the step and means of the loss and its parts, as far as they have
        values.
      should_stop: asked after every dispatch.

    Raises:
      TrainingDiverged: the loss was not finite; the last good state is kept.
      TrainingStopped: `should_stop` said so; the state is saved.
    """
    keep_compiled()
    key = keys.of_training(seed)
    state = jax.jit(functools.partial(init_state, shape))(keys.named(key, "start"))
    if checkpoints is not None:
        state = checkpoints.restore(state)
    dispatch, key_steps = build_dispatch(shape), keys.named(key, "steps")
    step, total = int(state.step), shape.options.num_steps
    every = max(1, total // NUM_SAVES)
    while step < total:
        count = min(STEPS_PER_DISPATCH, total - step, every - step % every)
        state, metrics = dispatch(
            key_steps, stream.tokens, stream.stride, stream.num_starts, state, count
        )
        step += count
        found = {name: float(np.mean(values[:count])) for name, values in metrics.items()}
        if not np.isfinite(found["loss"]):
            raise TrainingDiverged(
                f"the loss was not finite before step {step}; lower learning_rate, which is "
                f"{shape.options.learning_rate:g}", fault="loss",
            )  # fmt: skip
        if latent.negative_phase(shape) is not None:
            del found["loss"]  # a surrogate, whose value means nothing
        on_progress(step, found)
        stopping = step < total and should_stop()
        if checkpoints is not None and (stopping or step % every == 0 or step == total):
            checkpoints.save(step, state)
        if stopping:
            raise TrainingStopped(f"stopped after step {step}")
    return state.ema
