"""Training with a named negative phase, and its draws at fixed parameters."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax import samplers, training
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import DeviceCounts, gather
from qbm_jax.model.vae import VAE, Params
from qbm_jax.runtime import keys
from qbm_jax.samplers.base import Sampler, spins_from_fields
from qbm_jax.samplers.gibbs import GibbsState

NO_COUPLINGS = "none"


class Phase(NamedTuple):
    """What draws the negatives of a training.

    Attributes:
      sampler: None for J = 0, whose log Z has a closed form.
      num_chains: negatives a step.
      from_data: contrastive divergence (Hinton 2002, Neural Computation 14, 1771): before each draw
        chains restart at posterior spins of the minibatch.
    """

    sampler: Sampler | None
    num_chains: int
    from_data: bool


class Outcome(NamedTuple):
    """The end of a training.

    Attributes:
      params: after the last step; no step is chosen by its bound, so a drift is seen.
      chains: the sampler's state after the last step.
      train_cells: cells trained on.
      validation_cells: cells kept out.
      fault: "" or what was not finite, and when; `params` are then those before the fault.
    """

    params: Params
    chains: Any
    train_cells: np.ndarray
    validation_cells: np.ndarray
    fault: str


def build_phase(name: str, fields: dict[str, Any], options: training.TrainOptions) -> Phase:
    """The phase that the config calls `name`.

    Raises:
      InputError: an unknown sampler or option, or chains from data that are not Gibbs chains or
        more than the cells of a minibatch.
    """
    num_chains = fields["num_chains"] or options.num_chains
    from_data = bool(fields["from_data"])
    if num_chains < 2:
        raise InputError(f"config.phases.{name}.num_chains must be 0 or above 1, got {num_chains}")
    if fields["sampler"] == NO_COUPLINGS:
        return Phase(None, num_chains, False)
    if from_data and fields["sampler"] != "gibbs":
        raise InputError(
            f"config.phases.{name}: chains from data need the sampler gibbs, "
            f"got {fields['sampler']!r}"
        )
    if from_data and num_chains > options.minibatch_size:
        raise InputError(
            f"config.phases.{name}: expected at most training.minibatch_size = "
            f"{options.minibatch_size} chains from data, got {num_chains}"
        )
    checked = samplers.check_options(fields["sampler"], dict(fields["options"]))
    options_ = tuple(sorted(checked.items()))
    sampler = same_sampler(fields["sampler"], options_, fields["noise_stream"])
    return Phase(sampler, num_chains, from_data)


@functools.lru_cache(maxsize=32)  # the same options are the same object: what is compiled is reused
def same_sampler(name: str, options: tuple[tuple[str, Any], ...], noise_stream: int) -> Sampler:
    """The sampler `name`; with a stream other than 0 its draws take other noise from each key."""
    sampler = samplers.build(name, **dict(options))
    if noise_stream == 0:
        return sampler

    def sample(key, params, state):
        return sampler.sample(jax.random.fold_in(key, noise_stream), params, state)

    return sampler._replace(sample=sample)


def chains_at_data(
    key: jax.Array, vae: VAE, params: Params, data: DeviceCounts, rows: jax.Array
) -> GibbsState:
    """Gibbs chains at one posterior draw of each of the cells `rows` [chains]."""
    logits = vae.encode(params, gather(data, rows).counts)
    return GibbsState(spins=spins_from_fields(key, 0.5 * logits).T)


@functools.lru_cache(maxsize=32)
def build_dispatch(
    vae: VAE, phase: Phase, options: training.TrainOptions, steps_per_epoch: int
) -> Callable:
    """Compiles (key, data, state, rows [steps, minibatch]) -> (state, metrics [steps] by name).

    As `training.build_dispatch`, but for chains from data.
    """
    optimiser = training.build_optimiser(options, options.num_epochs * steps_per_epoch)
    warmup_steps = max(options.kl_warmup_epochs * steps_per_epoch, 1)

    def kl_weight(step: jax.Array) -> jax.Array:
        return options.kl_weight * jnp.minimum((step + 1) / warmup_steps, 1.0)

    @functools.partial(jax.jit, donate_argnums=2)
    def dispatch(key, data, state, rows):
        key_data = keys.named(key, "chains from data")

        def step(state, rows):
            if phase.from_data:
                key_start = jax.random.fold_in(key_data, state.step)
                cells = rows[: phase.num_chains]
                chains = chains_at_data(key_start, vae, state.params, data, cells)
                state = state.replace(chains=chains)
            return training.train_step(
                vae, phase.sampler, optimiser, kl_weight, key, data, state, rows
            )

        return jax.lax.scan(step, state, rows)

    return dispatch


def train(
    key: jax.Array, vae: VAE, phase: Phase, data: DeviceCounts, options: training.TrainOptions
) -> Outcome:
    """Trains to the last step. Phases with one key share split, start and order.

    They are those of `training.train` with this key, and of its steps but for chains from data.
    """
    key_split, key_init, key_order, key_train, _ = jax.random.split(key, 5)
    plan = training.plan_epochs(data.num_cells, options, key_split)
    num_steps = options.num_epochs * plan.steps_per_epoch
    optimiser = training.build_optimiser(options, num_steps)
    state = training.init_state(key_init, vae, phase.sampler, optimiser, phase.num_chains)
    dispatch = build_dispatch(vae, phase, options, plan.steps_per_epoch)
    fault = ""
    for rows in training.dispatches(key_order, plan, 0, options.num_epochs):
        last_good, first = jax.tree.map(jnp.copy, state), int(state.step)
        state, traces = dispatch(key_train, data, state, rows)
        found = training.first_fault(jax.device_get(traces))
        if found is not None:
            state, fault = last_good, f"{found[1]} is not finite at step {first + found[0]}"
            break
    return Outcome(state.params, state.chains, plan.train_cells, plan.validation_cells, fault)


@functools.lru_cache(maxsize=32)
def build_draws(vae: VAE, phase: Phase) -> Callable:
    """Compiles (key, params, chains, data, rows [draws, chains]) -> spins int8 [draws, chains, N].

    The draws that training would make next if its parameters stood still. `rows` are the cells that
    chains from data start at.
    """

    @jax.jit
    def draws(key, params, chains, data, rows):
        def draw(chains, item):
            key, cells = item
            key_data, key_draw = jax.random.split(key)
            if phase.from_data:
                chains = chains_at_data(key_data, vae, params, data, cells)
            spins, chains, _ = phase.sampler.sample(key_draw, params["prior"], chains)
            return chains, spins.astype(jnp.int8)

        return jax.lax.scan(draw, chains, (jax.random.split(key, rows.shape[0]), rows))[1]

    return draws


@functools.lru_cache(maxsize=8)
def build_repair(sampler: Sampler, num_chains: int, num_sweeps: int) -> Callable:
    """Compiles (keys [draws], machine) -> spins int8 [draws, num_sweeps + 1, chains, N].

    Fresh chains of the sampler, then Gibbs sweeps from each draw; entry k follows k sweeps.
    """
    gibbs = samplers.build("gibbs", num_steps=1)

    @jax.jit
    def repair(keys, machine):
        def sweep(state, key):
            spins, state, _ = gibbs.sample(key, machine, state)
            return state, spins.astype(jnp.int8)

        def draw(chains, key):
            key_draw, key_sweeps = jax.random.split(key)
            spins, chains, _ = sampler.sample(key_draw, machine, chains)
            keys = jax.random.split(key_sweeps, num_sweeps)
            _, swept = jax.lax.scan(sweep, GibbsState(spins=spins.T), keys)
            return chains, jnp.concatenate([spins[None].astype(jnp.int8), swept])

        chains = sampler.init(keys[0], machine, num_chains)
        return jax.lax.scan(draw, chains, keys[1:])[1]

    return repair
