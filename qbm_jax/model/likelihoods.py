"""Log-likelihood of one cell's genes given the decoder's output.

Count likelihoods have the mean mu = library size * softmax(scale logits), the parametrisation of
scVI (Lopez et al., Nature Methods 15, 2018), and are normalised: every constant is included, so
values can be compared between models and with other software. The laws themselves are in
`count_laws`, the gates of "autozi" in `autozi`, the law of bits in `pixel_law`, that of one-hot
tokens in `token_law`.

Per-gene parameters are arrays [genes], or [batches, genes] where the dispersion differs between
experimental batches. `vae.gene_params` picks each cell's row, so that the functions here read
[genes] or [cells, genes].
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax.errors import InputError
from qbm_jax.model import autozi, pixel_law, token_law
from qbm_jax.model.count_laws import nb_log_pmf, poisson_log_pmf, zinb_log_pmf
from qbm_jax.model.log1p import log1p
from qbm_jax.runtime.options import check, choice

Outputs = dict[str, jax.Array]
GeneParams = dict[str, jax.Array]

TARGET_LIBRARY = 1e4  # log-normalised values are log(1 + counts / library size * 1e4)
DISPERSIONS = ("gene", "gene_batch")
SLICES = 8  # of a row's genes, whose maximum is found place by place


class Likelihood(NamedTuple):
    """Pure functions of counts [cells, genes], decoder outputs, per-gene parameters and libraries.

    `outputs` is a dict with one array [cells, genes] per name in `heads`; `library_size` is
    [cells], the expected total counts of each cell (positive).

    Attributes:
      heads: names of the arrays [cells, genes] that the decoder must return.
      init_gene_params: num_genes -> dict of trainable arrays [genes] or [batches, genes]; may be
        empty.
      log_prob: (counts, outputs, gene_params, library_size) -> [cells], in nats, summed over genes.
      sample: (key, outputs, gene_params, library_size) -> one draw [cells, genes].
      mean: (outputs, gene_params, library_size) -> expected value of `sample`, [cells, genes].
      accepts_non_integer: whether `counts` may have fractions (expected counts); the other
        likelihoods refuse such data.
      of_counts: whether `sample` draws counts, whose expected total is the library size; otherwise
        it draws log-normalised values or bits, which have no total.
      dispersion: the gene parameter that may differ between experimental batches; None where there
        is none.
      draw_gene_params: (key, gene_params) -> gene_params with one draw of each gene's random
        variables, which the other functions read; without it they take posterior means.
      global_kl: gene_params -> KL of the genes' random variables, summed over genes, in nats.
      gate_probabilities: gene_params -> probability that each gene is zero-inflated [genes], where
        the likelihood has gates; None elsewhere.
      redraw: (key, data) -> what is modelled, where data are its means in [0, 1], others being
        refused; None where data are modelled as they are.
      of_kinds: kinds of tokens -> log_prob, sample and mean, where data are one-hot tokens; None
        elsewhere.
      name: in `LIKELIHOODS`; `build` gives it.
    """

    heads: tuple[str, ...]
    init_gene_params: Callable[[int], Outputs]
    log_prob: Callable[[jax.Array, Outputs, Outputs, jax.Array], jax.Array]
    sample: Callable[[jax.Array, Outputs, Outputs, jax.Array], jax.Array]
    mean: Callable[[Outputs, Outputs, jax.Array], jax.Array]
    accepts_non_integer: bool = False
    of_counts: bool = True
    dispersion: str | None = None
    draw_gene_params: Callable[[jax.Array, Outputs], Outputs] = lambda key, gene_params: gene_params
    global_kl: Callable[[Outputs], jax.Array] = lambda gene_params: jnp.zeros(())
    gate_probabilities: Callable[[Outputs], jax.Array] | None = None
    redraw: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    of_kinds: Callable[[int | None], token_law.Functions] | None = None
    name: str = ""


def build(
    name: str, dispersion: str = "gene", num_batches: int = 1, num_categories: int | None = None
) -> Likelihood:
    """The likelihood of that name.

    Args:
      name: a name of `LIKELIHOODS`.
      dispersion: "gene", or "gene_batch" for one dispersion per gene and experimental batch.
      num_batches: number of experimental batches.
      num_categories: kinds of tokens, where data are tokens; None: all columns are one place.

    Raises:
      InputError: the name is not in `LIKELIHOODS`, the dispersion is not in `DISPERSIONS`, or the
        likelihood has no dispersion or no tokens.
    """
    name = check("likelihood", name, choice(LIKELIHOODS))
    likelihood = LIKELIHOODS[name]._replace(name=name)
    check("dispersion", dispersion, choice(DISPERSIONS))
    if likelihood.of_kinds is not None:
        log_prob, sample, mean = likelihood.of_kinds(num_categories)
        likelihood = likelihood._replace(log_prob=log_prob, sample=sample, mean=mean)
    elif num_categories is not None:
        raise InputError(
            f"likelihood {name} has no tokens; leave num_categories out, or use "
            f"{' or '.join(those_that(lambda each: each.of_kinds is not None))}"
        )
    if dispersion == "gene":
        return likelihood
    if likelihood.dispersion is None:
        raise InputError(
            f"likelihood {name} has no dispersion to differ between batches; use dispersion gene"
        )
    return likelihood._replace(init_gene_params=partial(_params_per_batch, likelihood, num_batches))


def _params_per_batch(likelihood: Likelihood, num_batches: int, num_genes: int) -> Outputs:
    return {
        name: jnp.tile(value, (num_batches, 1)) if name == likelihood.dispersion else value
        for name, value in likelihood.init_gene_params(num_genes).items()
    }


def those_that(holds: Callable[[Likelihood], bool]) -> tuple[str, ...]:
    """Names of the likelihoods of which this is true."""
    return tuple(name for name, likelihood in LIKELIHOODS.items() if holds(likelihood))


def _rows(values: jax.Array) -> jax.Array:
    """[1, genes] from [genes]; [cells, genes] as it is."""
    return values if values.ndim == 2 else values[None, :]


def log_mean_counts(outputs: Outputs, library_size: jax.Array) -> jax.Array:
    """Log mu [cells, genes] of the count likelihoods: library size * softmax(scale logits)."""
    return jnp.log(library_size)[:, None] + _log_softmax(outputs["scale_logits"])


def _log_softmax(logits: jax.Array) -> jax.Array:
    """`jax.nn.log_softmax` over the last axis, [cells, genes], to the bit.

    XLA finds the maximum of long rows in a pass of its own on a CPU; that of some slices, place by
    place, is left to vector instructions, and short rows remain.
    """
    num_genes = logits.shape[-1]
    width = -(-num_genes // SLICES)
    starts = (min(index * width, num_genes - width) for index in range(SLICES))
    seen = jax.lax.stop_gradient(logits)
    slices = (seen[..., start : start + width] for start in starts)
    shifted = logits - reduce(jnp.maximum, slices).max(axis=-1, keepdims=True)
    return shifted - jnp.log(jnp.sum(jnp.exp(shifted), axis=-1, keepdims=True))


def log_normalise(counts: jax.Array, library_size: jax.Array) -> jax.Array:
    """log(1 + counts / library size * 1e4), [cells, genes]; 0 of a cell without counts."""
    scale = TARGET_LIBRARY / jnp.where(library_size > 0, library_size, 1)
    return log1p(counts * scale[:, None])


def _no_gene_params(num_genes: int) -> Outputs:
    del num_genes
    return {}


def _dispersion_params(num_genes: int) -> Outputs:
    return {"log_inverse_dispersion": jnp.zeros(num_genes)}  # r = 1: variance mu + mu^2


def _normal_params(num_genes: int) -> Outputs:
    return {"log_scale": jnp.zeros(num_genes)}


def _mean_counts(outputs: Outputs, gene_params: GeneParams, library_size: jax.Array) -> jax.Array:
    del gene_params
    return jnp.exp(log_mean_counts(outputs, library_size))


def _normal_log_prob(
    counts: jax.Array, outputs: Outputs, gene_params: GeneParams, library_size: jax.Array
) -> jax.Array:
    """Density of the log-normalised values, not of the counts: another measure than the rest."""
    values = log_normalise(counts, library_size)
    log_scale = _rows(gene_params["log_scale"])
    residual = (values - outputs["scale_logits"]) * jnp.exp(-log_scale)
    terms = -0.5 * jnp.square(residual) - log_scale - 0.5 * jnp.log(2 * jnp.pi)
    return jnp.sum(terms, axis=-1)


def _normal_sample(
    key: jax.Array, outputs: Outputs, gene_params: GeneParams, library_size: jax.Array
) -> jax.Array:
    """Log-normalised values, as `_normal_mean`: the law is one of them, not of counts."""
    mean = _normal_mean(outputs, gene_params, library_size)
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    return mean + jnp.exp(_rows(gene_params["log_scale"])) * noise


def _normal_mean(outputs: Outputs, gene_params: GeneParams, library_size: jax.Array) -> jax.Array:
    del gene_params, library_size
    return outputs["scale_logits"]


def _squared_error_log_prob(
    counts: jax.Array, outputs: Outputs, gene_params: GeneParams, library_size: jax.Array
) -> jax.Array:
    """A normal law of variance 1/2 on log-normalised values: minus the squared error, normalised.

    What mean-squared-error autoencoders minimise, summed over genes.
    """
    del gene_params
    residual = log_normalise(counts, library_size) - outputs["scale_logits"]
    return -jnp.sum(jnp.square(residual) + 0.5 * jnp.log(jnp.pi), axis=-1)


def _squared_error_sample(
    key: jax.Array, outputs: Outputs, gene_params: GeneParams, library_size: jax.Array
) -> jax.Array:
    mean = _normal_mean(outputs, gene_params, library_size)
    return mean + jnp.sqrt(0.5) * jax.random.normal(key, mean.shape, mean.dtype)


def _poisson_log_prob(
    counts: jax.Array, outputs: Outputs, gene_params: GeneParams, library_size: jax.Array
) -> jax.Array:
    del gene_params
    return jnp.sum(poisson_log_pmf(counts, log_mean_counts(outputs, library_size)), axis=-1)


def _poisson_sample(
    key: jax.Array, outputs: Outputs, gene_params: GeneParams, library_size: jax.Array
) -> jax.Array:
    mean = _mean_counts(outputs, gene_params, library_size)
    return jax.random.poisson(key, mean).astype(mean.dtype)


def _nb_log_prob(
    counts: jax.Array, outputs: Outputs, gene_params: GeneParams, library_size: jax.Array
) -> jax.Array:
    log_mean = log_mean_counts(outputs, library_size)
    log_r = _rows(gene_params["log_inverse_dispersion"])
    return jnp.sum(nb_log_pmf(counts, log_mean, log_r), axis=-1)


def _nb_sample(
    key: jax.Array, outputs: Outputs, gene_params: GeneParams, library_size: jax.Array
) -> jax.Array:
    """A Poisson count whose rate is a gamma variable of mean mu and shape r."""
    key_rate, key_count = jax.random.split(key)
    mean = _mean_counts(outputs, gene_params, library_size)
    r = jnp.broadcast_to(jnp.exp(_rows(gene_params["log_inverse_dispersion"])), mean.shape)
    rate = jax.random.gamma(key_rate, r, dtype=mean.dtype) / r * mean
    return jax.random.poisson(key_count, rate).astype(mean.dtype)


def _zinb_log_prob(
    counts: jax.Array, outputs: Outputs, gene_params: GeneParams, library_size: jax.Array
) -> jax.Array:
    log_mean = log_mean_counts(outputs, library_size)
    log_r = _rows(gene_params["log_inverse_dispersion"])
    dropout = outputs["dropout_logits"]
    return jnp.sum(zinb_log_pmf(counts, log_mean, log_r, dropout), axis=-1)


def _zinb_sample(
    key: jax.Array, outputs: Outputs, gene_params: GeneParams, library_size: jax.Array
) -> jax.Array:
    key_count, key_dropout = jax.random.split(key)
    counts = _nb_sample(key_count, outputs, gene_params, library_size)
    dropout = jax.nn.sigmoid(outputs["dropout_logits"])
    return jnp.where(jax.random.bernoulli(key_dropout, dropout), 0, counts)


def _zinb_mean(outputs: Outputs, gene_params: GeneParams, library_size: jax.Array) -> jax.Array:
    kept = jax.nn.sigmoid(-outputs["dropout_logits"])
    return kept * _mean_counts(outputs, gene_params, library_size)


def _gated(outputs: Outputs, gene_params: GeneParams) -> Outputs:
    """Outputs of the zero-inflated law that the gates turn into: see `autozi`."""
    dropout = autozi.effective_dropout_logits(outputs["dropout_logits"], gene_params)
    return {**outputs, "dropout_logits": dropout}


def _autozi_params(num_genes: int) -> Outputs:
    return {**_dispersion_params(num_genes), **autozi.init(num_genes)}


def _autozi_log_prob(
    counts: jax.Array, outputs: Outputs, gene_params: GeneParams, library_size: jax.Array
) -> jax.Array:
    return _zinb_log_prob(counts, _gated(outputs, gene_params), gene_params, library_size)


def _autozi_sample(
    key: jax.Array, outputs: Outputs, gene_params: GeneParams, library_size: jax.Array
) -> jax.Array:
    return _zinb_sample(key, _gated(outputs, gene_params), gene_params, library_size)


def _autozi_mean(outputs: Outputs, gene_params: GeneParams, library_size: jax.Array) -> jax.Array:
    return _zinb_mean(_gated(outputs, gene_params), gene_params, library_size)


LIKELIHOODS: dict[str, Likelihood] = {
    "normal": Likelihood(
        heads=("scale_logits",),
        init_gene_params=_normal_params,
        log_prob=_normal_log_prob,
        sample=_normal_sample,
        mean=_normal_mean,
        accepts_non_integer=True,
        of_counts=False,
        dispersion="log_scale",
    ),
    "poisson": Likelihood(
        heads=("scale_logits",),
        init_gene_params=_no_gene_params,
        log_prob=_poisson_log_prob,
        sample=_poisson_sample,
        mean=_mean_counts,
    ),
    "nb": Likelihood(
        heads=("scale_logits",),
        init_gene_params=_dispersion_params,
        log_prob=_nb_log_prob,
        sample=_nb_sample,
        mean=_mean_counts,
        dispersion="log_inverse_dispersion",
    ),
    "zinb": Likelihood(
        heads=("scale_logits", "dropout_logits"),
        init_gene_params=_dispersion_params,
        log_prob=_zinb_log_prob,
        sample=_zinb_sample,
        mean=_zinb_mean,
        dispersion="log_inverse_dispersion",
    ),
    "autozi": Likelihood(
        heads=("scale_logits", "dropout_logits"),
        init_gene_params=_autozi_params,
        log_prob=_autozi_log_prob,
        sample=_autozi_sample,
        mean=_autozi_mean,
        dispersion="log_inverse_dispersion",
        draw_gene_params=autozi.draw,
        global_kl=autozi.global_kl,
        gate_probabilities=autozi.gate_probabilities,
    ),
    "squared_error": Likelihood(
        heads=("scale_logits",),
        init_gene_params=_no_gene_params,
        log_prob=_squared_error_log_prob,
        sample=_squared_error_sample,
        mean=_normal_mean,
        accepts_non_integer=True,
        of_counts=False,
    ),
    "bernoulli": Likelihood(
        heads=("scale_logits",),
        init_gene_params=_no_gene_params,
        log_prob=pixel_law.log_prob,
        sample=pixel_law.sample,
        mean=pixel_law.mean,
        accepts_non_integer=True,
        of_counts=False,
        redraw=pixel_law.redraw,
    ),
    "categorical": Likelihood(
        heads=("scale_logits",),
        init_gene_params=_no_gene_params,
        log_prob=token_law.log_prob,
        sample=token_law.sample,
        mean=token_law.mean,
        of_counts=False,
        of_kinds=token_law.of_kinds,
    ),
}
