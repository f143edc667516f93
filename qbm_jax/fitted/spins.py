"""How spins go together, and which cells switch them: tables and figures."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qbm_jax.data.names import distinct
from qbm_jax.errors import InputError
from qbm_jax.fitted.document import Model
from qbm_jax.fitted.posterior import posterior
from qbm_jax.model import priors
from qbm_jax.runtime.options import check, whole
from qbm_jax.study.spins import strongest

if TYPE_CHECKING:  # plots alone load it
    from matplotlib.figure import Figure


def couplings(model: Model) -> pd.DataFrame:
    """The couplings J of the prior, the strongest first.

    Returns:
      A row for each pair of spins, "spin_1" below "spin_2", the columns of `X_qbmvae`, with their
      "coupling" in kT: spins with a positive one tend to be equal.

    Raises:
      InputError: the prior has no couplings.
    """
    pairs = strongest(_coupled(model))
    return pd.DataFrame(pairs, columns=["spin_1", "spin_2", "coupling"])


def plot_couplings(model: Model, num_couplings: int = 60) -> "Figure":
    """The strongest couplings as a network of spins on a circle, neighbours coupled most.

    Args:
      model: the fitted model.
      num_couplings: drawn at most.

    Raises:
      InputError: the prior has no couplings, or a number that cannot be.
    """
    num_couplings = check("num_couplings", num_couplings, whole(1))
    J = _coupled(model)
    from qbm_jax.study import figures, spin_figures

    shown = min(num_couplings, len(J) * (len(J) - 1) // 2)
    figure = figures.new_figure(f"The {shown} strongest couplings", 6.4, 6.4)
    spin_figures.draw_network(figure.subplots(), J, num_couplings)
    return figure


def mean_spins(
    model: Model, adata: Any, label_column: str, *, layer: str | None = None
) -> pd.DataFrame:
    """Mean latents of the cells of each type [types, N]; columns are those of `X_qbmvae`.

    Args:
      model: the fitted model.
      adata: cells with the model's genes.
      label_column: column of `obs` with the cell type.
      layer: layer with the raw counts; None: `X`.

    Raises:
      InputError: as `embed`, or there is no such column.
    """
    if label_column not in adata.obs:
        raise InputError(f"expected label_column as a column of obs, got {label_column!r}")
    means = posterior(model, adata, num_draws=1, layer=layer).mean
    codes, names = distinct(adata.obs[label_column])
    rows = {
        name: np.nanmean(means[codes == code], axis=0)
        for code, name in enumerate(names)
        if np.isfinite(means[codes == code]).any()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=range(means.shape[1]))
    return table.rename_axis(index=label_column, columns="spin")


def plot_mean_spins(
    model: Model, adata: Any, label_column: str, *, layer: str | None = None
) -> "Figure":
    """A heat map of the mean spins of each cell type, arguments as `mean_spins`.

    Spins that differ most between types come first; their numbers name the columns of `X_qbmvae`.
    """
    table = mean_spins(model, adata, label_column, layer=layer)
    from qbm_jax.study import figures, spin_figures

    size = spin_figures.heat_map_size(*table.shape)
    figure = figures.new_figure(f"Mean spins by {label_column}", *size)
    axes = figure.subplots()
    spin_figures.draw_mean_spins(axes, table.to_numpy(), list(table.index))
    figure.colorbar(axes.images[0], ax=axes, label="mean spin", shrink=0.9)
    figures.tidy(axes, f"spin (column of X_{model.vae.prior.model_name})")
    return figure


def _coupled(model: Model) -> np.ndarray:
    if model.J is None:
        machines = " or ".join(priors.those_that(lambda each: each.couplings))
        raise InputError(
            f"expected a prior with couplings, got {model.vae.prior.name}; train with {machines}"
        )
    return model.J
