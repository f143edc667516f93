"""What `fit` takes: an AnnData, files of cells, or preprocessed cells; and which are held out."""

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from qbm_jax.data import Cells, from_anndata, open_cells, preprocess
from qbm_jax.data.names import some, text
from qbm_jax.data.on_disk import StoredCells
from qbm_jax.errors import InputError
from qbm_jax.fitted.document import Model
from qbm_jax.runtime.options import LARGEST_WHOLE

_LOOKED_AT = 2000  # cells on disk that tell whether a posterior collapsed


def cells_to_fit(
    given: Any,
    *,
    batch_column: str | Sequence[str] | None,
    label_column: str | None = None,
    layer: str | None,
    use_raw: bool = False,
    num_genes: int | None,
    progress: bool,
) -> Cells | StoredCells:
    """The cells and genes to model.

    Args:
      given: an AnnData, preprocessed in memory; a path or several, whose cells stay on disk; or
        preprocessed cells, which are taken as they are.
      batch_column: column of `obs` with the experimental batch, or several; None: one batch.
      label_column: column of `obs` with the cell type; None: no labels.
      layer: layer with the raw counts; None: `X`.
      use_raw: take the counts (and genes) of `raw` instead.
      num_genes: highly variable genes to model; None for all.
      progress: whether to show a bar while files are read.

    Raises:
      InputError: it is something else, cells that cannot be used, or a batch without cells.
    """
    if isinstance(given, anndata.AnnData):
        cells = from_anndata(
            given, batch_column=batch_column, label_column=label_column, layer=layer,
            use_raw=use_raw,
        )  # fmt: skip
        return preprocess(cells, num_genes=cells.num_genes if num_genes is None else num_genes)
    if isinstance(given, Cells | StoredCells):
        if (batch_column, label_column, layer, use_raw) != (None, None, None, False):
            raise InputError(
                "columns and layer are of an AnnData or a file; cells of qbm_jax.data have theirs "
                "already: leave them out"
            )
        _check_batches(given)
        return given
    paths = _paths(given)
    if paths is None:
        raise InputError(
            f"fit: expected an AnnData object, paths of h5ad files or zarr folders, or cells of "
            f"qbm_jax.data, got {type(given).__name__}; take one modality of a MuData, or wrap an "
            f"array in AnnData"
        )
    return open_cells(
        paths, batch_column=batch_column, label_column=label_column, layer=layer, use_raw=use_raw,
        progress=progress,
        num_genes=LARGEST_WHOLE if num_genes is None else num_genes,
    )  # fmt: skip


def what_is_modelled(cells: Cells | StoredCells) -> str:
    """A line on how many cells, genes, batches and types there are."""
    return (
        f"to be modelled: {cells.num_cells} cells x {cells.num_genes} genes, "
        f"{len(cells.batch_names)} batches, {len(cells.label_names)} types"
    )


def _check_batches(cells: Cells | StoredCells) -> None:
    """Refuses batches that `select` left without cells: of them nothing can be learnt."""
    sizes = np.bincount(cells.batch, minlength=len(cells.batch_names))
    if empty := [name for name, size in zip(cells.batch_names, sizes, strict=True) if not size]:
        raise InputError(
            f"expected cells of every batch, got none of {some(empty)}; choose cells in the "
            "AnnData before they become cells of qbm_jax.data, or hold the others out (held_out)"
        )


def _paths(given: Any) -> list[str | Path] | None:
    several = list(given) if isinstance(given, list | tuple) else [given]
    if not several or not all(isinstance(path, str | os.PathLike) for path in several):
        return None
    return [path if isinstance(path, str) else Path(path) for path in several]


