"""log Z of a restricted machine, annealed over visible bits alone in both directions.

Hidden units are summed in closed form at every temperature (Salakhutdinov and Murray 2008), which
leaves log weights of less variance than annealing of all units. At beta the machine has biases
(1 - beta) b0 + beta b and beta c and couplings beta W. A sweep of hidden, then visible units
satisfies detailed balance for the visible ones' law, so forward and reverse paths share it, and
`partition.annealing.combine` serves both.

Annealing may also go along the parameters that a training went through (Decelle, Furtlehner and
Seoane, NeurIPS 2021; Bereux et al. 2023): machines near to each other, without the first-order
transitions that a temperature can meet.
"""

from functools import partial

import jax
import jax.numpy as jnp

from qbm_jax.energy_models.phases import block_gibbs
from qbm_jax.energy_models.units import Units, draw_bits
from qbm_jax.partition.annealing import combine
from qbm_jax.partition.estimate import LogZ

_CLIP = 0.02  # of the base law's means: no visible unit is nearly constant there


@partial(jax.jit, static_argnames=("num_temperatures", "num_paths", "num_equilibration"))
def annealed(
    key: jax.Array,
    units: Units,
    starts: jax.Array,
    path: Units | None = None,
    *,
    num_temperatures: int,
    num_paths: int,
    num_equilibration: int,
) -> LogZ:
    """Log Z of the bit form, bracketed.

    Args:
      key: consumed.
      units: of a restricted machine.
      starts: [paths, visible], bits at which the chains behind the reverse paths start, such as
        data. Forward paths have not seen them: where both directions meet, neither missed a mode
        that the other found.
      path: parameters with a leading axis [machines] that lead to `units`, between which are as
        many steps for each pair; None: a temperature.
      num_temperatures: steps between the base law and the machine, on a path at the least.
      num_paths: in either direction.
      num_equilibration: sweeps at the machine itself before the reverse paths.
    """
    key_run, key_base, key_forward, key_reverse = jax.random.split(key, 4)
    ends = block_gibbs(key_run, units, starts, num_equilibration)
    means = jnp.clip(units.visible_means(units.hidden_means(ends)).mean(axis=0), _CLIP, 1 - _CLIP)
    base = jnp.log(means) - jnp.log1p(-means)
    v = draw_bits(key_base, jnp.broadcast_to(means, (num_paths, means.shape[0])))
    if path is None:
        anneal = partial(_anneal, units, base)
        places = jnp.linspace(0.0, 1.0, num_temperatures + 1)
    else:
        zero = Units(base, jnp.zeros_like(units.hidden), jnp.zeros_like(units.weights))
        whole = jax.tree.map(
            lambda first, p, last: jnp.concatenate([first[None], p, last[None]]), zero, path, units
        )
        anneal = partial(_follow, whole)
        num_pairs = whole.hidden.shape[0] - 1
        places = jnp.linspace(0.0, num_pairs, num_pairs * -(-num_temperatures // num_pairs) + 1)
    forward = anneal(key_forward, v, places)
    reverse = -anneal(key_reverse, ends, places[::-1])
    log_z_base = jax.nn.softplus(base).sum() + units.hidden.shape[0] * jnp.log(2.0)
    return combine(log_z_base, forward, reverse, jnp.arange(num_paths))


def _follow(path: Units, key: jax.Array, v: jax.Array, places: jax.Array) -> jax.Array:
    """Sum over steps of F at this place of the path minus F at the next one [paths]."""
    last = path.hidden.shape[0] - 2

    def at(place: jax.Array) -> Units:
        pair = jnp.clip(jnp.floor(place).astype(int), 0, last)
        return jax.tree.map(lambda p: p[pair] + (place - pair) * (p[pair + 1] - p[pair]), path)

    def advance(
        carry: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        v, total = carry
        key, place, following = inputs
        units = at(following)
        change = at(place).free_energy(v) - units.free_energy(v)
        return (block_gibbs(key, units, v, 1), total + change), None

    keys = jax.random.split(key, places.shape[0] - 1)
    steps = keys, places[:-1], places[1:]
    return jax.lax.scan(advance, (v, jnp.zeros(v.shape[0])), steps)[0][1]


def _anneal(
    units: Units, base: jax.Array, key: jax.Array, v: jax.Array, betas: jax.Array
) -> jax.Array:
    """Sum over steps of F at this temperature minus F at the next one [paths]."""
    difference = units.visible - base

    def advance(
        carry: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        v, total = carry
        key, beta, following = inputs
        key_hidden, key_visible = jax.random.split(key)
        hidden = units.hidden_inputs(v)
        change = (following - beta) * (v @ difference) + jnp.sum(
            jax.nn.softplus(following * hidden) - jax.nn.softplus(beta * hidden), axis=-1
        )
        # The sweep is at `following`, on the hidden inputs that the weight took.
        h = draw_bits(key_hidden, jax.nn.sigmoid(following * hidden))
        fields = base[None] + following * (difference[None] + h @ units.weights.T)
        return (draw_bits(key_visible, jax.nn.sigmoid(fields)), total + change), None

    keys = jax.random.split(key, betas.shape[0] - 1)
    (_, total), _ = jax.lax.scan(advance, (v, jnp.zeros(v.shape[0])), (keys, betas[:-1], betas[1:]))
    return total
