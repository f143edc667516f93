"""True bits with an unbiased gradient: the DisARM estimator.

Dong, Mnih and Tucker, "DisARM: An Antithetic Gradient Estimator for Binary Latent Variables" (2020,
arXiv 2006.10680), equation 10. Two draws of all bits of a cell, b from u and b~ from 1 - u, decide
the logits' gradient by the difference of their losses f; no bit is relaxed, so the bound that is
trained on is a bound, and its gradient is exact on average for any decoder.
"""

from typing import Any

import jax
import jax.numpy as jnp

from qbm_jax.feed.minibatches import Minibatch
from qbm_jax.machine import boltzmann
from qbm_jax.model.batch_norm import followed_in_part
from qbm_jax.model.relaxations import open_uniform
from qbm_jax.model.vae import VAE, Params
from qbm_jax.objective.bound import Terms, observe


def terms(
    vae: VAE, params: Params, key: jax.Array, cells: Minibatch, sharpness: None = None
) -> Terms:
    """The terms of `bound.terms` at two antithetic draws of true bits, for factorial posteriors.

    The reconstruction is the mean over both draws, which share all other random variables of the
    likelihood. The KL terms are exact. Consumes the key.

    Args:
      vae: the model; its relaxation is not used.
      params: its parameters.
      key: for the draws.
      cells: counts and experimental batches.
      sharpness: not used, as true bits have none.
    """
    del sharpness
    key_latent, key_observation = jax.random.split(key)
    logits: Any = vae.encode(params, cells.counts)  # factorial: an array
    bits = antithetic_bits(key_latent, logits)
    decoder = followed_in_part(params["decoder"], 1 / len(bits))  # it alone reads the bits
    of_each = {**params, "decoder": decoder}
    losses, library_kl = jax.vmap(
        lambda b: observe(vae, of_each, key_observation, boltzmann.bits_to_spins(b), cells)
    )(bits)
    kl_terms = vae.posterior.draw(key_latent, params["prior"], logits)  # its zeta is not used
    slope = jax.lax.stop_gradient(logits_slope(logits, bits, losses))
    # The bracket is exactly 0: it carries the slope to the encoder and changes no value.
    carrier = jnp.sum(slope * (logits - jax.lax.stop_gradient(logits)), axis=-1)
    return Terms(
        reconstruction=losses.mean(axis=0) + carrier,
        entropy=kl_terms.entropy,
        expected_energy=kl_terms.expected_energy,
        library_kl=library_kl[0],
    )


def antithetic_bits(key: jax.Array, logits: jax.Array) -> jax.Array:
    """Bits b and b~ [2, cells, N], each with P(1) = sigmoid(logit), from u and from 1 - u."""
    q = jax.lax.stop_gradient(jax.nn.sigmoid(logits))
    u = open_uniform(key, logits)
    return jnp.stack([1 - u < q, u < q]).astype(logits.dtype)


def logits_slope(logits: jax.Array, bits: jax.Array, losses: jax.Array) -> jax.Array:
    """The estimate of d E[f] / d logits [cells, N] from bits [2, cells, N], losses f [2, cells].

    1/2 (f(b) - f(b~)) (-1)^b~ 1[b != b~] sigmoid(|l|); the middle two factors are b - b~.
    """
    difference = 0.5 * (losses[0] - losses[1])[:, None]
    return difference * (bits[0] - bits[1]) * jax.nn.sigmoid(jnp.abs(logits))
