"""The evidence lower bound, its terms by name, and the surrogate whose gradient is used.

    -ELBO = E_q[-log p(x | zeta, batch)] - H(q) + E_q[E(s)] + log Z

All terms are per cell and in nats. For the Boltzmann prior log Z has no closed form, but its
gradient is -E_p[grad E], so the loss that is differentiated replaces log Z by minus the mean energy
of negatives drawn from the prior with their gradient stopped. That surrogate's value is not a bound
and is never reported as one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax import boltzmann
from qbm_jax.boltzmann import Boltzmann
from qbm_jax.minibatches import Minibatch
from qbm_jax.vae import VAE, Params, log_likelihood


class Terms(NamedTuple):
    """Terms of the bound per cell [cells], in nats.

    Attributes:
      reconstruction: -log p(x | zeta, batch), one draw of zeta from the posterior.
      entropy: H(q), exact.
      expected_energy: E_q[E], exact.
    """

    reconstruction: jax.Array
    entropy: jax.Array
    expected_energy: jax.Array


def terms(vae: VAE, params: Params, key: jax.Array, cells: Minibatch) -> Terms:
    """The terms of the bound that need no partition function. Consumes the key.

    Args:
      vae: the model.
      params: its parameters.
      key: for one draw from the posterior of each cell.
      cells: counts and experimental batches.
    """
    # q(z | x): the encoder sees counts only.
    posterior = vae.encode(params, cells.counts)

    # E_q[-log p(x | zeta, c)]: one draw, reparametrised (or relaxed) so that gradients pass.
    zeta = vae.prior.draw(key, posterior)
    reconstruction = -log_likelihood(vae, params, zeta, cells)

    # KL - log Z = -H(q) + E_q[E(s)]: exact, so the prior shapes the encoder without any relaxation.
    return Terms(
        reconstruction=reconstruction,
        entropy=vae.prior.entropy(posterior),
        expected_energy=vae.prior.expected_energy(params["prior"], posterior),
    )


def kl(values: Terms, log_z: jax.Array | float) -> jax.Array:
    """KL(q || p) per cell, in nats."""
    return values.expected_energy - values.entropy + log_z


def elbo(values: Terms, log_z: jax.Array | float) -> jax.Array:
    """The bound on log p(x | batch) per cell, in nats; it needs log Z, so it must be given."""
    return -values.reconstruction - kl(values, log_z)


def log_z_surrogate(params: Boltzmann, negatives: jax.Array) -> jax.Array:
    """A scalar whose gradient estimates that of log Z; its value means nothing.

    grad log Z = -E_p[grad E], so this is MINUS the mean energy of the negatives [chains, spins].
    """
    return -jnp.mean(boltzmann.energy(params, jax.lax.stop_gradient(negatives)))


def surrogate_loss(
    vae: VAE,
    params: Params,
    key: jax.Array,
    cells: Minibatch,
    negatives: jax.Array | None,
    kl_weight: jax.Array | float = 1.0,
) -> tuple[jax.Array, Terms]:
    """The loss whose gradient trains encoder, decoder and prior together.

    Args:
      vae: the model.
      params: its parameters.
      key: for one draw from the posterior of each cell.
      cells: the minibatch.
      negatives: spins [chains, spins] drawn from the prior; None where log Z has a closed form.
      kl_weight: weight of the KL term (1 for the bound).

    Returns:
      The surrogate loss (mean per cell) and the terms of the bound.
    """
    params = {**params, "prior": vae.prior.project(params["prior"])}
    values = terms(vae, params, key, cells)
    if vae.prior.log_z is None:
        log_z = log_z_surrogate(params["prior"], negatives)
    else:
        log_z = vae.prior.log_z(params["prior"])
    loss = jnp.mean(values.reconstruction + kl_weight * kl(values, log_z))
    return loss, values
