"""Latent library sizes, as scVI's (Lopez et al., Nature Methods 15, 2018): log-normal per cell.

    log size ~ Normal(mean of the cell's batch, s.d. of the cell's batch) a priori,
    log size ~ Normal(m(x), s(x)) a posteriori,

with a network of its own for m and s. That network gives corrections to log n and 1/sqrt(n), the
posterior of a Poisson rate given n counts under a flat prior: log size starts where it belongs, and
a network with normalised layers need not find the scale of its input.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError

BatchPriors = tuple[tuple[float, float], ...]  # (mean, s.d.) of the log library, batch by batch
LEAST_SD = 0.01  # that of a batch of equal totals, or of one cell, is 0


def prior_of(totals: np.ndarray) -> tuple[float, float]:
    """(mean, s.d.) of the log library of a batch, by totals [cells]; those of 0 are left out.

    Raises:
      InputError: no cell has one.
    """
    logs = np.log(totals[totals > 0])
    if not len(logs):
        raise InputError("library latent needs a cell with a count in every batch; one has none")
    return float(logs.mean()), max(float(logs.std()), LEAST_SD)


class LibraryPosterior(NamedTuple):
    """Normal posterior of each cell's log library size: mean and log s.d., [cells]."""

    mean: jax.Array
    log_sd: jax.Array


def posterior(corrections: jax.Array, totals: jax.Array) -> LibraryPosterior:
    """The posterior from the network's output [cells, 2] and positive total counts [cells]."""
    log_totals = jnp.log(totals)
    return LibraryPosterior(log_totals + corrections[:, 0], corrections[:, 1] - 0.5 * log_totals)


def free_posterior(outputs: jax.Array) -> LibraryPosterior:
    """The posterior whose mean and log s.d. are the network's output [cells, 2] itself."""
    return LibraryPosterior(outputs[:, 0], outputs[:, 1])


def draw(key: jax.Array, values: LibraryPosterior) -> jax.Array:
    """One draw of the library sizes [cells], reparametrised."""
    return jnp.exp(_log_sizes(key, values)[0])


def _log_sizes(key: jax.Array, values: LibraryPosterior) -> tuple[jax.Array, jax.Array]:
    """Logs of drawn library sizes, and the normal numbers that they were made of, [cells]."""
    noise = jax.random.normal(key, values.mean.shape)
    return values.mean + jnp.exp(values.log_sd) * noise, noise


def draw_and_weigh(
    key: jax.Array, values: LibraryPosterior, priors: BatchPriors, batch: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Drawn library sizes, and the log of their prior density over that of the posterior, [cells].

    Args:
      key: consumed.
      values: the posterior of each cell.
      priors: (mean, s.d.) of the log library of each batch.
      batch: experimental batch of each cell [cells].
    """
    mean, sd = jnp.asarray(priors)[batch].T
    log_sizes, noise = _log_sizes(key, values)
    deviation = (log_sizes - mean) / sd
    log_ratio = 0.5 * (jnp.square(noise) - jnp.square(deviation)) + values.log_sd - jnp.log(sd)
    return jnp.exp(log_sizes), log_ratio


def kl(values: LibraryPosterior, priors: BatchPriors, batch: jax.Array) -> jax.Array:
    """KL of each cell's posterior to its batch's prior [cells], in nats; exact."""
    mean, sd = jnp.asarray(priors)[batch].T
    shift = (values.mean - mean) / sd
    log_ratio = values.log_sd - jnp.log(sd)
    return 0.5 * (jnp.exp(2 * log_ratio) + jnp.square(shift) - 1) - log_ratio
