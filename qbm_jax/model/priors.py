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
from qbm_jax.model import relaxations
from qbm_jax.model.latent_laws import (
    LOG_TWO_PI,
    bernoulli_entropy,
    draw_normal,
    draw_spins,
    mean_and_log_sd,
    mean_spins,
    normal_entropy,
    normal_log_q,
    spins_log_q,
)
from qbm_jax.model.relaxations import Relax, Sharpness
from qbm_jax.runtime.options import check, choice, not_negative

RELAX = relaxations.build("spike_exponential")
CERTAIN = 1e6  # logits of a posterior that leaves nothing to chance but r(zeta | b)


class Prior(NamedTuple):
    """A prior and its posterior family, with every function that other modules need of it.

    `posterior` is the encoder's output [cells, outputs]: an array [cells, latents] for each of its
    `outputs_per_latent`, side by side. The latents are spins, of which it holds the logits, or real
    numbers. Every result is per cell, in nats.

    Attributes:
      title: its printed name.
      relax: how spins are relaxed on their way to the decoder; None where latents are numbers.
      couplings: whether the prior is a Boltzmann machine with couplings J.
      outputs_per_latent: how many numbers the encoder gives per latent.
      init: (key, num_latents) -> parameters.
      project: params -> params that obey their constraints (J symmetric, zero diagonal); it changes
        no value that training reaches, but makes the gradient obey them too.
      entropy: posterior -> H(q) [cells].
      energy: (params, latents [cells, latents]) -> E [cells]; at the mean spins of spins that are
        independent it is their expected energy.
      expected_energy: (params, posterior) -> E_q[E] [cells].
      log_z: params -> log Z where it has a closed form; None where it needs samples.
      log_q: (posterior, latents [cells, latents]) -> log q(latents) [cells].
      information: posterior -> what each cell tells of each latent [cells, latents]: the KL to the
        latent's law in the prior, of spins to fair ones.
      draw: (key, posterior, sharpness=None) -> what the decoder reads [cells, latents]; a sharpness
        overrides the relaxation's own.
      embed: posterior -> the deterministic embedding [cells, latents].
      sample: (key, params, shape) -> latents of the prior's law, of this shape [cells, latents];
        None where it needs a sampler.
      name: in `PRIORS`; `build` gives it.
    """

    title: str
    relax: Relax | None
    couplings: bool
    outputs_per_latent: int
    init: Callable[[jax.Array, int], Any]
    project: Callable[[Any], Any]
    entropy: Callable[[jax.Array], jax.Array]
    energy: Callable[[Any, jax.Array], jax.Array]
    expected_energy: Callable[[Any, jax.Array], jax.Array]
    log_z: Callable[[Any], jax.Array] | None
    log_q: Callable[[jax.Array, jax.Array], jax.Array]
    information: Callable[[jax.Array], jax.Array]
    draw: Callable[..., jax.Array]
    embed: Callable[[jax.Array], jax.Array]
    sample: Callable[[jax.Array, Any, tuple[int, int]], jax.Array] | None
    name: str = ""

    @property
    def binary(self) -> bool:
        """Whether the latents are spins."""
        return self.relax is not None

    @property
    def model_name(self) -> str:
        """Name under which results are kept of a model that has no name of its own."""
        return "qbmvae" if self.couplings else f"{self.name}_vae"

    def draw_latents(self, key: jax.Array, posterior: jax.Array) -> jax.Array:
        """Latents from the posterior [cells, latents]; spins are not relaxed. Consumes the key."""
        return draw_spins(key, posterior) if self.binary else self.draw(key, posterior)

    def read(self, key: jax.Array, latents: jax.Array) -> jax.Array:
        """What the decoder reads for latents [cells, latents]: spins are smeared by r(zeta | b)."""
        return self.draw(key, CERTAIN * latents) if self.binary else latents


def boltzmann_prior(relax: Relax) -> Prior:
    """Fully connected Boltzmann machine; J starts at zero, so training starts at `bernoulli`."""

    def draw(key: jax.Array, logits: jax.Array, sharpness: Sharpness = None) -> jax.Array:
        return boltzmann.bits_to_spins(relax(key, logits, sharpness))

    return Prior(
        title="Boltzmann",
        relax=relax,
        couplings=True,
        outputs_per_latent=1,
        init=lambda key, num_latents: Boltzmann(
            J=jnp.zeros((num_latents, num_latents)), h=jnp.zeros(num_latents)
        ),
        project=lambda params: params.replace(J=boltzmann.symmetrise(params.J)),
        entropy=bernoulli_entropy,
        energy=boltzmann.energy,
        expected_energy=lambda params, logits: boltzmann.energy(params, mean_spins(logits)),
        log_z=None,
        log_q=spins_log_q,
        information=lambda logits: math.log(2) - bernoulli_entropy(logits[..., None]),
        draw=draw,
        embed=mean_spins,
        sample=None,
    )


