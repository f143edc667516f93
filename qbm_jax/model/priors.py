"""Priors over the latents, each with the posterior family that goes with it.

Every prior is written as p(z) = exp(-E(z)) / Z, so that one formula serves them all:

    KL(q || p) = -H(q) + E_q[E(z)] + log Z.

For a factorial posterior of binary latents with logits l the mean spins are m = tanh(l/2), and the
expected energy is exact because J has a zero diagonal. A posterior in two groups: `posteriors`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.model import relaxations
from qbm_jax.model.gaussian_mixture import (
    factorised_vamp_prior,
    gaussian_mixture_prior,
    vamp_prior,
)
from qbm_jax.model.latent_laws import (
    LOG_TWO_PI,
    bernoulli_entropy,
    draw_normal,
    draw_spins,
    mean_and_log_sd,
    mean_spins,
    normal_cross_entropy,
    normal_entropy,
    normal_information,
    normal_log_q,
    spins_log_q,
)
from qbm_jax.model.made import made_prior
from qbm_jax.model.prior import Prior
from qbm_jax.model.relaxations import Relax, Sharpness
from qbm_jax.runtime.options import check, choice, not_negative

RELAX = relaxations.build("spike_exponential")


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

    return Prior(
        title="Gaussian",
        relax=None,
        couplings=False,
        outputs_per_latent=2,
        init=lambda key, num_latents: {},
        project=lambda params: params,
        entropy=normal_entropy,
        energy=energy,
        expected_energy=lambda params, posterior: normal_cross_entropy(posterior),
        log_z=lambda params: jnp.zeros(()),
        log_q=normal_log_q,
        information=normal_information,
        draw=draw_normal,
        embed=lambda posterior: mean_and_log_sd(posterior)[0],
        sample=lambda key, params, shape: jax.random.normal(key, shape),
    )


PRIORS: dict[str, Callable[[Relax], Prior]] = {
    "boltzmann": boltzmann_prior,
    "bernoulli": bernoulli_prior,
    "gaussian": gaussian_prior,
    "rbm": rbm_prior,
    "gaussian_mixture": gaussian_mixture_prior,
    "vamp": vamp_prior,
    "vamp_factorised": factorised_vamp_prior,
    "made": lambda relax: made_prior(relax, bernoulli_prior),
}


def has_bounds(prior: str, relaxation: str) -> bool:
    """Whether numbers of this prior under this relaxation are bounds.

    Relaxed bits that are no bits smeared by some r(zeta | b) have no density under a law of spins.
    """
    return not build(prior).binary or relaxations.RELAXATIONS[relaxation].smears


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
    prior = PRIORS[name](relax)
    called = prior.model_name or ("qbmvae" if prior.couplings else f"{name}_vae")
    prior = prior._replace(name=name, model_name=called)
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
