"""What a trained model knows of the latents of each cell: means, logits, spread and draws."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.feed.minibatches import pad_rows
from qbm_jax.fitted.document import Model
from qbm_jax.fitted.empty_cells import full_rows, warn_of_empty_cells
from qbm_jax.fitted.model_cells import cells_of_model
from qbm_jax.model.latent_laws import mean_and_log_sd, mean_spins
from qbm_jax.model.posteriors import Groups
from qbm_jax.model.vae import VAE, Params
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import check, whole

_WIDTH = 256  # cells encoded at a time


class CellPosterior(NamedTuple):
    """The posterior of the latents of some cells; NaN for cells without any count.

    Attributes:
      mean: of each latent [cells, N]; of spins it is what `embed` gives.
      sd: standard deviation of each latent [cells, N].
      logits: log odds of spin +1 [cells, N]; of a posterior in two groups those of the second group
        at the mean of the first. None where latents are numbers.
      draws: latents [draws, cells, N], spins -1 or +1 that are not relaxed.
    """

    mean: np.ndarray
    sd: np.ndarray
    logits: np.ndarray | None
    draws: np.ndarray

    def __repr__(self) -> str:
        """Its sizes; the numbers are too many to show."""
        draws, cells, latents = self.draws.shape
        parts = "mean and sd" if self.logits is None else "mean, sd and logits"
        return f"CellPosterior({parts} [{cells}, {latents}], draws [{draws}, {cells}, {latents}])"


def posterior(
    model: Model, adata: Any, *, num_draws: int = 25, layer: str | None = None, seed: int = 0
) -> CellPosterior:
    """The posterior of each cell's latents.

    Args:
      model: the fitted model.
      adata: cells with the model's genes.
      num_draws: of each cell.
      layer: layer with the raw counts; None: that of the training, or `X`.
      seed: of the draws.

    Raises:
      InputError: as `embed`.

    Example:
      >>> found = model.posterior(adata)
      >>> undecided = found.sd.mean(axis=1)  # 1 for a cell of which no spin is known
    """
    num_draws = check("num_draws", num_draws, whole(1))
    cells = cells_of_model(model, adata, layer=layer)
    warn_of_empty_cells(cells.num_cells, adata.n_obs, stacklevel=3)
    key = keys.key_of(seed, "posterior")
    rows, weights, num_chunks = pad_rows(np.arange(cells.num_cells), _WIDTH)
    parts = []
    for number, (rows_, weights_) in enumerate(
        zip(rows[:num_chunks], weights[:num_chunks], strict=True)
    ):
        found = jax.device_get(
            _posterior(
                model.vae, num_draws, jax.random.fold_in(key, number), model.params,
                cells.counts[rows_].toarray(),
            )
        )  # fmt: skip
        size = int(weights_.sum())
        parts.append((*(each[:size] for each in found[:3]), found[3][:, :size].swapaxes(0, 1)))
    if not parts:
        nothing = np.empty((0, model.vae.num_latents), np.float32)
        parts = [(nothing, nothing, nothing, np.empty((0, num_draws, nothing.shape[1])))]
    mean, sd, logits, draws = (
        full_rows(np.concatenate(each), cells.rows, adata.n_obs)
        for each in zip(*parts, strict=True)
    )
    binary = model.vae.prior.binary
    return CellPosterior(mean, sd, logits if binary else None, draws.swapaxes(0, 1))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _posterior(
    vae: VAE, num_draws: int, key: jax.Array, params: Params, counts: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    encoded = vae.encode(params, counts)
    draws = jax.lax.map(
        lambda own: vae.posterior.draw_latents(own, encoded)[0], jax.random.split(key, num_draws)
    )
    if isinstance(encoded, Groups):
        first = encoded.first()
        logits = jnp.concatenate([first, encoded.second(mean_spins(first))], axis=-1)
    elif vae.prior.binary:
        logits = encoded
    else:
        mean, log_sd = mean_and_log_sd(encoded)
        return mean, jnp.exp(log_sd), mean, draws
    # 1 / cosh(l / 2) is sqrt(1 - m^2) without the cancellation at m near 1.
    return mean_spins(logits), 1 / jnp.cosh(0.5 * logits), logits, draws
