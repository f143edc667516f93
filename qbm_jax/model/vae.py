"""A variational autoencoder for counts, as pure functions over one parameter tree."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import Minibatch
from qbm_jax.model import library_size, likelihoods, posteriors, priors, relaxations
from qbm_jax.model.library_size import BatchPriors, LibraryPosterior
from qbm_jax.model.likelihoods import Likelihood
from qbm_jax.model.networks import STARTS, Decoder, Encoder, Networks, SecondGroup
from qbm_jax.model.posteriors import Groups, Posterior
from qbm_jax.model.priors import Prior
from qbm_jax.runtime.options import (
    check_fields,
    choice,
    field,
    finite,
    not_negative,
    optional,
    pairs,
    positive,
    whole,
    widths,
)

DECODERS = ("mlp", "linear")
LIBRARIES = ("observed", "latent")
LOG_NORMALS = pairs(finite(), positive(), "a pair (mean, standard deviation above 0) per batch")
Params = dict[str, Any]  # see `VAE`


class VAE(NamedTuple):
    """The model's functions; `params` holds "encoder", "decoder", "genes" and "prior".

    With a latent library size it holds "library", that encoder's parameters, as well; with a
    posterior in two groups "second_group", those of its network that reads the first group.

    Attributes:
      prior: the prior.
      posterior: the family of q(latent | x), which reads what `encode` gives.
      likelihood: p(x | decoder outputs).
      num_latents: number of latents N.
      init: key -> params.
      encode: (params, counts [cells, genes]) -> the posterior's parameters, [cells, outputs] or
        `posteriors.Groups`.
      decode: (params, latent [cells, N], batch [cells]) -> the likelihood's outputs by name.
      loadings: params -> weight of each latent in each gene's scale logit [genes, N], which is
        linear in the latents; adding a constant to a column changes nothing after the softmax.
        Raises an InputError unless the decoder is linear.
      encode_library: (params, counts) -> posterior of a latent library size; None if observed.
      library_prior: its prior, (mean, s.d.) of the log library of each batch; None if observed.
    """

    prior: Prior
    posterior: Posterior
    likelihood: Likelihood
    num_latents: int
    init: Callable[[jax.Array], Params]
    encode: Callable[[Params, jax.Array], jax.Array | Groups]
    decode: Callable[[Params, jax.Array, jax.Array], dict[str, jax.Array]]
    loadings: Callable[[Params], jax.Array]
    encode_library: Callable[[Params, jax.Array], LibraryPosterior] | None
    library_prior: BatchPriors | None


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """What a model is built from; see `build`.

    Attributes:
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
      posterior: "factorial", or "two_groups" (see `posteriors`; binary priors, and relaxations that
        tell the bit).
      couplings_scale: the couplings J start normal with standard deviation couplings_scale /
        sqrt(N); 0 starts them at zero. Priors boltzmann and rbm only.
      start: a name of `networks.STARTS`, the laws that the networks' weights start with.
      dispersion: "gene", or "gene_batch" for one per gene and experimental batch.
      library: "observed" (the total counts), or "latent" (see `library_size`).
      library_prior: (mean, s.d.) of the log total counts of each batch's cells; for "latent" only.
    """

    num_genes: int = field(dataclasses.MISSING, whole(1))
    num_batches: int = field(dataclasses.MISSING, whole(1))
    prior: str = field("boltzmann", choice(priors.PRIORS))
    num_latents: int = field(128, whole(2))
    likelihood: str = field("nb", choice(likelihoods.LIKELIHOODS))
    decoder: str = field("mlp", choice(DECODERS))
    encoder_widths: tuple[int, ...] = field((128,), widths())
    decoder_widths: tuple[int, ...] = field((128,), widths())
    relaxation: str = field("spike_exponential", choice(relaxations.RELAXATIONS))
    sharpness: float | None = field(None, optional(positive()))
    posterior: str = field("factorial", choice(posteriors.FAMILIES))
    couplings_scale: float = field(0.0, not_negative())
    start: str = field("lecun", choice(STARTS))
    dispersion: str = field("gene", choice(likelihoods.DISPERSIONS))
    library: str = field("observed", choice(LIBRARIES))
    library_prior: tuple[tuple[float, float], ...] | None = field(None, optional(LOG_NORMALS))

    def __post_init__(self):
        """Checks every field by its kind, and keeps plain Python values.

        Raises:
          InputError: an unknown name, or a number out of range; the message names the field.
        """
        check_fields(self)


def check_options(num_genes: int, num_batches: int, options: dict[str, Any]) -> dict[str, Any]:
    """The given options of a model as plain values.

    Args:
      num_genes: genes per cell.
      num_batches: experimental batches.
      options: other fields of `ModelOptions`.

    Raises:
      InputError: an unknown option, or a value that is not of its kind.
    """
    counted = ("num_genes", "num_batches")  # what the cells decide
    names = [each.name for each in dataclasses.fields(ModelOptions) if each.name not in counted]
    if unknown := sorted(set(options) - set(names)):
        raise InputError(f"unknown model options {unknown}; choose from {', '.join(names)}")
    checked = ModelOptions(num_genes=num_genes, num_batches=num_batches, **options)
    return {name: getattr(checked, name) for name in options}


def build(**options: Any) -> VAE:
    """Composes the networks, the prior and the likelihood.

    Args:
      **options: the fields of `ModelOptions`; num_genes and num_batches must be given.

    Raises:
      InputError: an unknown name, a number out of range, or options that do not go together.
    """
    return _build(ModelOptions(**options))


build.__signature__ = inspect.signature(ModelOptions)  # its arguments, for help() and completion


@functools.lru_cache(maxsize=32)  # the same model is the same object: what is compiled is reused
def _build(options: ModelOptions) -> VAE:
    observation = likelihoods.build(options.likelihood, options.dispersion, options.num_batches)
    _check_library(options, observation)
    relax = relaxations.build(options.relaxation, options.sharpness)
    latents = priors.build(options.prior, relax, options.couplings_scale)
    family = posteriors.build(options.posterior, latents)
    networks = _networks(options, latents, family, observation)

    return VAE(
        prior=latents,
        posterior=family,
        likelihood=observation,
        num_latents=options.num_latents,
        init=functools.partial(
            _init, networks, latents, observation, options.num_genes, options.num_latents
        ),
        encode=functools.partial(_encode, networks),
        decode=lambda params, *inputs: networks.decoder.apply(params["decoder"], *inputs),
        loadings=functools.partial(_loadings, networks.decoder),
        encode_library=networks.library and functools.partial(_encode_library, networks.library),
        library_prior=options.library_prior,
    )


def _networks(
    options: ModelOptions, prior: Prior, family: Posterior, likelihood: Likelihood
) -> Networks:
    start, num_latents = options.start, options.num_latents
    num_second = num_latents - priors.num_visible(num_latents)
    return Networks(
        encoder=Encoder(options.encoder_widths, num_latents * prior.outputs_per_latent, start),
        second_group=None
        if family.factorial
        else SecondGroup(options.encoder_widths[-1:], num_second, start),
        decoder=Decoder(
            options.decoder_widths if options.decoder == "mlp" else (),
            options.num_genes, options.num_batches, likelihood.heads, start,
        ),
        library=Encoder(options.encoder_widths[:1], 2, start)
        if options.library == "latent"
        else None,
    )  # fmt: skip


def _init(
    networks: Networks,
    prior: Prior,
    likelihood: Likelihood,
    num_genes: int,
    num_latents: int,
    key: jax.Array,
) -> Params:
    return {
        **networks.init(key, num_genes, num_latents),
        "genes": likelihood.init_gene_params(num_genes),
        # fold_in leaves the networks' keys as they are
        "prior": prior.init(jax.random.fold_in(key, 3), num_latents),
    }


def _encode(networks: Networks, params: Params, counts: jax.Array) -> jax.Array | Groups:
    normalised = likelihoods.log_normalise(counts, jnp.maximum(counts.sum(axis=-1), 1))
    outputs, features = networks.encoder.apply(params["encoder"], normalised)
    if networks.second_group is None:
        return outputs
    return Groups(outputs, Partial(networks.second_group.apply, params["second_group"], features))


def _encode_library(network: Encoder, params: Params, counts: jax.Array) -> LibraryPosterior:
    corrections, _ = network.apply(params["library"], jnp.log1p(counts))
    return library_size.posterior(corrections, jnp.maximum(counts.sum(axis=-1), 1))


def _loadings(network: Decoder, params: Params) -> jax.Array:
    if network.widths:
        raise InputError("expected a linear decoder for loadings, got mlp; train one")
    return params["decoder"]["params"][network.heads[0]]["kernel"].T


def _check_library(options: ModelOptions, likelihood: Likelihood) -> None:
    prior, num_batches = options.library_prior, options.num_batches
    if options.library == "observed":
        if prior is not None:
            raise InputError("library_prior is for library latent; leave it out, or set that")
        return
    if not likelihood.of_counts:
        counts = likelihoods.those_that(lambda each: each.of_counts)
        raise InputError(f"library latent needs a likelihood of counts; use {', '.join(counts)}")
    if prior is None or len(prior) != num_batches:
        got = "none" if prior is None else len(prior)
        raise InputError(
            f"library latent needs library_prior, (mean, sd) of the log library of each of "
            f"{num_batches} batches, got {got}"
        )


def gene_params(params: Params, batch: jax.Array) -> dict[str, jax.Array]:
    """The per-gene parameters that hold for cells of these batches [cells].

    Arrays [batches, genes] become rows [cells, genes]; arrays [genes] stay. A product with one-hot
    rows: the gradient of a table look-up is a scatter, which is slow.
    """

    def rows(values: jax.Array) -> jax.Array:
        if values.ndim == 1:
            return values
        one_hot = jax.nn.one_hot(batch, values.shape[0], dtype=values.dtype)
        return jnp.matmul(one_hot, values, precision="highest")

    return {name: rows(values) for name, values in params["genes"].items()}


def log_likelihood(
    vae: VAE,
    params: Params,
    latent: jax.Array,
    cells: Minibatch,
    library_sizes: jax.Array | None = None,
) -> jax.Array:
    """Log p(x | latent, batch, library size) per cell, in nats.

    Args:
      vae: the model.
      params: its parameters; `params["genes"]` may be a draw (`likelihood.draw_gene_params`).
      latent: what the decoder reads [cells, N].
      cells: counts and experimental batches.
      library_sizes: [cells]; None for the total counts, or for the posterior's median where the
        library size is latent.
    """
    outputs = vae.decode(params, latent, cells.batch)
    if library_sizes is None:
        library_sizes = cells.counts.sum(axis=-1)
        if vae.encode_library is not None:
            library_sizes = jnp.exp(vae.encode_library(params, cells.counts).mean)
    genes = gene_params(params, cells.batch)
    return vae.likelihood.log_prob(cells.counts, outputs, genes, library_sizes)
