"""The bound on given cells, with log Z, and the search for the first value that is not finite."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax import objective, partition
from qbm_jax.feed.minibatches import DeviceCounts, gather, pad_rows, scan_some
from qbm_jax.model.vae import VAE, Params, redrawn
from qbm_jax.training.sharding import place_chunks

# Of a bound: not finite means divergence. log Z itself is NaN where its bracket is too wide.
CHECKED = (*objective.Terms._fields, "global_kl", "log_z_forward", "log_z_reverse")
ANY_BRACKET = 1e9  # nats: a rough log Z will do to compare epochs of one training
LARGEST_ENUMERATED = 16  # spins up to which log Z is enumerated rather than estimated


@functools.lru_cache(maxsize=32)
def build_evaluation(
    vae: VAE, minibatch_size: int = 256
) -> Callable[[jax.Array, DeviceCounts, Params, np.ndarray], dict[str, float]]:
    """Returns (key, data, params, cells) -> mean terms of the bound over these cells.

    The key fixes the posterior draws, so that two parameter sets are compared on the same noise.
    """

    @jax.jit
    def sums(
        key: jax.Array,
        data: DeviceCounts,
        params: Params,
        rows: jax.Array,
        weights: jax.Array,
        num_chunks: int,
    ) -> objective.Terms:
        def body(
            _: None, item: tuple[jax.Array, jax.Array, jax.Array]
        ) -> tuple[None, objective.Terms]:
            index, rows_, weights_ = item
            own = jax.random.fold_in(key, index)
            terms = objective.terms(vae, params, own, redrawn(vae, own, gather(data, rows_)))
            return None, jax.tree.map(lambda x: jnp.sum(x * weights_), terms)

        items = jnp.arange(rows.shape[0]), rows, weights
        _, totals = scan_some(body, None, items, num_chunks)
        return jax.tree.map(jnp.sum, totals)

    def evaluate(
        key: jax.Array, data: DeviceCounts, params: Params, cells: np.ndarray
    ) -> dict[str, float]:
        rows, weights, num_chunks = pad_rows(cells, minibatch_size)
        placed, shares = place_chunks(data, rows, weights)
        totals = sums(key, data, params, placed, shares, num_chunks)
        return {name: float(value) / len(cells) for name, value in totals._asdict().items()}

    return evaluate


def estimate_log_z(key: jax.Array, vae: VAE, params: Params, **options: Any) -> partition.LogZ:
    """Log Z of the trained prior: in closed form, by enumeration for few spins, or else by AIS."""
    if vae.prior.log_z is not None:
        value, zero = vae.prior.log_z(params["prior"]), jnp.zeros(())
        return partition.LogZ(value, zero, value, zero, value, zero)
    if vae.num_latents <= LARGEST_ENUMERATED:
        return partition.log_z(key, params["prior"], method="exact")
    return partition.log_z(key, params["prior"], method="ais", **options)


def bound(
    key: jax.Array,
    vae: VAE,
    evaluate: Callable[..., dict[str, float]],
    data: DeviceCounts,
    params: Params,
    cells: np.ndarray,
    *,
    num_draws: int = 1,
    num_train_cells: int | None = None,
    **log_z_options: Any,
) -> dict[str, float]:
    """The bound and its terms on `cells`, in nats per cell, with log Z and its standard error.

    Args:
      key: consumed; the same key gives the same posterior draws, for paired comparisons.
      vae: the model.
      evaluate: what `build_evaluation` returned for it.
      data: all counts.
      params: the parameters.
      cells: indices of the cells [cells].
      num_draws: posterior draws per cell.
      num_train_cells: number of training cells, which share the KL of variables that belong to
        genes (term `global_kl`); None for all cells of `data`.
      **log_z_options: of `partition.log_z` where log Z is estimated by AIS.
    """
    key_terms, key_log_z = jax.random.split(key)
    draws = [
        evaluate(jax.random.fold_in(key_terms, i), data, params, cells) for i in range(num_draws)
    ]
    terms: dict[str, Any] = {
        name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]
    }
    log_z = estimate_log_z(key_log_z, vae, params, **log_z_options)
    share = num_train_cells or data.num_cells
    global_kl = float(vae.likelihood.global_kl(params["genes"])) / share
    kl = float(objective.kl(objective.Terms(**terms), float(log_z.value)) + global_kl)
    return {
        **terms,
        "global_kl": global_kl,
        "kl": kl,
        "elbo": -terms["reconstruction"] - kl,
        "log_z": float(log_z.value),
        **{f"log_z_{name}": float(getattr(log_z, name)) for name in log_z._fields[1:]},
    }


def first_fault(metrics: dict[str, np.ndarray]) -> tuple[int, str] | None:
    """(step within the dispatch, name) of the first value [steps] that is not finite, if any is.

    Within a step the gradient comes last, because whatever else is bad makes it bad too.
    """
    bad = {name: np.flatnonzero(~np.isfinite(values)) for name, values in metrics.items()}
    faults = [(int(steps[0]), name) for name, steps in bad.items() if steps.size]
    return min(faults, key=lambda fault: (fault[0], fault[1] == "gradient_norm"), default=None)
