"""The losses that training differentiates: the bound's surrogate, and those of public codes.

For the Boltzmann prior log Z has no closed form, but its gradient is -E_p[grad E], so the loss that
is differentiated replaces log Z by minus the mean energy of negatives drawn from the prior with
their gradient stopped. That surrogate's value is not a bound and is never reported as one.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import Minibatch
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.model import priors, relaxations
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

    Raises:
      InputError: no negatives where log Z has no closed form.
    """
    params = {**params, "prior": vae.prior.project(params["prior"])}
    values = terms_of(vae, params, key, cells, sharpness)
    if vae.prior.log_z is not None:
        log_z = vae.prior.log_z(params["prior"])
    elif negatives is not None:
        log_z = log_z_surrogate(params["prior"], negatives)
    else:
        raise InputError(
            f"expected negatives, drawn from the {vae.prior.title} prior, got None; "
            "only a prior whose log Z has a closed form goes without them"
        )
    return weighted_loss(vae, params, values, log_z, kl_weight, num_cells), values


@dataclasses.dataclass(frozen=True)
class Objective:
    """A loss to train on, with the signature of `surrogate_loss`, and what it needs of a model.

    Attributes:
      loss: the loss.
      of_the_bound: whether its KL is the bound's, part by part, so that free bits apply to it.
      factorial: whether it needs independent latents in the posterior.
      true_bits: whether it needs spins that the decoder reads as they are.
      machine: whether it needs a Boltzmann machine as the prior.
    """

    loss: Callable[..., tuple[jax.Array, Terms]]
    of_the_bound: bool = True
    factorial: bool = False
    true_bits: bool = False
    machine: bool = False

    def __call__(self, *inputs: Any, **options: Any) -> tuple[jax.Array, Terms]:
        """The loss of these arguments, and the terms of the bound."""
        return self.loss(*inputs, **options)

    def check(self, name: str, vae: VAE) -> None:
        """Checks that a model has what the objective, known as `name`, needs.

        Raises:
          InputError: the model lacks it.
        """
        prior = vae.prior
        if self.factorial and not vae.posterior.factorial:
            raise InputError(
                f"objective {name} needs posterior factorial, got two_groups; use objective bound"
            )
        if self.machine and not prior.couplings:
            machines = " or ".join(priors.those_that(lambda each: each.couplings))
            raise InputError(
                f"objective {name} needs a machine, got prior {prior.name}; use prior {machines}"
            )
        if not self.true_bits:
            return
        if prior.relax is None:
            raise InputError(
                f"objective {name} needs bits, got prior {prior.name}; use objective bound"
            )
        if not prior.relax.law.exact:
            exact = " or ".join(relaxations.those_that("exact"))
            raise InputError(
                f"objective {name} trains on true bits, got relaxed ones; set relaxation to {exact}"
            )


OBJECTIVES: dict[str, Objective] = {
    "bound": Objective(surrogate_loss),
    "disarm": Objective(
        functools.partial(surrogate_loss, terms_of=disarm.terms), factorial=True, true_bits=True
    ),
    "qbmvae_public": Objective(
        public_codes.qbmvae_public, of_the_bound=False, factorial=True, machine=True
    ),
    "kaiwu_qvae": Objective(
        public_codes.kaiwu_qvae, of_the_bound=False, factorial=True, machine=True
    ),
}
