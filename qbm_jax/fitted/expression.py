"""Differential expression: which genes change between two groups of cells, and by how much.

The change of a gene is the log2 ratio of its mean share of expression in the two groups, within
each experimental batch, averaged over batches, less the median change of all genes: what some genes
gain in shares all others lose, which is no change of theirs. What is known of it has three parts:

* draws of every cell's posterior through the decoder, as in scVI's change mode (Lopez et al. 2018;
  Boyeau et al., bioRxiv 794289);
* which cells happened to be measured: each draw weights them by the Bayesian bootstrap (Rubin 1981,
  Annals of Statistics 9, 130);
* what the decoder itself can know: its gene means are learned from the same counts, so the Fisher
  information of those counts on a common log factor of the gene in a group, sum_i mu / (1 + mu / r)
  of the negative binomial law, bounds it. Draws of the latents alone are far too sure.

The three give an estimate with a standard error for each gene. Adaptive shrinkage (Stephens,
Biostatistics 18, 275, 2017) learns from all genes how many change and how much: a mixture of normal
laws around 0 and of no change at all. It gives the probability of |change| > delta, and with it the
posterior expected false discovery rate of each list of the most probable genes.
"""

import functools
import math
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.special import ndtr

from qbm_jax.data import Cells, groups
from qbm_jax.data.names import some, text
from qbm_jax.data.read import SOURCE
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import pad_rows
from qbm_jax.fitted.document import Model
from qbm_jax.fitted.empty_cells import LEFT_OUT, warn_of_empty_cells
from qbm_jax.fitted.model_cells import cells_in_batches
from qbm_jax.fitted.unobserved import lacked, observed
from qbm_jax.model import likelihoods
from qbm_jax.model.inference import expression
from qbm_jax.model.vae import VAE, Params, gene_params, prior_params
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import check, not_negative, whole

LEAST_CELLS = 3  # of a group in a batch
NULL_GENES = 10.0  # genes without a change that the prior of the mixture adds, as ashr's
_WIDTH = 256  # cells decoded at a time


class Compared(NamedTuple):
    """The cells of two groups, in the strata that they are compared within.

    Attributes:
      cells: of both groups.
      batches: codes [batches, cells] that each cell is decoded in; expressions are averaged.
      members: 1.0 where a cell is of group or reference in a stratum [2, strata, cells].
    """

    cells: Cells
    batches: np.ndarray
    members: np.ndarray


