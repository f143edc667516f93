"""The embedding of a set of cells as an h5ad file."""

from pathlib import Path
from typing import Any

import anndata
import numpy as np

from qbm_jax.data.cells import Cells
from qbm_jax.data.whole import written_whole
from qbm_jax.model import priors

GATES, LOADINGS = "autozi_gate", "loadings"  # in var and varm
QBM_ENERGY = "qbm_energy"  # in obs


def reserved(what: str) -> set[str]:
    """Columns of `obs` or `var` that anndata or the results need; those of the input get others."""
    if what == "var":
        return {"_index", GATES}
    laws = map(priors.build, priors.PRIORS)
    energies = (energy_key(law.model_name, couplings=law.couplings) for law in laws)
    return {"_index", energy_key("model", couplings=False), *energies}


def embedding_key(name: str) -> str:
    """Where in `obsm` the embedding of the model called `name` is."""
    return f"X_{name}"


def energy_key(name: str, *, couplings: bool) -> str:
    """Where in `obs` its energies are; those of a machine with couplings have one name."""
    return QBM_ENERGY if couplings else f"{name}_energy"


def write_embedding(
    path: Path,
    cells: Cells,
    *,
    embeddings: dict[str, np.ndarray],
    layouts: dict[str, np.ndarray],
    energy: np.ndarray | None,
    provenance: dict[str, Any],
    energy_name: str = QBM_ENERGY,
    gates: np.ndarray | None = None,
    loadings: np.ndarray | None = None,
) -> None:
    """Writes obs, var, embeddings and energies, whole or not at all; the counts are left out.

    Args:
      path: the file.
      cells: the cells and genes, with the input's own tables.
      embeddings: arrays [cells, dims] by their name in `obsm`; the first is the model's.
      layouts: UMAP coordinates [cells, 2] by embedding; written as X_umap_<name>, the first
        as X_umap.
      energy: energy of the mean spins in nats [cells] (E_q[E(s)] where the posterior is
        factorial); None for a prior without spins.
      provenance: `uns["qbm_jax"]`.
      energy_name: where the energy stands in `obs`, see `energy_key`.
      gates: `var["autozi_gate"]`, the probability that the gene is zero-inflated [genes], of
        models with the likelihood autozi; else None.
      loadings: `varm["loadings"]`, weight of each latent in each gene's scale logit
        [genes, latents], of models with a linear decoder; else None.

    Raises:
      InputError: the file cannot be written.
    """
    adata = anndata.AnnData(obs=cells.obs.copy(), var=cells.var.copy())
    if energy is not None:
        adata.obs[energy_name] = energy
    if gates is not None:
        adata.var[GATES] = gates
    if loadings is not None:
        adata.varm[LOADINGS] = loadings
    for name, values in embeddings.items():
        adata.obsm[name] = np.asarray(values, np.float32)
    for index, (name, values) in enumerate(layouts.items()):
        key = "X_umap" if index == 0 else f"X_umap_{name.removeprefix('X_')}"
        adata.obsm[key] = np.asarray(values, np.float32)
    adata.uns["qbm_jax"] = provenance
    with written_whole(path) as temporary:
        adata.write_h5ad(temporary, compression="gzip")
