"""Priors over the latents, each with the posterior family that goes with it.

Every prior is written as p(z) = exp(-E(z)) / Z, so that one formula serves them all:

    KL(q || p) = -H(q) + E_q[E(z)] + log Z.

For binary latents the posterior is factorial with logits l: mean spins m = tanh(l/2), and the
expected energy is exact because J has a zero diagonal.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax import boltzmann
from qbm_jax.boltzmann import Boltzmann
from qbm_jax.errors import InputError

Draw = Callable[[jax.Array, jax.Array], jax.Array]


class Prior(NamedTuple):
    """A prior and its posterior family.

    `posterior` is the encoder's output [cells, outputs]; every result is per cell, in nats.

    Attributes:
      outputs_per_latent: how many numbers the encoder gives per latent.
      init: num_latents -> parameters.
      project: params -> params that obey their constraints (J symmetric, zero diagonal); it changes
        no value that training reaches, but makes the gradient obey them too.
      entropy: posterior -> H(q) [cells].
      expected_energy: (params, posterior) -> E_q[E] [cells].
      log_z: params -> log Z where it has a closed form; None where it needs samples.
      draw: (key, posterior) -> what the decoder reads [cells, latents].
      embed: posterior -> the deterministic embedding [cells, latents].
    """

    outputs_per_latent: int
    init: Callable[[int], Any]
    project: Callable[[Any], Any]
    entropy: Callable[[jax.Array], jax.Array]
    expected_energy: Callable[[Any, jax.Array], jax.Array]
    log_z: Callable[[Any], jax.Array] | None
    draw: Draw
    embed: Callable[[jax.Array], jax.Array]


def mean_spins(logits: jax.Array) -> jax.Array:
    """Posterior mean spins m = tanh(l/2), in [-1, 1]."""
    return jnp.tanh(0.5 * logits)


def bernoulli_entropy(logits: jax.Array) -> jax.Array:
    """H(q) = sum_i [softplus(l_i) - l_i sigmoid(l_i)] in nats, [cells]."""
    return jnp.sum(jax.nn.softplus(logits) - logits * jax.nn.sigmoid(logits), axis=-1)


def boltzmann_prior(relax: Draw) -> Prior:
    """Fully connected Boltzmann machine; J starts at zero, so training starts at `bernoulli`."""
    return Prior(
        outputs_per_latent=1,
        init=lambda num_latents: Boltzmann(
            J=jnp.zeros((num_latents, num_latents)), h=jnp.zeros(num_latents)
        ),
        entropy=bernoulli_entropy,
        project=lambda params: params.replace(J=boltzmann.symmetrise(params.J)),
        expected_energy=lambda params, logits: boltzmann.energy(params, mean_spins(logits)),
        log_z=None,
        draw=lambda key, logits: boltzmann.bits_to_spins(relax(key, logits)),
        embed=mean_spins,
    )


def num_visible(num_latents: int) -> int:
    """Spins of the first side of the restricted machine; the rest are its second side.

    A sampler that takes `num_visible` (gibbs) then updates each side at once.
    """
    return num_latents // 2


def rbm_prior(relax: Draw) -> Prior:
    """Restricted Boltzmann machine: the Boltzmann prior with couplings between two halves only.

    The same energy and the same functions; `project` zeroes the two diagonal blocks of J, and of
    its gradient.
    """

    def project(params: Boltzmann) -> Boltzmann:
        second = jnp.arange(params.num_spins) >= num_visible(params.num_spins)
        between = (second[:, None] != second[None, :]).astype(params.J.dtype)
        return params.replace(J=boltzmann.symmetrise(params.J) * between)

    return boltzmann_prior(relax)._replace(project=project)


def bernoulli_prior(relax: Draw) -> Prior:
    """Independent spins with learned fields: the Boltzmann prior at J = 0."""
    return boltzmann_prior(relax)._replace(
        init=lambda num_latents: {"h": jnp.zeros(num_latents)},
        project=lambda params: params,
        expected_energy=lambda params, logits: -mean_spins(logits) @ params["h"],
        log_z=lambda params: jnp.sum(jnp.logaddexp(params["h"], -params["h"])),
    )


def gaussian_prior(relax: Draw | None = None) -> Prior:
    """Standard normal prior, diagonal normal posterior (mean, log standard deviation).

    E(z) = |z|^2 / 2 + N/2 log 2 pi, so Z = 1. There is nothing to relax: `relax` is ignored.
    """
    del relax
    log_two_pi = math.log(2 * math.pi)

    def split(posterior: jax.Array) -> tuple[jax.Array, jax.Array]:
        return tuple(jnp.split(posterior, 2, axis=-1))

    def entropy(posterior: jax.Array) -> jax.Array:
        _, log_sd = split(posterior)
        return jnp.sum(log_sd + 0.5 * (1 + log_two_pi), axis=-1)

    def expected_energy(params: dict[str, jax.Array], posterior: jax.Array) -> jax.Array:
        del params
        mean, log_sd = split(posterior)
        return 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_sd) + log_two_pi, axis=-1)

    def draw(key: jax.Array, posterior: jax.Array) -> jax.Array:
        mean, log_sd = split(posterior)
        return mean + jnp.exp(log_sd) * jax.random.normal(key, mean.shape)

    return Prior(
        outputs_per_latent=2,
        init=lambda num_latents: {},
        entropy=entropy,
        project=lambda params: params,
        expected_energy=expected_energy,
        log_z=lambda params: jnp.zeros(()),
        draw=draw,
        embed=lambda posterior: split(posterior)[0],
    )


PRIORS = {
    "boltzmann": boltzmann_prior,
    "bernoulli": bernoulli_prior,
    "gaussian": gaussian_prior,
    "rbm": rbm_prior,
}


def build(name: str, relax: Draw) -> Prior:
    """The prior `name`, with `relax`: (key, logits) -> relaxed bits in [0, 1] (binary priors).

    Raises:
      InputError: no prior has this name.
    """
    if name not in PRIORS:
        raise InputError(f"unknown prior {name!r}; choose from {', '.join(PRIORS)}")
    return PRIORS[name](relax)
