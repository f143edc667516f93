"""Visible and hidden bits: parameters in bit form, and the machine that they are.

    E(v, h) = -b'v - c'h - v'Wh - 1/2 v'Lv - 1/2 h'Kh

over bits v and h. `Units.machine` is the same law over spins; energies are computed there alone.
Without couplings K among hidden units these are independent given v, and their sum is done:

    F(v) = -log sum_h exp(-E(v, h)) = -b'v - 1/2 v'Lv - sum_j softplus(c_j + (W'v)_j).
"""

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.numerics.noise import uniform, with_generator


class Units(struct.PyTreeNode):
    """Parameters over bits, in nats.

    Attributes:
      visible: biases b [visible].
      hidden: biases c [hidden].
      weights: W [visible, hidden].
      lateral: L [visible, visible], symmetric with zero diagonal; None: no such couplings.
      deep: K [hidden, hidden], likewise.
    """

    visible: jax.Array
    hidden: jax.Array
    weights: jax.Array
    lateral: jax.Array | None = None
    deep: jax.Array | None = None

    @property
    def is_bipartite(self) -> bool:
        """Whether couplings join visible to hidden units alone: a restricted machine."""
        return self.lateral is None and self.deep is None

    def machine(self) -> tuple[Boltzmann, jax.Array]:
        """The machine of visible spins, then hidden ones, and the scalar c of `from_bit_form`."""
        V, H = self.weights.shape
        lateral = jnp.zeros((V, V)) if self.lateral is None else self.lateral
        deep = jnp.zeros((H, H)) if self.deep is None else self.deep
        couplings = jnp.block([[lateral, self.weights], [self.weights.T, deep]])
        return boltzmann.from_bit_form(jnp.concatenate([self.visible, self.hidden]), couplings)

    def split(self, key: jax.Array, spins: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Bits v [draws, visible] and h [draws, hidden] of the machine's spins; no key is used."""
        del key
        bits = boltzmann.spins_to_bits(spins)
        num_visible = self.visible.shape[0]
        return bits[:, :num_visible], bits[:, num_visible:]

    def energy(self, v: jax.Array, h: jax.Array) -> jax.Array:
        """E(v, h) [rows]; of mean bits, its expectation under a law factorial over units."""
        machine, constant = self.machine()
        spins = boltzmann.bits_to_spins(jnp.concatenate([v, h], axis=-1))
        return boltzmann.energy(machine, spins) + constant

    def hidden_inputs(self, v: jax.Array) -> jax.Array:
        """Logits of hidden bits given visible ones [rows, hidden], couplings K left out."""
        return self.hidden[None, :] + v @ self.weights

    def hidden_means(self, v: jax.Array) -> jax.Array:
        """P(h_j = 1 | v) [rows, hidden] of hidden units without couplings among each other."""
        return jax.nn.sigmoid(self.hidden_inputs(v))

    def visible_means(self, h: jax.Array) -> jax.Array:
        """P(v_i = 1 | h) [rows, visible] of visible units without couplings among each other."""
        return jax.nn.sigmoid(self.visible[None, :] + h @ self.weights.T)

    def draw_visible(self, key: jax.Array, h: jax.Array) -> jax.Array:
        """Bits v [rows, visible] given h, of a restricted machine."""
        return draw_bits(key, self.visible_means(h))

    def start(self, key: jax.Array, num_chains: int) -> jax.Array:
        """Visible bits [chains, visible] of the machine without couplings."""
        shape = (num_chains, self.visible.shape[0])
        return draw_bits(key, jnp.broadcast_to(jax.nn.sigmoid(self.visible), shape))

    def free_energy(self, v: jax.Array) -> jax.Array:
        """F(v) [rows] in nats, of hidden units without couplings among each other."""
        quadratic = 0.0 if self.lateral is None else 0.5 * jnp.sum(v @ self.lateral * v, axis=-1)
        return -v @ self.visible - quadratic - jax.nn.softplus(self.hidden_inputs(v)).sum(axis=-1)


def draw_bits(key: jax.Array, means: jax.Array) -> jax.Array:
    """Independent bits, float32 in the shape of their means."""
    return (uniform(with_generator(key, "threefry13"), means.shape) < means).astype(jnp.float32)


def visible_energy(units: Units, v: jax.Array) -> jax.Array:
    """The part of E(v, h) that no hidden bit is in, -b'v - 1/2 v'Lv [rows]: F without hidden."""
    none = units.replace(hidden=units.hidden[:0], weights=units.weights[:, :0], deep=None)
    return none.free_energy(v)
