"""Moves of the Metropolis machine: proposed for all spins at once, tested, and corrected.

See `metropolis_cim` for the equations.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from qbm_jax.machine.boltzmann import Boltzmann, local_field
from qbm_jax.samplers.numerics.noise import uniform


def flip_probabilities(spins: jax.Array, fields: jax.Array, cost: jax.Array) -> jax.Array:
    """Chance of each spin to be flipped by the proposal, [chains, spins]; cost is c."""
    return jax.nn.sigmoid(-spins * fields - cost)


def log_acceptance(
    spins: jax.Array,
    fields: jax.Array,
    proposed: jax.Array,
    proposed_fields: jax.Array,
    cost: jax.Array,
) -> jax.Array:
    """Log of w(s')/w(s) [chains]: the move is accepted with the chance min(1, w(s')/w(s))."""
    after = jax.nn.log_sigmoid(proposed * proposed_fields + cost)
    return jnp.sum(after - jax.nn.log_sigmoid(spins * fields + cost), axis=-1)


def propose_and_test(
    key: jax.Array,
    spins: jax.Array,
    fields: jax.Array,
    cost: jax.Array,
    fields_of: Callable[[jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One step: (spins, fields, chance of acceptance [chains]); NaN where fields are not finite.

    Args:
      key: of the step.
      spins: [chains, spins].
      fields: of the spins, [chains, spins].
      cost: c, a scalar or [chains, 1].
      fields_of: spins -> fields, for the proposed spins.
    """
    key_flip, key_accept = jax.random.split(key)
    flips = uniform(key_flip, spins.shape) < flip_probabilities(spins, fields, cost)
    proposed = jnp.where(flips, -spins, spins)
    proposed_fields = fields_of(proposed)
    log_ratio = log_acceptance(spins, fields, proposed, proposed_fields, cost)
    accepted, chance = tested(key_accept, log_ratio)
    spins = jnp.where(accepted[:, None], proposed, spins)
    spins = jnp.where(jnp.isfinite(log_ratio)[:, None], spins, jnp.nan)
    return spins, jnp.where(accepted[:, None], proposed_fields, fields), chance


def correct(
    key: jax.Array, params: Boltzmann, surrogate: Boltzmann, start: jax.Array, end: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Tests the end of a walk that is reversible for the surrogate; exact for the machine.

    Args:
      key: of the test.
      params: the machine, in float32.
      surrogate: the machine that the walk was on.
      start: spins [chains, spins] at its start.
      end: spins [chains, spins] at its end.

    Returns:
      The spins kept and the mean chance of acceptance.
    """

    def excess(spins: jax.Array) -> jax.Array:  # log p - log p_surrogate, but for a constant
        difference = local_field(params, spins) - local_field(surrogate, spins)
        return 0.5 * jnp.sum(spins * difference, axis=-1)

    log_ratio = excess(end) - excess(start)
    accepted, chance = tested(key, log_ratio)
    kept = jnp.where(accepted[:, None], end, start)
    return jnp.where(jnp.isfinite(log_ratio)[:, None], kept, jnp.nan), jnp.mean(chance)


def tested(key: jax.Array, log_ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether each chain's move is accepted, and the chance of it [chains]."""
    chance = jnp.exp(jnp.minimum(log_ratio, 0))
    return uniform(key, chance.shape) < chance, chance