def differential_expression(
    model: Model,
    adata: Any,
    group_column: str,
    group: Any,
    reference: Any = None,
    *,
    delta: float = 0.25,
    num_samples: int = 50,
    max_cells: int = 2000,
    batch_column: str | None = None,
    layer: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Genes by the probability that their expression changes between two groups of cells.

    Groups are compared within each batch that has at least 3 cells of both, and the changes are
    averaged. Where no batch has, both are decoded in all batches, with a warning.

    Args:
      model: the fitted model; its likelihood is one of counts.
      adata: cells with the model's genes.
      group_column: column of `obs` with the groups.
      group: value of that column.
      reference: value that it is compared with; None: all other cells that have a value.
      delta: least change, in log2, that counts as one.
      num_samples: draws of the posterior and of the bootstrap.
      max_cells: used of each group at most, at random.
      batch_column: column of `obs` with the experimental batch; None: that of the training.
      layer: layer with the raw counts; None: that of the training, or `X`.
      seed: of all draws.

    Returns:
      A row a gene, the most probable first: "log2_fold_change" of group to reference beyond the
      median gene's, its "standard_error", the "probability" that it is beyond delta, the "fdr"
      expected of the list that ends with the gene, and "mean_group" and "mean_reference", per
      10,000 counts. Genes that the cells of a mapped query lack are left out.

    Raises:
      InputError: as `embed`; no such column or group, too few cells, or a likelihood that is not of
        counts.

    Example:
      >>> table = model.differential_expression(adata, "celltype", "alpha", "beta")
      >>> table[table.fdr < 0.05].head()
    """
    delta = check("delta", delta, not_negative())
    num_samples = check("num_samples", num_samples, whole(2))
    max_cells = check("max_cells", max_cells, whole(LEAST_CELLS))
    if not model.vae.likelihood.of_counts:
        raise InputError(
            f"expected a likelihood of counts, got {model.vae.likelihood.name}; train with "
            f"{' or '.join(likelihoods.those_that(lambda each: each.of_counts))}"
        )
    cells = cells_in_batches(model, adata, layer=layer, batch_column=batch_column)
    warn_of_empty_cells(cells.num_cells, adata.n_obs, stacklevel=3, so=LEFT_OUT)
    masks = _groups(adata, cells, group_column, group, reference)
    chosen = _compared(cells, masks, max_cells, len(model.settings.batch_names), seed)
    means, information = _group_means(model, chosen, num_samples, seed)
    weights = _weights(chosen.members)
    changes = np.log2(means[:, 0] / means[:, 1])  # [samples, strata, genes]
    drawn = np.einsum("s,msg->mg", weights, changes)
    drawn -= np.median(drawn.mean(axis=0))
    counting = np.einsum("s,ksg->g", weights**2, 1 / information) / math.log(2) ** 2
    change, error = drawn.mean(axis=0), np.sqrt(drawn.var(axis=0, ddof=1) + counting)
    in_each = likelihoods.TARGET_LIBRARY * np.einsum("s,mksg->kg", weights, means) / num_samples
    there = observed(model.settings, lacked(model.settings, adata)) > 0
    change, error = change[there], error[there]
    table = pd.DataFrame(
        {
            "log2_fold_change": change, "standard_error": error,
            "probability": probability_beyond(delta, change, error),
            "mean_group": in_each[0, there], "mean_reference": in_each[1, there],
        },
        index=pd.Index(model.settings.genes)[there],
    )  # fmt: skip
    size = table.log2_fold_change.abs() / table.standard_error
    table = table.iloc[np.lexsort((-size, -table.probability))]
    table.insert(3, "fdr", expected_fdr(table.probability.to_numpy()))
    return table


def expected_fdr(probability: np.ndarray) -> np.ndarray:
    """Expected share of false ones in the list that ends at each, by falling probability."""
    return np.cumsum(1 - probability) / np.arange(1, len(probability) + 1)


def probability_beyond(delta: float, change: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Probability of |true change| > delta of each gene, by adaptive shrinkage of all genes.

    Args:
      delta: least change.
      change: estimates [genes].
      error: their standard errors [genes].
    """
    scales = np.concatenate([[0.0], _scales(change, error)])
    variances = scales[:, None] ** 2 + error**2
    density = np.exp(-0.5 * change**2 / variances) / np.sqrt(variances)  # [components, genes]
    share = np.full(len(scales), 1 / len(scales))
    added = np.where(scales == 0, NULL_GENES, 0.0)
    for _ in range(500):  # steps of EM: it converges slowly, but each costs next to nothing
        of_each = share[:, None] * density
        of_each /= of_each.sum(axis=0)
        share = (of_each.sum(axis=1) + added) / (len(change) + NULL_GENES)
    shrunk = scales[:, None] ** 2 / variances
    mean, sd = shrunk * change, np.sqrt(shrunk) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = ndtr((mean - delta) / sd) + ndtr((-mean - delta) / sd)
    return np.minimum(np.sum(of_each * np.where(scales[:, None] > 0, beyond, 0.0), axis=0), 1.0)


def _scales(change: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Standard deviations of the mixture, a factor sqrt(2) apart, as ashr's."""
    least = error.min() / 10
    excess = float(np.max(change**2 - error**2))
    most = 2 * math.sqrt(excess) if excess > 0 else 8 * least
    return least * 2 ** np.arange(0, math.log2(max(most / least, 2)) + 0.5, 0.5)


def _groups(
    adata: Any, cells: Cells, column: str, group: Any, reference: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Masks [cells] of the group and of what it is compared with."""
    values = groups.column_of(adata.obs, column, "group", SOURCE).iloc[cells.rows]
    missing = values.isna().to_numpy()
    names = np.array([text(value) for value in values])
    there = sorted(set(names[~missing]))
    for asked in (group, reference):
        if asked is not None and text(asked) not in there:
            raise InputError(f"no cells of {asked!r} in column {column!r}; there are {some(there)}")
    inside = (names == text(group)) & ~missing
    other = ~inside & ~missing if reference is None else (names == text(reference)) & ~missing
    if reference is not None and text(reference) == text(group):
        raise InputError(f"expected two different groups, got {text(group)!r} twice")
    for name, mask in ((text(group), inside), ("the reference", other)):
        if mask.sum() < LEAST_CELLS:
            raise InputError(
                f"expected at least {LEAST_CELLS} cells with counts of each group, got "
                f"{mask.sum()} of {name}"
            )
    return inside, other


def _compared(
    cells: Cells, masks: tuple[np.ndarray, np.ndarray], max_cells: int, num_batches: int, seed: int
) -> Compared:
    """At most so many cells of each group, in the batches that both have cells in."""
    generator = np.random.default_rng(keys.number(keys.key_of(seed, "compared cells")))

    def some_of(mask: np.ndarray) -> np.ndarray:
        places = np.flatnonzero(mask)
        return np.sort(generator.permutation(places)[:max_cells])

    places = [some_of(mask) for mask in masks]
    in_batch = np.array([np.bincount(cells.batch[p], minlength=num_batches) for p in places])
    shared = np.flatnonzero((in_batch >= LEAST_CELLS).all(axis=0))
    both = cells.select(cells=np.concatenate(places))
    of_group = np.repeat(np.eye(2), [len(p) for p in places], axis=1)
    if len(shared):
        members = of_group[:, None] * (both.batch == shared[:, None])
        return Compared(both, both.batch[None], members)
    warnings.warn(
        f"no batch has {LEAST_CELLS} cells of both groups: they are compared as decoded in all "
        f"batches, and what the model took for a difference of batches is not seen",
        stacklevel=4,
    )
    every = np.arange(num_batches, dtype=np.int32)[:, None]
    return Compared(both, np.repeat(every, both.num_cells, axis=1), of_group[:, None])


def _weights(members: np.ndarray) -> np.ndarray:
    """Weight of each stratum, by the precision that its cells give, [strata]."""
    group, reference = members.sum(axis=2)
    precision = group * reference / (group + reference)
    return precision / precision.sum()


def _group_means(
    model: Model, chosen: Compared, num_samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of mean shares [samples, 2, strata, genes], and their information [2, strata, genes].

    The information is that of the counts on the log of the mean.
    """
    cells, (kinds, strata, _) = chosen.cells, chosen.members.shape
    members = chosen.members.reshape(kinds * strata, -1).astype(np.float32)
    rows, weights, num_chunks = pad_rows(np.arange(cells.num_cells), _WIDTH)
    key, totals = keys.key_of(seed, "differential expression"), cells.totals
    found = [
        _sums(
            model.vae, num_samples, jax.random.fold_in(key, number), model.params,
            cells.counts[rows_].toarray(), chosen.batches[:, rows_], cells.batch[rows_],
            totals[rows_], members[:, rows_] * weights_,
        )
        for number, (rows_, weights_) in enumerate(
        zip(rows[:num_chunks], weights[:num_chunks], strict=True)
    )
    ]  # fmt: skip
    sums, sizes, information = (
        np.sum([np.asarray(part, np.float64) for part in parts], axis=0)
        for parts in zip(*found, strict=True)
    )
    shape = (kinds, strata, cells.num_genes)
    means = (sums / sizes[:, :, None]).reshape(num_samples, *shape)
    return means, np.maximum(information, 1e-6).reshape(shape)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sums(
    vae: VAE,
    num_samples: int,
    key: jax.Array,
    params: Params,
    counts: jax.Array,
    batches: jax.Array,
    own_batch: jax.Array,
    totals: jax.Array,
    members: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Weighted sums of shares [samples, rows of members, genes], of weights, and information."""
    encoded = vae.encode(params, counts)
    of_prior = prior_params(vae, params)
    genes = gene_params(params, own_batch)
    log_r = genes.get("log_inverse_dispersion", jnp.full(counts.shape[1], jnp.inf))
    inverse_r = jnp.exp(-jnp.atleast_2d(log_r))

    def draw(
        information: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        key_latent, key_weights = jax.random.split(key)
        zeta = vae.posterior.draw(key_latent, of_prior, encoded).zeta
        ones = jnp.ones(counts.shape[0])
        decoded = jax.lax.map(lambda batch: expression(vae, params, zeta, batch, ones), batches)
        shares = decoded.mean(axis=0)
        weights = members * jax.random.exponential(key_weights, (1, ones.size))
        mean = shares * totals[:, None]
        information = information + members @ (mean / (1 + mean * inverse_r))
        return information, (weights @ shares, weights.sum(axis=1))

    start = jnp.zeros((members.shape[0], counts.shape[1]))
    information, (sums, sizes) = jax.lax.scan(draw, start, jax.random.split(key, num_samples))
    return sums, sizes, information / num_samples
