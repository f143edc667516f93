"""Latents that all tokens of a sequence share, with a prior of `qbm_jax.model.priors`.

    -log p(x) <= E_q[masked bound of x given s] + KL(q(s | x) || p(s)),

with the posterior q factorial, read off the whole sequence by an encoder. The network reads spins
as they are (relaxation straight_through), so the value is a bound. KL is exact up to log Z, which
the machine's own methods give; for the autoregressive prior a draw estimates E_q[E], unbiased.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax import partition, samplers
from qbm_jax.diffusion.network import NetworkShape, Params
from qbm_jax.machine.enumeration import MAX_SPINS
from qbm_jax.model import posteriors, priors, relaxations
from qbm_jax.model.prior import Prior
from qbm_jax.objective.surrogate import log_z_surrogate
from qbm_jax.samplers.base import Sampler

ENCODER_LAYERS, MADE_WIDTH, NUM_CHAINS = 1, 64, 64
PRIOR_SWEEPS = 500  # before spins are read, where there are too many to enumerate


class Latent(NamedTuple):
    """A draw from the posterior.

    Attributes:
      read: what the network is conditioned on [rows, N].
      energy_minus_entropy: KL(q || p) - log Z [rows], in nats.
    """

    read: jax.Array
    energy_minus_entropy: jax.Array


def has_latents(shape: NetworkShape) -> bool:
    """Whether sequences have latents."""
    return shape.options.latents != "none"


def prior_of(shape: NetworkShape) -> Prior:
    """The prior, whose spins are read as they are."""
    return priors.build(shape.options.latents, relaxations.build("straight_through"))


def init(shape: NetworkShape, key: jax.Array, tokens: jax.Array) -> Params:
    """Parameters of encoder and prior, for tokens [rows, length]; none without latents."""
    if not has_latents(shape):
        return {}
    key_encoder, key_prior = jax.random.split(key)
    prior, number = prior_of(shape), shape.options.num_latents
    own = {"made_width": MADE_WIDTH} if "made_width" in prior.init_options else {}
    return {
        "encoder": _encoder(shape).init(key_encoder, tokens)["params"],
        "prior": prior.init(key_prior, number, **own),
    }


def draw_posterior(
    shape: NetworkShape, params: Params, key: jax.Array, tokens: jax.Array
) -> Latent:
    """One draw a row for tokens [rows, length], through which gradients pass. Consumes the key."""
    prior = prior_of(shape)
    outputs = _encoder(shape).apply({"params": params["encoder"]}, tokens)
    encoded = jnp.mean(outputs, axis=1)
    own = prior.project(params["prior"])
    drawn = posteriors.factorial(prior).draw(key, own, encoded)
    return Latent(drawn.zeta, drawn.expected_energy - drawn.entropy)


def _encoder(shape: NetworkShape) -> Any:
    outputs = shape.options.num_latents * prior_of(shape).outputs_per_latent
    return shape.network(outputs, ENCODER_LAYERS)


def negative_phase(shape: NetworkShape) -> Sampler | None:
    """What draws the prior's spins in a training; None where log Z has a closed form."""
    if not has_latents(shape) or prior_of(shape).log_z is not None:
        return None
    return samplers.build("gibbs", **samplers.negative_phase()["gibbs"])


def log_z_in_training(
    shape: NetworkShape, params: Params, negatives: jax.Array | None
) -> jax.Array:
    """A scalar with the gradient of log Z: itself, or a surrogate from spins [chains, N]."""
    prior = prior_of(shape)
    own = prior.project(params["prior"])
    if prior.log_z is not None:
        return prior.log_z(own)
    assert negatives is not None, "a machine is trained with negatives"
    return log_z_surrogate(own, negatives)


def log_z(shape: NetworkShape, params: Params, key: jax.Array) -> tuple[float, float]:
    """Log Z in nats and its standard error; not below the truth in expectation.

    Machines of more spins than can be enumerated are annealed, and the reverse estimate counts.
    """
    prior = prior_of(shape)
    own = prior.project(params["prior"])
    if prior.log_z is not None:
        return float(prior.log_z(own)), 0.0
    method = "exact" if shape.options.num_latents <= MAX_SPINS else "ais"
    found = partition.log_z(key, own, method)
    return float(found.reverse), float(found.reverse_standard_error)


def draw_prior(shape: NetworkShape, params: Params, key: jax.Array, number: int) -> jax.Array:
    """Latents of the prior's law [number, N]. Consumes the key."""
    prior, size = prior_of(shape), shape.options.num_latents
    own = prior.project(params["prior"])
    if prior.sample is not None:
        return prior.sample(key, own, (number, size))
    name, options = ("exact", {}) if size <= MAX_SPINS else ("gibbs", {"num_steps": PRIOR_SWEEPS})
    sampler = samplers.build(name, **options)
    key_init, key_draw = jax.random.split(key)
    return sampler.sample(key_draw, own, sampler.init(key_init, own, number))[0]
