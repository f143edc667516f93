"""Names of cells by their nearest cells in a reference, in the embedding of a trained model."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from qbm_jax.data import UNLABELLED, groups
from qbm_jax.data.read import check_is_anndata
from qbm_jax.errors import InputError
from qbm_jax.fitted.document import Model
from qbm_jax.runtime.options import check, whole

NUM_NEIGHBOURS = 15


class Types(NamedTuple):
    """The cell types of a reference.

    Attributes:
      codes: into `names` [cells].
      names: of the types; `UNLABELLED` where a cell has none.
      column: of the reference's `obs`.
    """

    codes: np.ndarray
    names: tuple[str, ...]
    column: str

    @classmethod
    def of(cls, reference: Any, column: str | None) -> "Types":
        """The types in a column.

        Raises:
          InputError: no such column, or none is named.
        """
        codes, names, _ = groups.labels(reference.obs, column, "reference")
        if codes is None or column is None:
            raise InputError("expected label_column as a column of the reference's obs, got None")
        return cls(codes, names, column)


def transfer_labels(
    model: Model, adata: Any, reference: Any, label_column: str, *,
    num_neighbours: int = NUM_NEIGHBOURS, layer: str | None = None,
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
    num_neighbours = check("num_neighbours", num_neighbours, whole(1))
    for each, source in ((adata, "transfer_labels"), (reference, "reference")):
        check_is_anndata(each, source)
    types = Types.of(reference, label_column)
    spins, known = (model.embed(each, layer) for each in (adata, reference))
    return pd.DataFrame(voted(spins, known, types, num_neighbours), index=adata.obs_names)


def voted(
    spins: np.ndarray, known: np.ndarray, types: Types, num_neighbours: int = NUM_NEIGHBOURS
) -> dict[str, np.ndarray]:
    """What `transfer_labels` gives, by name [cells].

    Args:
      spins: embedding of the cells to name [cells, N]; NaN of those without a count.
      known: that of the reference [reference cells, N].
      types: of the reference's cells.
      num_neighbours: cells of the reference that vote.

    Raises:
      InputError: no cell of the reference has a type and a count.
    """
    from sklearn.neighbors import NearestNeighbors

    codes, names = types.codes, np.array(types.names, object)
    usable = np.isfinite(known).all(axis=1) & (names[codes] != UNLABELLED)
    if not usable.any():
        raise InputError(f"expected cells with a type in {types.column!r}, got none")
    counted = np.isfinite(spins).all(axis=1)
    number = min(num_neighbours, int(usable.sum()))
    search = NearestNeighbors(n_neighbors=number).fit(known[usable])
    votes = np.zeros((len(spins), len(names)))
    if counted.any():
        nearest = search.kneighbors(spins[counted], return_distance=False)
        np.add.at(votes, (np.flatnonzero(counted)[:, None], codes[usable][nearest]), 1)
    label = names[votes.argmax(axis=1)]
    label[~counted] = None
    uncertainty = np.where(counted, 1 - votes.max(axis=1) / number, np.nan)
    return {"label": label, "uncertainty": uncertainty}
