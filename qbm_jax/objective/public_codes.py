"""Losses of two public codes, re-created with their faults, to measure what each correction buys.

These losses are not for use; `objective.surrogate_loss` is. Both codes write the machine in bits b
in {0, 1}, E(b) = -a'b - b'Wb/2, and learn a and W. The zero of that energy, E(0) = 0, and those
coordinates matter where log Z is mistaken, so `bit_form` keeps both. The config chooses the other
parts: the KL weight, the relaxation and its sharpness, the likelihood ("squared_error", of
log-normalised values) and the annealer that draws the negatives. Optimiser, networks and epochs are
this library's.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from qbm_jax.feed.minibatches import Minibatch
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.model.batch_norm import followed_in_part
from qbm_jax.model.relaxations import Sharpness
from qbm_jax.model.vae import VAE, Params
from qbm_jax.objective.bound import Terms, observe, terms, weighted_loss

QUADRATIC_DECAY, LINEAR_DECAY = 0.01, 0.005  # kaiwu_qvae's weights of sum W^2 and sum a^2


BitForm = tuple[jax.Array, jax.Array]  # a [spins], W [spins, spins]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def bit_form(project: Callable[[Boltzmann], Boltzmann], params: Boltzmann) -> BitForm:
    """The fields a and couplings W of the machine in bits.

    The gradient is taken by a and W and then translated to J and h, so that plain descent moves as
    a learner of a and W does. Adam scales every entry of J and h by itself and undoes part of that.
    """
    return boltzmann.to_bit_form(project(params))[:2]


def _bit_form_forward(
    project: Callable[[Boltzmann], Boltzmann], params: Boltzmann
) -> tuple[BitForm, None]:
    return bit_form(project, params), None


def _bit_form_backward(
    project: Callable[[Boltzmann], Boltzmann], _: None, cotangent: BitForm
) -> tuple[Boltzmann]:
    linear, quadratic = cotangent
    step = project(Boltzmann(J=quadratic, h=linear))  # a step that obeys the constraints on W
    return (boltzmann.from_bit_form(step.h, step.dense_J)[0],)


bit_form.defvjp(_bit_form_forward, _bit_form_backward)


def bit_energy(machine: BitForm, bits: jax.Array) -> jax.Array:
    """E(b) = -a'b - b'Wb/2 of bits [..., spins], 0 for the state without any bit."""
    linear, quadratic = machine
    return -bits @ linear - 0.5 * jnp.sum((bits @ quadratic) * bits, axis=-1)


def qbmvae_public(
    vae: VAE,
    params: Params,
    key: jax.Array,
    cells: Minibatch,
    negatives: jax.Array,
    kl_weight: jax.Array | float = 1.0,
    num_cells: int = 1,
    sharpness: Sharpness = None,
) -> tuple[jax.Array, Terms]:
    """The loss of the authors' public QBM-VAE code (FengAoWang/scQuantaVita), re-created.

    Its KL is E(z) - H(q) + mean E(negatives) with z = [zeta > 0], at KL weight 1e-4 and sharpness
    0.5 of relaxation spike_exponential (others are never exactly 0). Faults, on purpose:
      * The energy is that of a hard threshold, so the machine sends no gradient to the encoder.
      * log Z is replaced by PLUS the mean energy of the negatives. Both phases then lower the
        energies of all states seen, and the machine runs away to the state of all ones.
    Two faults are not re-created: the sign of its sampler differs from that of its energy, and it
    updates all units at once. The negatives come from the config's sampler instead.

    Arguments and result are those of `objective.surrogate_loss`, with negatives [chains, spins];
    `expected_energy` is that of bits, at z.
    """
    machine = bit_form(vae.prior.project, params["prior"])
    key_latent, key_observation = jax.random.split(key)
    posterior: Any = vae.encode(params, cells.counts)  # factorial: an array
    zeta = vae.prior.draw(key_latent, posterior, sharpness)
    reconstruction, library_kl = observe(vae, params, key_observation, zeta, cells)
    thresholded = (zeta > -1).astype(zeta.dtype)  # the decoder reads 2 zeta - 1
    values = Terms(
        reconstruction=reconstruction,
        entropy=vae.prior.entropy(posterior),
        expected_energy=bit_energy(machine, thresholded),
        library_kl=library_kl,
    )
    log_z = _mean_energy(machine, negatives)  # the wrong sign
    return weighted_loss(vae, params, values, log_z, kl_weight, num_cells), values


def kaiwu_qvae(
    vae: VAE,
    params: Params,
    key: jax.Array,
    cells: Minibatch,
    negatives: jax.Array,
    kl_weight: jax.Array | float = 1.0,
    num_cells: int = 1,
    sharpness: Sharpness = None,
) -> tuple[jax.Array, Terms]:
    """The loss of the QVAE of Kaiwu's PyTorch plugin (qboson/kaiwu-pytorch-plugin), re-created.

    Its KL is E(q) - H(q) - mean E(negatives): the energy at the probabilities is exact and the sign
    is right. Faults, on purpose:
      * A weight decay of 0.01 sum W^2 + 0.005 sum a^2 that the KL weight (1e-6 to 1e-5) does not
        scale: it outweighs all that the machine could learn from the cells.
      * With the negatives of an annealer run to T near 0 (config), a mean over a few ground states.
    The KL that it prints lacks log Z: it is not one and may be negative.

    Arguments and result are those of `objective.surrogate_loss`, with negatives [chains, spins];
    `expected_energy` is that of bits.
    """
    machine = bit_form(vae.prior.project, params["prior"])
    values = terms(vae, params, key, cells, sharpness)
    again = followed_in_part(params, 0)
    logits: Any = vae.encode(again, cells.counts)  # factorial: an array
    probabilities = jax.nn.sigmoid(logits)
    values = values._replace(expected_energy=bit_energy(machine, probabilities))
    log_z = -_mean_energy(machine, negatives)
    loss = weighted_loss(vae, params, values, log_z, kl_weight, num_cells)
    return loss + weight_decay(machine), values


def weight_decay(machine: BitForm) -> jax.Array:
    """0.01 times the sum of W_ij^2 over pairs i < j, plus 0.005 times that of a_i^2: a scalar."""
    linear, quadratic = machine
    pairs = 0.5 * jnp.sum(jnp.square(quadratic))
    return QUADRATIC_DECAY * pairs + LINEAR_DECAY * jnp.sum(jnp.square(linear))


def _mean_energy(machine: BitForm, negatives: jax.Array) -> jax.Array:
    return jnp.mean(bit_energy(machine, boltzmann.spins_to_bits(jax.lax.stop_gradient(negatives))))