def held_out_cells(held_out: Any, given: Any, cells: Cells | StoredCells) -> np.ndarray | None:
    """Places among `cells` of the cells that are held out, ascending; None for none.

    Args:
      held_out: a mask [cells of the input], or indices of them: of an AnnData's cells, of the rows
        of all files, or of preprocessed cells. A mask that is a pandas Series goes by
        the cells' names, of files by position. None: none.
      given: the input of `fit`.
      cells: what became of it; cells without a count are not there.

    Raises:
      InputError: no mask of this length, indices out of range or given twice, or a Series of other
        cells.
    """
    if held_out is None:
        return None
    preprocessed = given is cells
    rows = np.arange(cells.num_cells) if preprocessed else cells.rows
    size = cells.num_cells if preprocessed else _num_rows(given, cells)
    chosen = np.asarray(_by_position(held_out, given))
    if chosen.dtype == bool and chosen.shape == (size,):
        chosen = np.flatnonzero(chosen)
    whole = np.issubdtype(chosen.dtype, np.integer) or not chosen.size
    if chosen.ndim != 1 or not whole or (chosen.size and not _within(chosen, size)):
        raise InputError(
            f"expected held_out as a mask [{size}] of the cells given or as indices from 0 to "
            f"{size - 1}, got {chosen.dtype} of shape {chosen.shape}"
            + (f", {chosen.min()} to {chosen.max()}" if whole and chosen.size else "")
        )
    if len(np.unique(chosen)) < chosen.size:
        raise InputError(
            f"expected every index in held_out once, got {chosen.size} of "
            f"{len(np.unique(chosen))} cells; give booleans for a mask [{size}]"
        )
    return np.flatnonzero(np.isin(rows, chosen))


def warn_of_untrained_batches(cells: Cells | StoredCells, held_out: np.ndarray | None) -> None:
    """Warns of batches all of whose cells are held out: nothing learns their effects."""
    if held_out is None:
        return
    trained = np.bincount(np.delete(cells.batch, held_out), minlength=len(cells.batch_names))
    if names := [name for name, size in zip(cells.batch_names, trained, strict=True) if not size]:
        warnings.warn(
            f"no cell of batch {some(names)} is trained on: its effects on expression stay as they "
            "start, and denoised and generated cells of it are wrong; train without its cells and "
            "map them with map_query",
            stacklevel=3,
        )


def _by_position(held_out: Any, given: Any) -> Any:
    """What is held out; a mask that names its cells in the order of the cells given."""
    names = getattr(given, "obs_names", given.obs.index if isinstance(given, Cells) else None)
    is_mask = isinstance(held_out, pd.Series) and pd.api.types.is_bool_dtype(held_out.dtype)
    if names is None or not is_mask:  # a comparison of nullable texts is a nullable mask
        return held_out
    own, wanted = (pd.Index([text(name) for name in each]) for each in (held_out.index, names))
    if own.equals(wanted):
        return held_out
    unique = own.is_unique and wanted.is_unique
    if not (unique and len(own) == len(wanted) and wanted.isin(own).all()):
        raise InputError(
            f"expected held_out with the names of the {len(wanted)} cells given as its index, got "
            f"a Series of {len(own)} others; give held_out.to_numpy() for a mask by position"
        )
    return held_out.to_numpy()[own.get_indexer(wanted)]


def _within(chosen: np.ndarray, size: int) -> bool:
    return bool(chosen.min() >= 0 and chosen.max() < size)


def _num_rows(given: Any, cells: Cells | StoredCells) -> int:
    """Cells of the input, those without a count included."""
    if isinstance(cells, Cells):
        return int(given.n_obs)
    last = cells.parts[-1]
    with contextlib.closing(last.open()) as file:
        return last.first_row + int(file.shape[0])


def some_in_memory(cells: Cells | StoredCells) -> Cells:
    """Cells in memory as they are; of cells on disk some, evenly spread."""
    if isinstance(cells, Cells):
        return cells
    places = np.linspace(0, cells.num_cells - 1, min(cells.num_cells, _LOOKED_AT))
    return cells.select(np.unique(places.astype(int)))


def remember_layer(model: Model, layer: str | None) -> None:
    """Writes down the layer that a model was trained on, which its methods then read as well."""
    if layer is not None:
        model.settings = dataclasses.replace(model.settings, layer=layer)


def mesh_sizes(devices: Any) -> tuple[int, int] | None:
    """(data, spins) of the devices that share a training; None for the default device alone.

    Raises:
      InputError: no two whole numbers.
    """
    if devices is None:
        return None
    sizes: Sequence[Any] = tuple(devices) if isinstance(devices, list | tuple) else ()
    if len(sizes) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) for n in sizes):
        raise InputError(
            f"expected devices as (data, spins), two whole numbers, or None, got {devices!r}"
        )
    return None if tuple(sizes) == (1, 1) else (sizes[0], sizes[1])
