"""Posterior families q(z | x): one draw with its share of the bound, from what the encoder gives.

* `factorial`: independent latents. Entropy and expected energy are exact, whatever is drawn; where
  the prior has no closed form of the energy, a draw estimates it, unbiased.
* `two_groups`: spins in two groups, q(s | x) = q1(s1 | x) q2(s2 | x, s1), each factorial, so that
  spins may depend on each other given the cell. The first group is the first side of a restricted
  machine (`priors.num_visible`). Entropy and energy are estimates from one draw of s1, unbiased:

    H(q)   = H(q1) + E_q1[H(q2 | s1)]
    E_q[E] = E(m1, 0) + E_q1[E(s1, m2) - E(s1, 0)],   m1, m2 mean spins of q1 and of q2 given s1,

  where E is multilinear and J11, J22 have a zero diagonal: the first term is exact for the inside
  of group 1, the bracket holds the couplings between the groups and the inside of group 2.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.model import priors, relaxations
from qbm_jax.model.latent_laws import bernoulli_entropy, mean_spins
from qbm_jax.model.prior import Prior
from qbm_jax.model.priors import num_visible
from qbm_jax.model.relaxations import Relax, Sharpness
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import check, choice

MOST_FLIPS = 32  # of a cell's spins, behind a gradient; of more spins, random ones


class Drawn(NamedTuple):
    """A draw from the posterior and the terms of the KL.

    Attributes:
      zeta: what the decoder reads [cells, N].
      entropy: H(q) [cells], in nats, exact or an unbiased estimate.
      expected_energy: E_q[E] [cells], in nats, exact or an unbiased estimate.
    """

    zeta: jax.Array
    entropy: jax.Array
    expected_energy: jax.Array


class Posterior(NamedTuple):
    """A posterior family; `encoded` is what `VAE.encode` gives, `params` are the prior's.

    Attributes:
      factorial: whether `encoded` is an array [cells, outputs] of independent latents' parameters,
        which the functions of `Prior` read as well; `Groups` otherwise.
      draw: (key, params, encoded, sharpness=None) -> Drawn.
      embed: (params, encoded) -> embedding [cells, N] and its energy [cells]; deterministic.
      draw_latents: (key, encoded) -> latents [cells, N], spins that are not relaxed, and
        log q(latents | x) [cells].
    """

    factorial: bool
    draw: Callable[..., Drawn]
    embed: Callable[[Any, Any], tuple[jax.Array, jax.Array]]
    draw_latents: Callable[[jax.Array, Any], tuple[jax.Array, jax.Array]]


class Groups(NamedTuple):
    """What the encoder gives for a posterior in two groups.

    Attributes:
      logits: those of the first group, and those of the second before it knows the first,
        [cells, N].
      shift: spins of the first group [cells, N1] -> what they add to the logits of the second.
    """

    logits: jax.Array
    shift: Partial

    def first(self) -> jax.Array:
        """Logits of the first group [cells, N1]."""
        return self.logits[:, : num_visible(self.logits.shape[-1])]

    def second(self, spins: jax.Array) -> jax.Array:
        """Logits of the second group [cells, N - N1], given (mean) spins of the first."""
        return self.logits[:, num_visible(self.logits.shape[-1]) :] + self.shift(spins)


def factorial(prior: Prior) -> Posterior:
    """Independent latents, with the prior's own draw, entropy and expected energy.

    Where the expected energy has no closed form, the energy of a draw estimates it: of the numbers
    that the decoder reads, or of true spins. The embedding then has the energy at itself: a
    mean-field value, not E_q[E].
    """

    def draw(key: jax.Array, params: Any, encoded: jax.Array, sharpness: Sharpness = None) -> Drawn:
        zeta = prior.draw(key, encoded, sharpness)
        if prior.expected_energy is None:
            energy = _estimated_energy(key, prior, params, encoded, zeta)
        else:
            energy = prior.expected_energy(params, encoded)
        return Drawn(zeta=zeta, entropy=prior.entropy(encoded), expected_energy=energy)

    def embed(params: Any, encoded: jax.Array) -> tuple[jax.Array, jax.Array]:
        embedding = prior.embed(encoded)
        if prior.expected_energy is None:
            return embedding, prior.energy(params, embedding)
        return embedding, prior.expected_energy(params, encoded)

    def draw_latents(key: jax.Array, encoded: jax.Array) -> tuple[jax.Array, jax.Array]:
        latents = prior.draw_latents(key, encoded)
        return latents, prior.log_q(encoded, latents)

    return Posterior(factorial=True, draw=draw, embed=embed, draw_latents=draw_latents)


def _estimated_energy(
    key: jax.Array, prior: Prior, params: Any, encoded: jax.Array, zeta: jax.Array
) -> jax.Array:
    """An unbiased estimate of E_q[E], [cells]; zeta is relaxed, so true spins are drawn anew."""
    if not prior.binary:
        return prior.energy(params, zeta)
    spins = prior.draw_latents(keys.named(key, "true spins"), encoded)
    places = flipped_places(keys.named(key, "flipped spins"), *spins.shape)
    return energy_of_draw(prior.energy, params, encoded, spins, places)


def flipped_places(key: jax.Array, num_cells: int, num_spins: int) -> jax.Array:
    """Which spins of each cell are flipped for a gradient [cells, flips]: all, or random ones.

    Consumes the key.
    """
    places = jnp.broadcast_to(jnp.arange(num_spins), (num_cells, num_spins))
    if num_spins <= MOST_FLIPS:
        return places
    noise = jax.random.uniform(key, places.shape)
    return jax.lax.top_k(noise, MOST_FLIPS)[1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def energy_of_draw(
    energy: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    logits: jax.Array,
    spins: jax.Array,
    places: jax.Array,
) -> jax.Array:
    """E of spins drawn by these logits, [cells]; its gradient is that of E_q[E] on average.

    By each logit it is q (1 - q) times the difference that flipping its spin makes, all others as
    drawn: local expectation gradients, Titsias and Lazaro-Gredilla 2015. It takes as many energies
    as there are flips, and no relaxation.

    Args:
      energy: (params, spins [cells, spins]) -> [cells].
      params: of the energy.
      logits: [cells, spins].
      spins: drawn by them [cells, spins].
      places: of the spins that are flipped [cells, flips], see `flipped_places`; random ones stand
        for all, each as many times as it takes.
    """
    del logits, places
    return energy(params, spins)


@energy_of_draw.defjvp
def _energy_of_draw_jvp(
    energy: Callable[[Any, jax.Array], jax.Array],
    primals: tuple[Any, jax.Array, jax.Array, jax.Array],
    tangents: tuple[Any, jax.Array, jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    params, logits, spins, places = primals
    value, change = jax.jvp(lambda p: energy(p, spins), (params,), (tangents[0],))
    num_spins, num_flips = spins.shape[-1], places.shape[-1]

    def flipped(place: jax.Array) -> jax.Array:
        flip = 1 - 2 * jax.nn.one_hot(place, num_spins, dtype=spins.dtype)
        return energy(params, spins * flip)

    energies = jax.vmap(flipped, in_axes=-1, out_axes=-1)(places)
    own, logit, tangent = (
        jnp.take_along_axis(each, places, axis=-1) for each in (spins, logits, tangents[1])
    )
    slope = jax.nn.sigmoid(logit) * jax.nn.sigmoid(-logit) * own * (value[:, None] - energies)
    return value, change + num_spins / num_flips * jnp.sum(slope * tangent, axis=-1)


def two_groups(prior: Prior) -> Posterior:
    """Spins in two groups, the second conditioned on the bits of the first.

    The embedding holds the mean spins m1 of the first group, and those of the second given m1 in
    the place of s1. Its energy is E at these spins: a mean-field value, not E_q[E]. An average over
    draws would take many of them, and an embedding should not depend on a key.

    Raises:
      InputError: the prior is not binary, its energy is not linear in each spin, or its relaxed
        bits do not tell the bit.
    """
    relax = _telling(prior)

    def draw(key: jax.Array, params: Any, encoded: Groups, sharpness: Sharpness = None) -> Drawn:
        key_first, key_second = jax.random.split(key)
        first = encoded.first()
        zeta_first = relax(key_first, first, sharpness)
        spins = _spins_of(zeta_first, first)
        second = encoded.second(spins)
        zeta_second = relax(key_second, second, sharpness)
        return Drawn(
            zeta=boltzmann.bits_to_spins(_join(zeta_first, zeta_second)),
            entropy=bernoulli_entropy(first) + bernoulli_entropy(second),
            expected_energy=_energy(prior, params, mean_spins(first), spins, mean_spins(second)),
        )

    def embed(params: Any, encoded: Groups) -> tuple[jax.Array, jax.Array]:
        first = mean_spins(encoded.first())
        embedding = _join(first, mean_spins(encoded.second(first)))
        return embedding, prior.energy(params, embedding)

    def draw_latents(key: jax.Array, encoded: Groups) -> tuple[jax.Array, jax.Array]:
        key_first, key_second = jax.random.split(key)
        logits = encoded.first()
        first = prior.draw_latents(key_first, logits)
        conditional = encoded.second(first)
        second = prior.draw_latents(key_second, conditional)
        log_q = prior.log_q(logits, first) + prior.log_q(conditional, second)
        return _join(first, second), log_q

    return Posterior(factorial=False, draw=draw, embed=embed, draw_latents=draw_latents)


def _telling(prior: Prior) -> Relax:
    """The prior's relaxation, where it tells the bit."""
    if prior.relax is None or not prior.multilinear:
        usable = ", ".join(priors.those_that(lambda each: each.multilinear))
        raise InputError(f"posterior two_groups needs a multilinear binary prior; use {usable}")
    if not prior.relax.law.tells_bit:
        raise InputError(
            f"posterior two_groups needs a relaxation that tells the bit, got {prior.relax.name}; "
            f"use {' or '.join(relaxations.those_that('tells_bit'))}"
        )
    return prior.relax


