"""Laws of independent latents: spins by their logits, normal numbers by mean and log s.d."""

import math

import jax
import jax.numpy as jnp

from qbm_jax.machine import boltzmann
from qbm_jax.model.log1p import softplus
from qbm_jax.model.relaxations import Sharpness

LOG_TWO_PI = math.log(2 * math.pi)
LOG_LEAST_VARIANCE = math.log(1e-4)  # of scvi-tools


def mean_spins(logits: jax.Array) -> jax.Array:
    """Posterior mean spins m = tanh(l/2) [cells, latents], from -1 to 1."""
    return jnp.tanh(0.5 * logits)


def bernoulli_entropy(logits: jax.Array) -> jax.Array:
    """H(q) = sum_i [softplus(l_i) - l_i sigmoid(l_i)] in nats, [cells]."""
    return jnp.sum(softplus(logits) - logits * jax.nn.sigmoid(logits), axis=-1)


def spins_log_q(logits: jax.Array, spins: jax.Array) -> jax.Array:
    """Log probability of spins [cells, latents] that are independent, [cells]."""
    return jnp.sum(jax.nn.log_sigmoid(spins * logits), axis=-1)


def draw_spins(key: jax.Array, logits: jax.Array) -> jax.Array:
    """Independent spins of the logits' shape. Consumes the key."""
    bits = jax.random.bernoulli(key, jax.nn.sigmoid(logits))
    return boltzmann.bits_to_spins(bits.astype(logits.dtype))


def mean_and_log_sd(posterior: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log s.d., each [cells, latents], of a normal posterior [cells, 2 latents]."""
    mean, log_sd = jnp.split(posterior, 2, axis=-1)
    return mean, log_sd


def from_log_variance(outputs: jax.Array) -> jax.Array:
    """A normal posterior [cells, 2 latents] of means and log variances, each variance 1e-4 more."""
    mean, log_variance = mean_and_log_sd(outputs)
    log_sd = 0.5 * jnp.logaddexp(log_variance, LOG_LEAST_VARIANCE)
    return jnp.concatenate([mean, log_sd], axis=-1)


def normal_entropy(posterior: jax.Array) -> jax.Array:
    """H(q) of a diagonal normal posterior in nats, [cells]."""
    _, log_sd = mean_and_log_sd(posterior)
    return jnp.sum(log_sd + 0.5 * (1 + LOG_TWO_PI), axis=-1)


def normal_cross_entropy(posterior: jax.Array) -> jax.Array:
    """Minus the log density of the standard normal law, averaged over the posterior, [cells]."""
    mean, log_sd = mean_and_log_sd(posterior)
    return 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_sd) + LOG_TWO_PI, axis=-1)


def normal_information(posterior: jax.Array) -> jax.Array:
    """KL of each latent's normal law to the standard normal one, [cells, latents]."""
    each = jnp.stack(mean_and_log_sd(posterior), axis=-1)  # one latent's posterior a row
    return normal_cross_entropy(each) - normal_entropy(each)


def normal_log_q(posterior: jax.Array, latents: jax.Array) -> jax.Array:
    """Log density of latents [cells, latents] under the diagonal normal posterior, [cells]."""
    mean, log_sd = mean_and_log_sd(posterior)
    deviation = (latents - mean) * jnp.exp(-log_sd)
    return -jnp.sum(0.5 * (jnp.square(deviation) + LOG_TWO_PI) + log_sd, axis=-1)


def draw_normal(key: jax.Array, posterior: jax.Array, sharpness: Sharpness = None) -> jax.Array:
    """One draw of the diagonal normal posterior [cells, latents], reparametrised."""
    del sharpness
    mean, log_sd = mean_and_log_sd(posterior)
    return mean + jnp.exp(log_sd) * jax.random.normal(key, mean.shape)
