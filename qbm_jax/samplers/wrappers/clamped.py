"""Conditional sampling with any sampler: clamped spins become fields on the free ones."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.parameters import as_floats
from qbm_jax.runtime.options import shown
from qbm_jax.samplers.base import Info, Sampler, State, check_count, draw_info, is_concrete


def clamped(sampler: Sampler, indices: jax.Array, values: jax.Array) -> Sampler:
    """Draws from p(s_free | s_clamped = values); the law is as exact as the sampler's.

    Spins come out whole, the clamped ones among them at their places. Info of a step has the energy
    of the free spins' machine; info of a draw, that of whole spins.

    Args:
      sampler: any; it sees the machine of the free spins (`boltzmann.condition`).
      indices: of the clamped spins, concrete; at least two spins stay free.
      values: -1 or +1, [clamped] for all chains, or [chains, clamped], one row a chain.

    Raises:
      InputError: no `Sampler`; values other than -1 and +1 or of a wrong shape; in `init` and
        later, what `boltzmann.condition` raises, and num_chains unequal to the rows of `values`.
    """
    if not isinstance(sampler, Sampler):
        raise InputError(f"expected a Sampler, got {shown(sampler)}; take samplers.build(name)")
    places: Any = np.asarray(indices)
    values = jnp.asarray(as_floats(values, "clamped values -1 or +1"), jnp.float32)
    if values.ndim not in (1, 2) or values.shape[-1:] != places.shape:
        raise InputError(
            f"expected values [clamped] or [chains, clamped] for {places.size} clamped spins, "
            f"got {values.shape}"
        )
    if is_concrete(values) and not bool(jnp.all(jnp.abs(values) == 1)):
        raise InputError("expected clamped values -1 or +1, got others")
    per_chain = values.ndim == 2

    def mapped(function: Callable[..., Any], in_axes: tuple[Any, ...]) -> Callable[..., Any]:
        # Each chain has fields of its own: a machine and a sampler of one chain a row.
        return jax.vmap(function, in_axes) if per_chain else function

    axes: dict[str, Any] = {"J": None, "h": 0}
    machine_axes = Boltzmann(**axes)

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> State:
        check_count(num_chains=num_chains)
        free = boltzmann.condition(params, places, values)
        if not per_chain:
            return sampler.init(key, free, num_chains)
        if num_chains != values.shape[0]:
            raise InputError(f"expected {values.shape[0]} chains, one a row, got {num_chains}")
        keys = jax.random.split(key, num_chains)
        return jax.vmap(lambda k, p: sampler.init(k, p, 1), (0, machine_axes))(keys, free)

    def step(key: jax.Array, params: Boltzmann, state: State) -> tuple[State, Info]:
        free = boltzmann.condition(params, places, values)
        keys = jax.random.split(key, values.shape[0]) if per_chain else key
        state, info = mapped(sampler.step, (0, machine_axes, 0))(keys, free, state)
        return state, _over_chains(info)

    def sample(key: jax.Array, params: Boltzmann, state: State) -> tuple[jax.Array, State, Info]:
        free = boltzmann.condition(params, places, values)
        keys = jax.random.split(key, values.shape[0]) if per_chain else key
        drawn, state, info = mapped(sampler.sample, (0, machine_axes, 0))(keys, free, state)
        drawn = drawn[:, 0] if per_chain else drawn
        spins = _insert(params.num_spins, places, values, drawn)
        return spins, state, _over_chains(info) | draw_info(params, spins)

    return Sampler(init, step, sample, sampler.targets_boltzmann)


def _insert(num_spins: int, indices: Any, values: jax.Array, drawn: jax.Array) -> jax.Array:
    """Whole spins [chains, spins] from clamped values and draws of the free ones."""
    held, free = boltzmann.split_spins(num_spins, indices)
    whole = jnp.zeros((drawn.shape[0], num_spins), jnp.float32)
    held_values = jnp.broadcast_to(values, (drawn.shape[0], held.size))
    return whole.at[:, held].set(held_values).at[:, free].set(drawn)


def _over_chains(info: Info) -> Info:
    """Info of one draw from that of every chain: flags hold for all, the worst step, else means."""
    return {name: _reduce(name, value) for name, value in info.items()}


def _reduce(name: str, value: jax.Array) -> jax.Array:
    if name == "diverged_at":
        return jnp.max(value)
    return jnp.all(value) if value.dtype == bool else jnp.mean(value)