def _spins_of(zeta: jax.Array, logits: jax.Array) -> jax.Array:
    """The spins of relaxed bits, with the gradient of their means.

    Straight through q, not zeta: E(s) is linear in each spin, so for it this gradient is exact on
    average, while zeta's is 0 at bit 0 and holds the relaxation's slope at bit 1. What passes
    through the second group's logits is not linear in s1, and there it is an approximation.
    """
    q = jax.nn.sigmoid(logits)
    bits = (zeta > 0).astype(logits.dtype)
    return boltzmann.bits_to_spins(bits + (q - jax.lax.stop_gradient(q)))  # the bracket is 0


def _energy(prior: Prior, params: Any, m1: jax.Array, s1: jax.Array, m2: jax.Array) -> jax.Array:
    """E(m1, 0) + E(s1, m2) - E(s1, 0), [cells]."""
    none = jnp.zeros_like(m2)
    between = prior.energy(params, _join(s1, m2)) - prior.energy(params, _join(s1, none))
    return prior.energy(params, _join(m1, none)) + between


def _join(first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.concatenate([first, second], axis=-1)


FAMILIES: dict[str, Callable[[Prior], Posterior]] = {
    "factorial": factorial,
    "two_groups": two_groups,
}


def build(name: str, prior: Prior) -> Posterior:
    """The posterior family `name` for this prior.

    Args:
      name: a name of `FAMILIES`.
      prior: the prior.

    Raises:
      InputError: the name is unknown, or the family does not take this prior or its relaxation.
    """
    return FAMILIES[check("posterior", name, choice(FAMILIES))](prior)
