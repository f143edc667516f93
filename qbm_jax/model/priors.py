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

from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.model.relaxations import GrowingSharpness
from qbm_jax.runtime.options import check, choice, not_negative

Draw = Callable[..., jax.Array]  # (key, posterior, sharpness=None) -> [cells, latents]
Sharpness = jax.Array | float | GrowingSharpness | None  # None: the relaxation's own


class Prior(NamedTuple):
    """A prior and its posterior family.

    `posterior` is the encoder's output [cells, outputs]; every result is per cell, in nats.

    Attributes:
      outputs_per_latent: how many numbers the encoder gives per latent.
      init: (key, num_latents) -> parameters.
      project: params -> params that obey their constraints (J symmetric, zero diagonal); it changes
        no value that training reaches, but makes the gradient obey them too.
      entropy: posterior -> H(q) [cells].
      energy: (params, latents [cells, latents]) -> E [cells]; at the mean spins of spins that are
        independent it is their expected energy.
      expected_energy: (params, posterior) -> E_q[E] [cells].
      log_z: params -> log Z where it has a closed form; None where it needs samples.
      draw: (key, posterior, sharpness=None) -> what the decoder reads [cells, latents]; a sharpness
        overrides the relaxation's own.
      embed: posterior -> the deterministic embedding [cells, latents].
    """

    outputs_per_latent: int
    init: Callable[[jax.Array, int], Any]
    project: Callable[[Any], Any]
    entropy: Callable[[jax.Array], jax.Array]
    energy: Callable[[Any, jax.Array], jax.Array]
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

    def draw(key: jax.Array, logits: jax.Array, sharpness: Sharpness = None) -> jax.Array:
        return boltzmann.bits_to_spins(relax(key, logits, sharpness))

    return Prior(
        outputs_per_latent=1,
        init=lambda key, num_latents: Boltzmann(
            J=jnp.zeros((num_latents, num_latents)), h=jnp.zeros(num_latents)
        ),
        entropy=bernoulli_entropy,
        project=lambda params: params.replace(J=boltzmann.symmetrise(params.J)),
        energy=boltzmann.energy,
        expected_energy=lambda params, logits: boltzmann.energy(params, mean_spins(logits)),
        log_z=None,
        draw=draw,
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
        init=lambda key, num_latents: {"h": jnp.zeros(num_latents)},
        project=lambda params: params,
        energy=lambda params, spins: -spins @ params["h"],
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

    def energy(params: dict[str, jax.Array], latents: jax.Array) -> jax.Array:
        del params
        return 0.5 * jnp.sum(jnp.square(latents) + log_two_pi, axis=-1)

    def expected_energy(params: dict[str, jax.Array], posterior: jax.Array) -> jax.Array:
        del params
        mean, log_sd = split(posterior)
        return 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_sd) + log_two_pi, axis=-1)

    def draw(key: jax.Array, posterior: jax.Array, sharpness: Sharpness = None) -> jax.Array:
        del sharpness
        mean, log_sd = split(posterior)
        return mean + jnp.exp(log_sd) * jax.random.normal(key, mean.shape)

    return Prior(
        outputs_per_latent=2,
        init=lambda key, num_latents: {},
        entropy=entropy,
        project=lambda params: params,
        energy=energy,
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
WITH_COUPLINGS = ("boltzmann", "rbm")
# Names of models that have none of their own, which the results of each prior are kept under.
MODEL_NAMES = {
    "boltzmann": "qbmvae",
    "rbm": "qbmvae",
    "bernoulli": "bernoulli_vae",
    "gaussian": "gaussian_vae",
}


def build(name: str, relax: Draw, couplings_scale: float = 0.0) -> Prior:
    """The prior `name`.

    Args:
      name: a name of `PRIORS`.
      relax: (key, logits, sharpness=None) -> relaxed bits in [0, 1] (binary priors).
      couplings_scale: the couplings of a machine start as independent normal numbers of standard
        deviation couplings_scale / sqrt(N); 0 starts them at zero.

    Raises:
      InputError: no prior has this name, or a scale that is negative or for a prior without
        couplings.
    """
    name = check("prior", name, choice(PRIORS))
    couplings_scale = check("couplings_scale", couplings_scale, not_negative())
    prior = PRIORS[name](relax)
    if couplings_scale == 0:
        return prior
    if name not in WITH_COUPLINGS:
        raise InputError(f"prior {name} has no couplings; leave couplings_scale at 0")

    def init(key: jax.Array, num_latents: int) -> Boltzmann:
        upper = jnp.triu(jax.random.normal(key, (num_latents, num_latents)), 1)
        J = couplings_scale / math.sqrt(num_latents) * (upper + upper.T)
        return prior.project(prior.init(key, num_latents).replace(J=J))

    return prior._replace(init=init)
