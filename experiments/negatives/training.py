"""Training with a named negative phase, and its draws at fixed parameters."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax import samplers, training
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import DeviceCounts, Minibatch, gather
from qbm_jax.model.vae import VAE, Params
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
    """

    params: Params
    chains: Any
    train_cells: np.ndarray
    validation_cells: np.ndarray


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
    spec = training.sampler_spec(fields["sampler"], fields["options"])
    return Phase(with_noise_stream(spec.build(), fields["noise_stream"]), num_chains, from_data)


def with_noise_stream(sampler: Sampler, stream: int) -> Sampler:
    """The sampler; with a stream other than 0 its draws take other noise from each key."""
    if stream == 0:
        return sampler

    def sample(key, params, state):
        return sampler.sample(jax.random.fold_in(key, stream), params, state)

    return sampler._replace(sample=sample)


def chains_at_cells(
    key: jax.Array, vae: VAE, params: Params, cells: Minibatch, chains: GibbsState
) -> GibbsState:
    """Gibbs chains at one posterior draw of each of the first cells, as many as there were."""
    num_chains = chains.spins.shape[-1]
    logits: Any = vae.encode(params, cells.counts[:num_chains])  # factorial: an array
    return GibbsState(spins=spins_from_fields(key, 0.5 * logits).T)


def train(
    key: jax.Array, vae: VAE, phase: Phase, data: DeviceCounts, options: training.TrainOptions
) -> Outcome:
    """Trains to the last step. Phases with one key share split, start and order.

    Raises:
      TrainingDiverged: a metric was not finite.
    """
    sampler: Any = phase.sampler
    if phase.sampler is not None and phase.from_data:
        sampler = training.Restarted.of(phase.sampler, chains_at_cells)
    options = dataclasses.replace(
        options, num_chains=phase.num_chains, validate_every=options.num_epochs
    )
    trained = training.train(key, vae, sampler, data, options)
    state = trained.state  # not the best parameters
    return Outcome(state.params, state.chains, trained.train_cells, trained.validation_cells)


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
                chains = chains_at_cells(key_data, vae, params, gather(data, cells), chains)
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
