"""Names of cells by their nearest cells in a reference, in the embedding of a trained model."""

from typing import Any

import numpy as np
import pandas as pd

from qbm_jax.data import UNLABELLED, groups
from qbm_jax.data.read import check_is_anndata
from qbm_jax.errors import InputError
from qbm_jax.fitted.document import Model
from qbm_jax.runtime.options import check, whole


def transfer_labels(
    model: Model, adata: Any, reference: Any, label_column: str, *, num_neighbours: int = 15,
    layer: str | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The commonest cell type among the nearest cells of a reference, in the embedding.

    Args:
      model: the fitted model.
      adata: cells to name.
      reference: cells whose types are known; what reads like a missing value is no type.
      label_column: column of the reference's `obs` with the cell type.
      num_neighbours: cells of the reference that vote.
      layer: layer with the raw counts; None: that of the training, or `X`.

    Returns:
      "label" and "uncertainty" of each cell: the share of votes for other types. Cells without
      any count have neither.

    Raises:
      InputError: as `embed`; no such column, or no cell of the reference has a type.
    """
    from sklearn.neighbors import NearestNeighbors

    num_neighbours = check("num_neighbours", num_neighbours, whole(1))
    for each, source in ((adata, "transfer_labels"), (reference, "reference")):
        check_is_anndata(each, source)
    codes, types, _ = groups.labels(reference.obs, label_column, "reference")
    if codes is None:
        raise InputError("expected label_column as a column of the reference's obs, got None")
    spins, known = (model.embed(each, layer) for each in (adata, reference))
    typed = np.array(types, object)[codes] != UNLABELLED
    usable = np.isfinite(known).all(axis=1) & typed
    if not usable.any():
        raise InputError(f"expected cells with a type in {label_column!r}, got none")
    counted = np.isfinite(spins).all(axis=1)
    number = min(num_neighbours, int(usable.sum()))
    search = NearestNeighbors(n_neighbors=number).fit(known[usable])
    votes = np.zeros((len(spins), len(types)))
    if counted.any():
        nearest = search.kneighbors(spins[counted], return_distance=False)
        np.add.at(votes, (np.flatnonzero(counted)[:, None], codes[usable][nearest]), 1 / number)
    label = np.array(types, object)[votes.argmax(axis=1)]
    label[~counted] = None
    uncertainty = np.where(counted, 1 - votes.max(axis=1), np.nan)
    return pd.DataFrame({"label": label, "uncertainty": uncertainty}, index=adata.obs_names)
