"""What is differentiated: the surrogate of the bound, and the losses of the public codes.

For the Boltzmann prior log Z has no closed form, but its gradient is -E_p[grad E], so the loss that
is differentiated replaces log Z by minus the mean energy of negatives drawn from the prior with
their gradient stopped. That surrogate's value is not a bound and is never reported as one.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from qbm_jax.feed.minibatches import Minibatch
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.model.relaxations import Sharpness
from qbm_jax.model.vae import VAE, Params
from qbm_jax.objective import disarm, public_codes
from qbm_jax.objective.bound import Terms, terms, weighted_loss


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
    num_cells: int = 1,
    sharpness: Sharpness = None,
    *,
    terms_of: Callable[..., Terms] = terms,
) -> tuple[jax.Array, Terms]:
    """The loss whose gradient trains encoder, decoder and prior together.

    Args:
      vae: the model.
      params: its parameters.
      key: for one draw from the posterior of each cell.
      cells: the minibatch.
      negatives: spins [chains, spins] drawn from the prior; None where log Z has a closed form.
      kl_weight: weight of all KL terms (1 for the bound).
      num_cells: number of training cells, which share the KL of the genes' random variables.
      sharpness: of the relaxation in this step; None for the model's own.
      terms_of: gives the terms of the bound, with the gradients that train on it.

    Returns:
      The surrogate loss (mean per cell) and the terms of the bound.
    """
    params = {**params, "prior": vae.prior.project(params["prior"])}
    values = terms_of(vae, params, key, cells, sharpness)
    if vae.prior.log_z is None:
        log_z = log_z_surrogate(params["prior"], negatives)
    else:
        log_z = vae.prior.log_z(params["prior"])
    return weighted_loss(vae, params, values, log_z, kl_weight, num_cells), values


Objective = Callable[..., tuple[jax.Array, Terms]]  # the signature of `surrogate_loss`

OBJECTIVES: dict[str, Objective] = {
    "bound": surrogate_loss,
    "disarm": functools.partial(surrogate_loss, terms_of=disarm.terms),
    "qbmvae_public": public_codes.qbmvae_public,
    "kaiwu_qvae": public_codes.kaiwu_qvae,
}
