"""The cells of an AnnData in a model's words: its genes in their order, its batches' codes."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from qbm_jax.data import Cells
from qbm_jax.data.columns import writable
from qbm_jax.data.groups import BETWEEN
from qbm_jax.data.names import some
from qbm_jax.errors import InputError
from qbm_jax.feed import minibatches
from qbm_jax.fitted.document import Model
from qbm_jax.fitted.settings import Settings
from qbm_jax.fitted.unobserved import imputed, lacked, read_without

LOGGER = logging.getLogger("qbm_jax")


def cells_of_model(
    model: Model,
    adata: Any,
    *,
    layer: str | None = None,
    batch_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
    need_counts_for: str = "",
) -> Cells:
    """Cells with exactly the model's genes, by name, less those without a count in them.

    Cells may lack the genes that were missing when `map_query` made the model; they are imputed.

    Args:
      model: the fitted model.
      adata: cells that have these genes, among others or not.
      layer: layer with the raw counts; None: that of the training, or `X`.
      batch_column: column of `obs` with the experimental batch; None: one batch.
      label_column: column of `obs` with the cell type; None: no labels.
      need_counts_for: what reads the counts of all genes, so that none can be imputed; "": nothing.

    Raises:
      InputError: genes are missing (they are listed), or counts or columns are unusable.
    """
    missing = lacked(model.settings, adata)
    if missing and need_counts_for:
        raise InputError(
            f"expected all genes of the model, for {need_counts_for} reads their counts; "
            f"{len(missing)} are missing that map_query took as unobserved: {some(missing, 5)}"
        )
    cells = read_without(
        model.settings, adata, missing,
        layer=layer, batch_column=batch_column, label_column=label_column,
    )  # fmt: skip
    return imputed(model, cells, missing)


def cells_in_batches(
    model: Model,
    adata: Any,
    *,
    layer: str | None = None,
    batch_column: str | Sequence[str] | None = None,
    need_counts_for: str = "",
) -> Cells:
    """The cells of `cells_of_model`, with the model's codes of their batches.

    Where no column is named, it is the one of the cells trained on, if these cells have it. Where
    one is named to a model of one batch, a warning in the log says that all cells are of that one.

    Raises:
      InputError: as `cells_of_model` and `with_batches_of`.
    """
    cells = cells_of_model(
        model, adata, layer=layer, batch_column=column_in_use(model.settings, adata, batch_column),
        need_counts_for=need_counts_for,
    )  # fmt: skip
    known = model.settings.batch_names
    if len(known) == 1 and cells.batch_column is not None and cells.batch_names != known:
        LOGGER.warning(
            "the model knows one batch, %s: the batches of column %r (%s) are all taken as it",
            known[0], cells.batch_column, some(cells.batch_names),
        )  # fmt: skip
    return with_batches_of(model.settings, cells)


def column_in_use(
    settings: Settings, adata: Any, named: str | Sequence[str] | None
) -> str | Sequence[str] | None:
    """The column that is named; where none is, that of `known_columns` if batches matter at all."""
    if named is None and len(settings.batch_names) > 1:
        return known_columns(settings, adata)
    return named


def known_columns(settings: Settings, adata: Any) -> str | list[str] | None:
    """The columns that told the batches of the cells trained on, if these cells have them."""
    known, obs = settings.batch_column, getattr(adata, "obs", None)
    if known is None or not isinstance(obs, pd.DataFrame):
        return None
    # What is known is the name that files hold: the column may have one that they cannot.
    there = {kept: name for name, kept in writable(obs.iloc[:0], "obs").names.items()}
    parts = [known] if known in there else known.split(BETWEEN)
    if not all(part in there for part in parts):
        return None
    return there[known] if known in there else [there[part] for part in parts]


def with_batches_of(settings: Settings, cells: Cells) -> Cells:
    """The same cells with the model's codes of their batches; the decoder reads them.

    A model of one batch takes all cells as of that one.

    Raises:
      InputError: a batch that the model does not know, or no column of batches where it knows
        several.
    """
    known = settings.batch_names
    if len(known) == 1:
        codes = np.zeros(len(cells.batch_names), np.int32)
    elif cells.batch_column is None:
        raise InputError(
            f"expected batch_column, since the model knows {len(known)} batches "
            f"({_listed(known)}), got None"
        )
    else:
        unknown = [name for name in cells.batch_names if name not in known]
        if unknown:
            raise InputError(
                f"unknown batches {_listed(unknown)} in column {cells.batch_column!r}; the model "
                f"knows {_listed(known)}"
            )
        codes = np.array([known.index(name) for name in cells.batch_names], np.int32)
    return dataclasses.replace(cells, batch=codes[cells.batch], batch_names=known)


def device_counts(cells: Cells) -> minibatches.DeviceCounts:
    """Cells on the device; see `minibatches.to_device`."""
    counts = cells.counts
    return minibatches.to_device(
        counts.indptr, counts.indices, counts.data, cells.batch, cells.num_genes
    )


def counts_bytes(cells: Cells) -> int:
    """Bytes of `device_counts`, which are not made."""
    return minibatches.counts_bytes(cells.counts.nnz, cells.num_cells, cells.num_genes)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
