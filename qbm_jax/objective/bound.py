"""The evidence lower bound and its terms by name.

    -ELBO = E_q[-log p(x | zeta, batch)] - H(q) + E_q[E(s)] + log Z

All terms are per cell and in nats. A likelihood with random variables per gene adds their KL once
for the whole data set: `likelihood.global_kl` over the number of cells, which is not in the terms.
What is trained weights the KL, all but the reconstruction, by `weight_at`: see `weighted_loss`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax.feed.minibatches import Minibatch
from qbm_jax.model import library_size
from qbm_jax.model.relaxations import Sharpness
from qbm_jax.model.vae import VAE, Params, log_likelihood, prior_params


class Terms(NamedTuple):
    """Terms of the bound per cell [cells], in nats.

    Attributes:
      reconstruction: -log p(x | zeta, batch), one draw of zeta from the posterior (and of the
        genes' random variables, and of a latent library size).
      entropy: H(q), exact; an unbiased estimate from the same draw for a posterior in two groups.
      expected_energy: E_q[E], exact or estimated as `entropy` is; a draw estimates it as well where
        the prior has no closed form of it.
      library_kl: KL of a latent library size to its prior, exact; 0 where it is observed.
    """

    reconstruction: jax.Array
    entropy: jax.Array
    expected_energy: jax.Array
    library_kl: jax.Array


def terms(
    vae: VAE,
    params: Params,
    key: jax.Array,
    cells: Minibatch,
    sharpness: Sharpness = None,
) -> Terms:
    """The terms of the bound that need no partition function. Consumes the key.

    Args:
      vae: the model.
      params: its parameters.
      key: for one draw from the posterior of each cell, and of each gene.
      cells: counts and experimental batches.
      sharpness: of the relaxation; None for the one that the model was built with.
    """
    key_latent, key_observation = jax.random.split(key)
    # q(z | x): the encoder sees counts only.
    encoded = vae.encode(params, cells.counts)

    # One draw, reparametrised (or relaxed) so that gradients pass, and KL - log Z = E_q[E] - H(q),
    # which needs no relaxation: so the prior shapes the encoder.
    drawn = vae.posterior.draw(key_latent, prior_params(vae, params), encoded, sharpness)

    # E_q[-log p(x | zeta, c)]
    reconstruction, library_kl = observe(vae, params, key_observation, drawn.zeta, cells)
    return Terms(
        reconstruction=reconstruction,
        entropy=drawn.entropy,
        expected_energy=drawn.expected_energy,
        library_kl=library_kl,
    )


def observe(
    vae: VAE, params: Params, key: jax.Array, zeta: jax.Array, cells: Minibatch
) -> tuple[jax.Array, jax.Array]:
    """-log p(x | zeta, batch) and the KL of latent library sizes, [cells] each. Consumes the key.

    It also draws the likelihood's other random variables: those of the genes, the library sizes.
    """
    key_genes, key_library = jax.random.split(key)
    drawn = {**params, "genes": vae.likelihood.draw_gene_params(key_genes, params["genes"])}
    if vae.encode_library is None:
        values = log_likelihood(vae, drawn, zeta, cells)
        return -values, jnp.zeros_like(values)
    assert vae.library_prior is not None, "a latent library size has a prior"
    posterior = vae.encode_library(params, cells.counts)
    sizes = library_size.draw(key_library, posterior)
    library_kl = library_size.kl(posterior, vae.library_prior, cells.batch)
    return -log_likelihood(vae, drawn, zeta, cells, sizes), library_kl


def kl(values: Terms, log_z: jax.Array | float) -> jax.Array:
    """KL(q || p) per cell [cells], in nats."""
    return values.expected_energy - values.entropy + log_z + values.library_kl


def weight_at(
    step: jax.Array,
    kl_weight: jax.Array | float,
    warmup_steps: jax.Array | float,
    num_steps: jax.Array | int = 1,
    final: jax.Array | float = 1.0,
) -> jax.Array:
    """The KL's weight at a step, from 0 on.

    It grows linearly over the warm-up to `kl_weight`. From the middle of the training's
    `num_steps` on it goes linearly to `final` times that, which it has at the last step.
    """
    one = jnp.float32(1)  # times an inverse: what XLA makes of a division by a constant, to the bit
    second_half = jnp.clip(2 * (step + 1) * (one / num_steps) - 1, 0.0, 1.0)
    change = 1.0 + (final - 1.0) * second_half
    return kl_weight * jnp.minimum((step + 1) * (one / warmup_steps), 1.0) * change


def weighted_loss(
    vae: VAE,
    params: Params,
    values: Terms,
    log_z: jax.Array | float,
    kl_weight: jax.Array | float,
    num_cells: jax.Array | int,
) -> jax.Array:
    """Mean over cells of -log p(x | zeta, batch) plus the weighted KL, the genes' too: a scalar.

    `surrogate` makes of it the loss that a training step differentiates.

    Args:
      vae: the model.
      params: its parameters.
      values: the terms of the cells.
      log_z: log Z of the prior, or what stands in its place.
      kl_weight: weight of all KL terms, see `weight_at` (1 for the bound).
      num_cells: number of training cells, which share the KL of the genes' random variables.
    """
    loss = jnp.mean(values.reconstruction + kl_weight * kl(values, log_z))
    return loss + kl_weight * vae.likelihood.global_kl(params["genes"]) / num_cells


def elbo(values: Terms, log_z: jax.Array | float) -> jax.Array:
    """The bound on log p(x | batch) per cell [cells], in nats; it needs the value of log Z."""
    return -values.reconstruction - kl(values, log_z)
