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
    J = _coupled(model)
    first, second = np.triu_indices(len(J), 1)
    table = pd.DataFrame({"spin_1": first, "spin_2": second, "coupling": J[first, second]})
    return table.iloc[np.argsort(-table.coupling.abs(), kind="stable")].reset_index(drop=True)


def plot_couplings(model: Model, num_couplings: int = 60) -> "Figure":
    """The strongest couplings as a network of spins on a circle, neighbours coupled most.

    Args:
      model: the fitted model.
      num_couplings: drawn at most.

    Raises:
      InputError: the prior has no couplings, or a number that cannot be.
    """
    num_couplings = check("num_couplings", num_couplings, whole(1))
    table, J = couplings(model).head(num_couplings), _coupled(model)
    drawn = sorted({*table.spin_1, *table.spin_2})
    angle = 2 * np.pi * np.argsort(_around(J[np.ix_(drawn, drawn)])) / len(drawn)
    place = dict(zip(drawn, np.stack([np.cos(angle), np.sin(angle)], axis=1), strict=True))
    from qbm_jax.study import figures

    figure = figures.new_figure(f"The {len(table)} strongest couplings", 6.4, 6.4)
    axes = figure.subplots()
    largest = table.coupling.abs().max() or 1.0
    for row in table.iloc[::-1].itertuples():
        ends = np.stack([place[row.spin_1], place[row.spin_2]], axis=1)
        colour = figures.BETTER if row.coupling > 0 else figures.WORSE
        share = abs(row.coupling) / largest
        axes.plot(*ends, color=colour, lw=0.4 + 2.6 * share, alpha=0.25 + 0.7 * share, zorder=1)
    for spin, (x, y) in place.items():
        axes.scatter(x, y, s=150, color="white", edgecolor="#444444", zorder=2)
        axes.text(x, y, str(spin), ha="center", va="center", fontsize=7, zorder=3)
    for sign, colour in (("equal", figures.BETTER), ("opposite", figures.WORSE)):
        axes.plot([], [], color=colour, label=f"tend to be {sign}")
    axes.set_aspect("equal")
    axes.axis("off")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=9, frameon=False)
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
    table = table[table.columns[np.argsort(-np.ptp(table.to_numpy(), axis=0), kind="stable")]]
    size = 2.5 + 0.24 * table.shape[1], 1.6 + 0.26 * len(table)
    from qbm_jax.study import figures

    figure = figures.new_figure(f"Mean spins by {label_column}", *size)
    axes = figure.subplots()
    limit = max(1.0, float(np.abs(table.to_numpy()).max()))
    figures.draw_heat_map(
        axes, table.to_numpy(), [[""] * table.shape[1]] * len(table), list(table.index),
        [str(spin) for spin in table.columns], cmap="RdBu_r", vmin=-limit, vmax=limit,
    )  # fmt: skip
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


def _around(J: np.ndarray) -> np.ndarray:
    """Spins in an order around a circle in which coupled ones are close [spins]."""
    left, strength = set(range(1, len(J))), np.abs(J)
    order = [0]
    while left:
        order.append(max(left, key=lambda spin: strength[order[-1], spin]))
        left.remove(order[-1])
    return np.array(order)
