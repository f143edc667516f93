"""How spins go together, and which cells switch them: tables and figures."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qbm_jax.data.groups import column_of
from qbm_jax.data.names import distinct
from qbm_jax.data.read import SOURCE, check_is_anndata
from qbm_jax.errors import InputError
from qbm_jax.fitted.document import Model
from qbm_jax.fitted.posterior import posterior
from qbm_jax.fitted.scoring import metrics_room
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
      layer: layer with the raw counts; None: that of the training, or `X`.

    Raises:
      InputError: as `embed`, no such column, or no cell with a type and a count.
    """
    labels = _labels(adata, label_column, "mean_spins")
    means = posterior(model, adata, num_draws=1, layer=layer).mean
    codes, names = distinct(labels)
    rows = {
        name: np.nanmean(means[codes == code], axis=0)
        for code, name in enumerate(names)
        if np.isfinite(means[codes == code]).any()
    }
    if not rows:
        raise InputError(f"expected cells with a count and a type in {label_column!r}, got none")
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


def plot_energy_landscape(
    model: Model, adata: Any, label_column: str | None = None, *, layer: str | None = None,
    seed: int = 0,
) -> "Figure":  # fmt: skip
    """The energy of the cells on the UMAP of their mean spins, beside their types.

    Args:
      model: the fitted model, whose latents are spins.
      adata: cells with the model's genes; those without any count are left out.
      label_column: column of `obs` with the cell type; None: the energy alone.
      layer: layer with the raw counts; None: that of the training, or `X`.
      seed: of the layout.

    Raises:
      InputError: as `embed`; no such column, latents that have no energy, or packages of the extras
        "scores" and "report" that are not installed.
    """
    if not model.vae.prior.binary:
        raise InputError(f"expected latents with an energy, got prior {model.vae.prior.name}")
    labels = None
    if label_column is not None:
        labels = _labels(adata, label_column, "plot_energy_landscape")
    spins, energy = model.embed_with_energy(adata, layer)
    known = np.isfinite(energy)
    points = metrics_room().umap_layout(spins[known], seed)
    from qbm_jax.study import cell_figures, figures

    width = 1 if labels is None else 2
    figure = figures.new_figure("Energy landscape", 4.6 * width + 0.8, 4.4)
    panels = figure.subplots(1, width, squeeze=False)[0]
    shown = cell_figures.draw_points(panels[0], points, energy[known], None)
    figure.colorbar(shown, ax=panels[0], label="energy (kT)", shrink=0.85)
    if labels is not None:
        types = np.asarray(labels.astype(str))[known]
        colours = figures.colours_of(types)
        cell_figures.draw_points(panels[1], points, types, colours)
        cell_figures.draw_types(panels[1], colours)
        panels[1].get_legend().set_loc("center left")
        panels[1].get_legend().set_bbox_to_anchor((1.0, 0.5))
    return figure


def _labels(adata: Any, label_column: str, source: str) -> pd.Series:
    """The column with the cell types; what is no AnnData with this column is refused."""
    check_is_anndata(adata, source)
    return column_of(adata.obs, label_column, "label", SOURCE)


def _coupled(model: Model) -> np.ndarray:
    if model.J is None:
        machines = " or ".join(priors.those_that(lambda each: each.couplings))
        raise InputError(
            f"expected a prior with couplings, got {model.vae.prior.name}; train with {machines}"
        )
    return model.J