def num_visible(num_latents: int) -> int:
    """Spins of the first side of the restricted machine; the rest are its second side.

    A sampler that takes `num_visible` (gibbs) then updates each side at once.
    """
    return num_latents // 2


def rbm_prior(relax: Relax) -> Prior:
    """Restricted Boltzmann machine: the Boltzmann prior with couplings between two halves only.

    Its energy and its functions are those of the Boltzmann prior, but `project` zeroes the two
    diagonal blocks of J and of its gradient.
    """

    def project(params: Boltzmann) -> Boltzmann:
        second = jnp.arange(params.num_spins) >= num_visible(params.num_spins)
        between = (second[:, None] != second[None, :]).astype(params.J.dtype)
        return params.replace(J=boltzmann.symmetrise(params.dense_J) * between)

    return boltzmann_prior(relax)._replace(title="restricted Boltzmann", project=project)


def bernoulli_prior(relax: Relax) -> Prior:
    """Independent spins with learned fields: the Boltzmann prior at J = 0."""

    def sample(key: jax.Array, params: dict[str, jax.Array], shape: tuple[int, int]) -> jax.Array:
        return draw_spins(key, jnp.broadcast_to(2 * params["h"], shape))

    return boltzmann_prior(relax)._replace(
        title="Bernoulli (J = 0)",
        couplings=False,
        init=lambda key, num_latents: {"h": jnp.zeros(num_latents)},
        project=lambda params: params,
        energy=lambda params, spins: -spins @ params["h"],
        expected_energy=lambda params, logits: -mean_spins(logits) @ params["h"],
        log_z=lambda params: jnp.sum(jnp.logaddexp(params["h"], -params["h"])),
        sample=sample,
    )


def gaussian_prior(relax: Relax) -> Prior:
    """Standard normal prior, diagonal normal posterior (mean, log standard deviation).

    E(z) = |z|^2 / 2 + N/2 log 2 pi, so Z = 1. There is nothing to relax: `relax` is ignored.
    """
    del relax

    def energy(params: dict[str, jax.Array], latents: jax.Array) -> jax.Array:
        del params
        return 0.5 * jnp.sum(jnp.square(latents) + LOG_TWO_PI, axis=-1)

    def expected_energy(params: dict[str, jax.Array], posterior: jax.Array) -> jax.Array:
        del params
        mean, log_sd = mean_and_log_sd(posterior)
        return 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_sd) + LOG_TWO_PI, axis=-1)

    def information(posterior: jax.Array) -> jax.Array:
        each = jnp.stack(mean_and_log_sd(posterior), axis=-1)  # one latent's posterior a row
        return expected_energy({}, each) - normal_entropy(each)

    return Prior(
        title="Gaussian",
        relax=None,
        couplings=False,
        outputs_per_latent=2,
        init=lambda key, num_latents: {},
        project=lambda params: params,
        entropy=normal_entropy,
        energy=energy,
        expected_energy=expected_energy,
        log_z=lambda params: jnp.zeros(()),
        log_q=normal_log_q,
        information=information,
        draw=draw_normal,
        embed=lambda posterior: mean_and_log_sd(posterior)[0],
        sample=lambda key, params, shape: jax.random.normal(key, shape),
    )


PRIORS: dict[str, Callable[[Relax], Prior]] = {
    "boltzmann": boltzmann_prior,
    "bernoulli": bernoulli_prior,
    "gaussian": gaussian_prior,
    "rbm": rbm_prior,
}


def build(name: str, relax: Relax = RELAX, couplings_scale: float = 0.0) -> Prior:
    """The prior `name`.

    Args:
      name: a name of `PRIORS`.
      relax: how spins are relaxed (binary priors).
      couplings_scale: the couplings of a machine start as independent normal numbers of standard
        deviation couplings_scale / sqrt(N); 0 starts them at zero.

    Raises:
      InputError: no prior has this name, the scale is negative, or the prior has no couplings to
        scale.
    """
    name = check("prior", name, choice(PRIORS))
    couplings_scale = check("couplings_scale", couplings_scale, not_negative())
    prior = PRIORS[name](relax)._replace(name=name)
    if couplings_scale == 0:
        return prior
    if not prior.couplings:
        raise InputError(f"prior {name} has no couplings; leave couplings_scale at 0")

    def init(key: jax.Array, num_latents: int) -> Boltzmann:
        upper = jnp.triu(jax.random.normal(key, (num_latents, num_latents)), 1)
        J = couplings_scale / math.sqrt(num_latents) * (upper + upper.T)
        return prior.project(prior.init(key, num_latents).replace(J=J))

    return prior._replace(init=init)


def those_that(holds: Callable[[Prior], bool]) -> tuple[str, ...]:
    """Names of the priors of which this is true."""
    return tuple(name for name in PRIORS if holds(build(name)))
