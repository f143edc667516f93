"""A variational autoencoder for counts, as pure functions over one parameter tree."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import Minibatch
from qbm_jax.model import library_size, likelihoods, posteriors, priors, relaxations
from qbm_jax.model.batch_norm import BatchNorm, batch_norm_scale
from qbm_jax.model.latent_laws import from_log_variance
from qbm_jax.model.library_size import BatchPriors, LibraryPosterior
from qbm_jax.model.likelihoods import Likelihood
from qbm_jax.model.log1p import log1p
from qbm_jax.model.networks import (
    Decoder,
    Encoder,
    Networks,
    SecondGroup,
)
from qbm_jax.model.options import ENCODER_INPUTS, ModelOptions
from qbm_jax.model.posteriors import Groups, Posterior
from qbm_jax.model.prior import Prior
from qbm_jax.runtime import keys
from qbm_jax.runtime.by_value import ByValue, spec_of
from qbm_jax.runtime.options import (
    check_all,
    whole,
)

TRAINING = "training"  # of the parameters while they train: the key of what the networks drop
Params = dict[str, Any]  # see `VAE`


class _Functions(NamedTuple):
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
    trains_apart: bool = False
    spec: Hashable | None = None


class VAE(ByValue, _Functions):
    """The model's functions; `params` holds "encoder", "decoder", "genes" and "prior".

    Models of equal sizes and options are equal, so that programs compiled with one serve the other.

    With a latent library size it also holds "library", the parameters of that encoder. With a
    posterior in two groups it also holds "second_group", those of the network that reads the first.

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
      trains_apart: whether the networks do something else in a training step (`while_training`).
      spec: what it was built of; None of a model that was changed by hand.
    """

    __slots__ = ()


class Sizes(NamedTuple):
    """The sizes of a model that the cells decide.

    Attributes:
      num_genes: genes per cell.
      num_batches: experimental batches the decoder is conditioned on.
    """

    num_genes: int
    num_batches: int


def build(num_genes: int, num_batches: int, **options: Any) -> VAE:
    """Composes the networks, the prior and the likelihood.

    Args:
      num_genes: genes per cell.
      num_batches: experimental batches the decoder is conditioned on.
      **options: fields of `ModelOptions`.

    Raises:
      InputError: a name is unknown, a number is out of range, or options do not go together.
    """
    return build_sized(num_genes, num_batches, ModelOptions(**options))


def _shown_signature() -> inspect.Signature:
    sizes = list(inspect.signature(build_sized).parameters.values())[:2]
    chosen = inspect.signature(ModelOptions).parameters.values()
    return inspect.Signature([*sizes, *chosen], return_annotation=VAE)


def build_sized(num_genes: int, num_batches: int, options: ModelOptions) -> VAE:
    """Builds a model of checked options; equal options give equal models.

    Raises:
      InputError: as `build`.
    """
    given = {"num_genes": num_genes, "num_batches": num_batches}
    sizes = Sizes(**check_all(given, dict.fromkeys(given, whole(1))))
    return _build(sizes, options)


build.__dict__["__signature__"] = _shown_signature()  # all arguments, for help() and completion


def _build(sizes: Sizes, options: ModelOptions) -> VAE:
    observation = likelihoods.build(
        options.likelihood, options.dispersion, sizes.num_batches, options.num_categories
    )
    _check_library(options, sizes.num_batches, observation)
    relax = relaxations.build(options.relaxation, options.sharpness)
    latents = priors.build(options.prior, relax, options.couplings_scale)
    parts = (  # what their names stand for now
        priors.PRIORS[options.prior], likelihoods.LIKELIHOODS[options.likelihood],
        relaxations.RELAXATIONS[options.relaxation],
    )  # fmt: skip
    known = {**dataclasses.asdict(options), **sizes._asdict()}
    given = {name: known[name] for name in latents.init_options}
    latents = latents._replace(init=functools.partial(latents.init, **given))
    family = posteriors.build(options.posterior, latents)
    networks = _networks(sizes, options, latents, family, observation)
    if options.encoder_output == "log_variance" and latents.binary:
        raise InputError(
            f"encoder_output must be log_sd with prior {latents.name}, which is of bits"
        )
    if options.dispersion_start == "normal" and observation.dispersion is None:
        raise InputError(
            f"dispersion_start must be zero with likelihood {observation.name}, which has none"
        )

    return VAE(
        prior=latents,
        posterior=family,
        likelihood=observation,
        num_latents=options.num_latents,
        init=functools.partial(_init, networks, latents, observation, sizes.num_genes, options),
        encode=functools.partial(_encode, networks, options),
        decode=functools.partial(_decode, networks.decoder),
        loadings=functools.partial(_loadings, networks.decoder),
        encode_library=None
        if networks.library is None
        else functools.partial(_encode_library, networks.library, options),
        library_prior=options.library_prior,
        trains_apart=options.normalisation == "batch"
        or options.dropout + options.decoder_dropout > 0,
        spec=spec_of(sizes, options, *parts),
    )


def _networks(
    sizes: Sizes, options: ModelOptions, prior: Prior, family: Posterior, likelihood: Likelihood
) -> Networks:
    start, num_latents = options.start, options.num_latents
    num_second = num_latents - priors.num_visible(num_latents)
    layers = (start, options.normalisation, options.dropout)
    return Networks(
        encoder=Encoder(options.encoder_widths, num_latents * prior.outputs_per_latent, *layers),
        second_group=None
        if family.factorial
        else SecondGroup(options.encoder_widths[-1:], num_second, start),
        decoder=Decoder(
            options.decoder_widths if options.decoder == "mlp" else (),
            *sizes, likelihood.heads, start, options.normalisation, options.decoder_dropout,
            options.gene_shift,
        ),
        library=Encoder(options.encoder_widths[:1], 2, *layers)
        if options.library == "latent"
        else None,
    )  # fmt: skip


def _init(
    networks: Networks,
    prior: Prior,
    likelihood: Likelihood,
    num_genes: int,
    options: ModelOptions,
    key: jax.Array,
) -> Params:
    genes, varied = likelihood.init_gene_params(num_genes), likelihood.dispersion
    if options.dispersion_start == "normal" and varied is not None:
        noise = jax.random.normal(keys.named(key, "dispersions"), genes[varied].shape)
        genes = {**genes, varied: genes[varied] + noise}
    return {
        **networks.init(key, num_genes, options.num_latents),
        "genes": genes,
        # fold_in leaves the networks' keys as they are
        "prior": prior.init(jax.random.fold_in(key, 3), options.num_latents),
    }


def while_training(vae: VAE, params: Params, key: jax.Array) -> Params:
    """Parameters whose networks drop units by this key and normalise by the cells they are given.

    They are what the loss of a step is computed with. Elsewhere networks are deterministic.
    """
    return {**params, TRAINING: key} if vae.trains_apart else params


def _run(network: Any, name: str, params: Params, *inputs: jax.Array) -> Any:
    key = params.get(TRAINING)
    if key is None:
        return network.apply(params[name], *inputs)
    rngs = {"dropout": keys.named(key, name)}
    return network.apply(params[name], *inputs, training=True, rngs=rngs)


def _encode(
    networks: Networks, options: ModelOptions, params: Params, counts: jax.Array
) -> jax.Array | Groups:
    with jax.named_scope("encoder input"):
        read = ENCODER_INPUTS[options.encoder_input](counts)
    outputs, features = _run(networks.encoder, "encoder", params, read)
    if options.encoder_output == "log_variance":
        outputs = from_log_variance(outputs)
    if networks.second_group is None:
        return outputs
    return Groups(outputs, Partial(networks.second_group.apply, params["second_group"], features))


def _decode(network: Decoder, params: Params, *inputs: jax.Array) -> Any:
    return _run(network, "decoder", params, *inputs)


def _encode_library(
    network: Encoder, options: ModelOptions, params: Params, counts: jax.Array
) -> LibraryPosterior:
    outputs, _ = _run(network, "library", params, log1p(counts))
    if options.encoder_output == "log_variance":
        return library_size.free_posterior(from_log_variance(outputs))
    return library_size.posterior(outputs, jnp.maximum(counts.sum(axis=-1), 1))


def _loadings(network: Decoder, params: Params) -> jax.Array:
    if network.widths:
        raise InputError("expected a linear decoder for loadings, got mlp; train one")
    head, decoder = network.heads[0], params["decoder"]
    kernel = decoder["params"][head]["kernel"].T
    if not network.normalises_outputs:
        return kernel
    name = f"normalised_{head}"
    scale = batch_norm_scale(decoder[BatchNorm.COLLECTION][name]["variance"])
    return kernel * (decoder["params"][name]["scale"] * scale)[:, None]


def _check_library(options: ModelOptions, num_batches: int, likelihood: Likelihood) -> None:
    prior = options.library_prior
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


def prior_params(vae: VAE, params: Params) -> Any:
    """The parameters that the prior's functions take; the encoder gives them where it must."""
    if vae.prior.of_encoder is None:
        return params["prior"]
    trained = {name: values for name, values in params.items() if name != TRAINING}
    return vae.prior.of_encoder(params["prior"], functools.partial(vae.encode, trained))


def redrawn(vae: VAE, key: jax.Array, cells: Minibatch) -> Minibatch:
    """The cells as the likelihood is of them: drawn by the key where data are means of bits.

    Counts are given back as they are.
    """
    redraw = vae.likelihood.redraw
    if redraw is None:
        return cells
    return cells.replace(counts=redraw(keys.named(key, "redraw"), cells.counts))


def gene_params(params: Params, batch: jax.Array) -> dict[str, jax.Array]:
    """The per-gene parameters that hold for cells of these batches [cells].

    Arrays [batches, genes] become rows [cells, genes]; arrays [genes] stay. It is a product with
    one-hot rows, because the gradient of a table look-up is a slow scatter.
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
    with jax.named_scope("likelihood"):
        return vae.likelihood.log_prob(cells.counts, outputs, genes, library_sizes)
