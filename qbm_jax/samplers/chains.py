"""Compiled programs that run a sampler's chains and record them."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.calibration import fit_beta
from qbm_jax.samplers.base import Info, Sampler, State
from qbm_jax.samplers.gibbs import GibbsOptions, GibbsState, gibbs

_RECORDED_SPINS = 16


def draw_function(
    sampler: Sampler, num_draws: int, chains_per_batch: int
) -> Callable[[jax.Array, Boltzmann], tuple[jax.Array, Info]]:
    """Compiled (key, params) -> spins int8 [draws, N] of independent chains, and mean info.

    Chains of a sampler that is exact in law start anew for each batch. A heuristic is initialised
    once, because that is where it calibrates; its draws begin with a restart.
    """
    num_batches = -(-num_draws // chains_per_batch)

    @jax.jit
    def draw(key: jax.Array, params: Boltzmann) -> tuple[jax.Array, Info]:
        key_shared, key_batches = jax.random.split(key)
        shared = (
            None
            if sampler.targets_boltzmann
            else sampler.init(key_shared, params, chains_per_batch)
        )

        def batch(key: jax.Array) -> tuple[jax.Array, Info]:
            key_init, key_draw = jax.random.split(key)
            state = sampler.init(key_init, params, chains_per_batch) if shared is None else shared
            spins, _, info = sampler.sample(key_draw, params, state)
            finite = jnp.all(jnp.isfinite(spins), axis=1)
            spins = jnp.where(finite[:, None], spins, 0)
            return spins.astype(jnp.int8), {name: jnp.mean(value) for name, value in info.items()}

        spins, info = jax.lax.map(batch, jax.random.split(key_batches, num_batches))
        return spins.reshape(-1, params.num_spins)[:num_draws], info

    return draw


def draw_once(key: jax.Array, sampler: Sampler, params: Boltzmann, num_chains: int) -> jax.Array:
    """One draw from each of independent chains, spins [chains, N]."""

    @jax.jit
    def draw(key: jax.Array, params: Boltzmann) -> jax.Array:
        key_init, key_draw = jax.random.split(key)
        return sampler.sample(key_draw, params, sampler.init(key_init, params, num_chains))[0]

    return draw(key, params)


@functools.partial(jax.jit, static_argnames=("sampler", "num_chains", "num_sweeps"))
def draw_and_sweep(
    keys: jax.Array, machine: Boltzmann, sampler: Sampler, num_chains: int, num_sweeps: int
) -> jax.Array:
    """Fresh chains of a sampler, and Gibbs sweeps from each of its draws.

    Args:
      keys: one for the start and one a draw, [draws + 1].
      machine: N spins.
      sampler: what draws.
      num_chains: of it.
      num_sweeps: behind each draw; they do not change the chains.

    Returns:
      Spins int8 [draws, num_sweeps + 1, chains, N]; entry k follows k sweeps.
    """
    kernel = gibbs(GibbsOptions(num_steps=1))

    def sweep(state: GibbsState, key: jax.Array) -> tuple[GibbsState, jax.Array]:
        spins, state, _ = kernel.sample(key, machine, state)
        return state, spins.astype(jnp.int8)

    def draw(chains: State, key: jax.Array) -> tuple[State, jax.Array]:
        key_draw, key_sweeps = jax.random.split(key)
        spins, chains, _ = sampler.sample(key_draw, machine, chains)
        keys = jax.random.split(key_sweeps, num_sweeps)
        _, swept = jax.lax.scan(sweep, GibbsState(spins=spins.T), keys)
        return chains, jnp.concatenate([spins[None].astype(jnp.int8), swept])

    chains = sampler.init(keys[0], machine, num_chains)
    return jax.lax.scan(draw, chains, keys[1:])[1]


def record_function(
    sampler: Sampler, num_chains: int, burn_in: int, num_steps: int
) -> Callable[[jax.Array, Boltzmann], tuple[jax.Array, jax.Array]]:
    """Compiled (key, params) -> energies [steps, chains], spins int8 [steps, chains, recorded].

    Chains start from the product law of the fields; the sampler makes one step a draw.
    """

    @jax.jit
    def record(key: jax.Array, params: Boltzmann) -> tuple[jax.Array, jax.Array]:
        key_init, key_steps = jax.random.split(key)

        def advance(state: State, key: jax.Array) -> tuple[State, tuple[jax.Array, jax.Array]]:
            spins, state, _ = sampler.sample(key, params, state)
            return state, (energy(params, spins), spins[:, :_RECORDED_SPINS].astype(jnp.int8))

        state = sampler.init(key_init, params, num_chains)
        keys = jax.random.split(key_steps, burn_in + num_steps)
        _, (energies, spins) = jax.lax.scan(advance, state, keys)
        return energies[burn_in:], spins[burn_in:]

    return record


def seconds_per_draw(
    key: jax.Array, sampler: Sampler, sample: Callable, params: Boltzmann, num_chains: int
) -> float:
    """Seconds of a draw of all chains, the least of three by the compiled `sample`."""
    state = sampler.init(key, params, num_chains)
    jax.block_until_ready(sample(key, params, state))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(sample(key, params, state))
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def advance_function(
    sampler: Sampler, num_records: int, steps_per_record: int
) -> Callable[[jax.Array, Boltzmann, State], tuple[State, dict[str, jax.Array]]]:
    """Compiled (key, params, state) -> state, and traces [records] of moments over chains."""

    @jax.jit
    def advance(
        key: jax.Array, params: Boltzmann, state: State
    ) -> tuple[State, dict[str, jax.Array]]:
        def record(state: State, key: jax.Array) -> tuple[State, dict[str, jax.Array]]:
            def step(state: State, key: jax.Array) -> tuple[State, None]:
                return sampler.step(key, params, state)[0], None

            key_steps, key_read = jax.random.split(key)
            state, _ = jax.lax.scan(step, state, jax.random.split(key_steps, steps_per_record - 1))
            state, info = sampler.step(key_read, params, state)
            amplitudes = find_amplitudes(state)
            return state, {
                "energy": info["energy"] / params.num_spins,
                "amplitude": jnp.mean(jnp.abs(amplitudes)),
                "beta_eff": fit_beta(params, jnp.sign(amplitudes)),
            }

        return jax.lax.scan(record, state, jax.random.split(key, num_records))

    return advance


def find_amplitudes(state: Any) -> jax.Array:
    """The amplitudes [chains, spins] in the state of a machine, calibrated or not.

    Raises:
      InputError: it has none.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if getattr(path[-1], "name", "") == "amplitudes":
            return leaf
    raise InputError("expected a machine with amplitudes, such as a cim, got a sampler without")
