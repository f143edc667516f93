"""A variational autoencoder for counts, as pure functions over one parameter tree."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax import likelihoods, priors, relaxations
from qbm_jax.errors import InputError
from qbm_jax.likelihoods import Likelihood
from qbm_jax.minibatches import Minibatch
from qbm_jax.networks import Decoder, Encoder
from qbm_jax.priors import Prior

Params = dict[str, Any]  # "encoder", "decoder", "genes", "prior"


class VAE(NamedTuple):
    """The model's functions; `params` holds "encoder", "decoder", "genes" and "prior".

    Attributes:
      prior: the prior and its posterior family.
      likelihood: p(x | decoder outputs).
      num_latents: number of latents N.
      init: key -> params.
      encode: (params, counts [cells, genes]) -> the posterior's parameters [cells, outputs].
      decode: (params, latent [cells, N], batch [cells]) -> the likelihood's outputs by name.
    """

    prior: Prior
    likelihood: Likelihood
    num_latents: int
    init: Callable[[jax.Array], Params]
    encode: Callable[[Params, jax.Array], jax.Array]
    decode: Callable[[Params, jax.Array, jax.Array], dict[str, jax.Array]]


@functools.lru_cache(maxsize=32)  # the same model is the same object: what is compiled is reused
def build(
    *,
    num_genes: int,
    num_batches: int,
    prior: str = "boltzmann",
    num_latents: int = 128,
    likelihood: str = "nb",
    decoder: str = "mlp",
    encoder_widths: tuple[int, ...] = (128,),
    decoder_widths: tuple[int, ...] = (128,),
    relaxation: str = "spike_exponential",
    sharpness: float | None = None,
) -> VAE:
    """Composes the networks, the prior and the likelihood.

    Args:
      num_genes: genes per cell.
      num_batches: experimental batches the decoder is conditioned on.
      prior: a name of `priors.PRIORS`.
      num_latents: N, at least 2.
      likelihood: a name of `likelihoods.LIKELIHOODS`.
      decoder: "mlp" or "linear".
      encoder_widths: units per hidden layer of the encoder.
      decoder_widths: units per hidden layer of the decoder; a linear decoder has none.
      relaxation: a name of `relaxations.RELAXATIONS`; binary priors use it.
      sharpness: slope of the relaxation, above 0; None for its own default.

    Raises:
      InputError: an unknown name, or a number out of range.
    """
    if num_latents < 2:
        raise InputError(f"model.num_latents must be at least 2, got {num_latents}")
    if decoder not in ("mlp", "linear"):
        raise InputError(f"unknown decoder {decoder!r}; choose from mlp, linear")
    family = priors.build(prior, relaxations.build(relaxation, sharpness))
    observation = likelihoods.build(likelihood)
    encoder_net = Encoder(encoder_widths, num_latents * family.outputs_per_latent)
    decoder_net = Decoder(
        decoder_widths if decoder == "mlp" else (),
        num_genes,
        num_batches,
        observation.heads,
    )

    def init(key: jax.Array) -> Params:
        key_encoder, key_decoder = jax.random.split(key)
        batch = jnp.zeros(1, jnp.int32)
        return {
            "encoder": encoder_net.init(key_encoder, jnp.zeros((1, num_genes))),
            "decoder": decoder_net.init(key_decoder, jnp.zeros((1, num_latents)), batch),
            "genes": observation.init_gene_params(num_genes),
            "prior": family.init(num_latents),
        }

    def encode(params: Params, counts: jax.Array) -> jax.Array:
        normalised = likelihoods.log_normalise(counts, jnp.maximum(counts.sum(axis=-1), 1))
        return encoder_net.apply(params["encoder"], normalised)

    return VAE(
        prior=family,
        likelihood=observation,
        num_latents=num_latents,
        init=init,
        encode=encode,
        decode=lambda params, latent, batch: decoder_net.apply(params["decoder"], latent, batch),
    )


def log_likelihood(vae: VAE, params: Params, latent: jax.Array, cells: Minibatch) -> jax.Array:
    """Log p(x | latent, batch, library size) per cell, in nats; the library size is observed."""
    outputs = vae.decode(params, latent, cells.batch)
    library_size = cells.counts.sum(axis=-1)
    return vae.likelihood.log_prob(cells.counts, outputs, params["genes"], library_size)
