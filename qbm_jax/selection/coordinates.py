"""What cells say of themselves: coordinates and columns, from memory or from their files."""

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.selection.inputs import LARGEST, listed

REPRESENTATIONS = ("X_qbmvae", "X_pca")  # of obsm, the first that is there


def opened(data: Any, model: Any) -> Any:
    """The cells of a path, left on disk, in the model's genes; anything else as it is.

    Raises:
      InputError: a path without a model, a file that cannot be used, or cells in it that have no
        count in the model's genes.
    """
    if not isinstance(data, str | os.PathLike):
        return data
    if model is None:
        raise InputError(f"expected model= with the path {data}: its cells are embedded by it")
    from qbm_jax.data.on_disk import open_cells

    cells = open_cells([Path(data)], gene_list=model.settings.genes)  # the encoder reads no batch
    with closing(cells.parts[0].open()) as file:
        number = file.shape[0]
    if cells.num_cells < number:
        raise InputError(
            "expected counts in the model's genes in every cell of the file, got none in "
            f"{number - cells.num_cells} of {number}; open it with qbm_jax.data.on_disk.open_cells "
            "and take cells.rows[indices_]"
        )
    return cells


def points_of(data: Any, model: Any, use_rep: str | None) -> np.ndarray:
    """Coordinates [cells, dims] of an array, an AnnData, or cells that a model embeds.

    Args:
      data: an array [cells, dims]; an AnnData; or with a model cells of `qbm_jax.data` in memory
        or on disk, which are embedded block by block. `opened` makes these of a path.
      model: a fitted model that embeds the data; None: they have coordinates.
      use_rep: key of `obsm`.

    Raises:
      InputError: no such key (those there are listed), or what `checked_points` refuses.
    """
    if model is not None:
        points = _embedded(data, model)
    elif hasattr(data, "obsm"):
        points = data.obsm[_representation(data.obsm, use_rep)]
    else:
        points = data
    return checked_points(points)


def checked_points(points: Any, least: int = 2, of: str = "cells") -> np.ndarray:
    """Coordinates [cells, dims] as float64, or float32 if they are.

    Args:
      points: what can be made an array.
      least: cells that there must be.
      of: whose coordinates they are.

    Raises:
      InputError: no real numbers, some that are masked, NaN or above 1e100, or fewer cells.
    """
    kind = type(points).__name__
    if np.ma.is_masked(points):
        masked = int(np.ma.getmaskarray(points).any(axis=-1).sum())
        raise InputError(
            f"expected coordinates of all {of}, got masked ones in {masked}; leave these cells out"
        )
    try:
        points = np.asarray(points)
        if np.iscomplexobj(points):
            raise TypeError
        points = points.astype(np.float64 if points.dtype != np.float32 else np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected coordinates [{of}, dims], got {kind}") from error
    if points.ndim != 2 or len(points) < least or not points.shape[1]:
        raise InputError(
            f"expected coordinates [{of}, dims] of {least} cells or more, got {points.shape}"
        )
    if bad := int((~np.isfinite(points)).any(axis=1).sum()):
        raise InputError(
            f"expected finite coordinates, got NaN or infinity in {bad} of {len(points)} {of}; "
            "leave these cells out"
        )
    if (largest := max(float(points.max()), -float(points.min()))) > LARGEST:
        raise InputError(
            f"expected coordinates of at most {LARGEST:g}, got {largest:.3g}; divide them all"
        )
    return points


def _representation(obsm: Mapping[str, Any], use_rep: str | None) -> str:
    known = ", ".join(obsm) or "none"
    if use_rep is None:
        for name in REPRESENTATIONS:
            if name in obsm:
                return name
        raise InputError(f"expected use_rep, a key of obsm; there are {known}")
    if use_rep not in obsm:
        raise InputError(f"no key {use_rep!r} in obsm; there are {known}")
    return use_rep


def _embedded(data: Any, model: Any) -> np.ndarray:
    if hasattr(data, "obsm"):
        return model.embed(data)
    if not hasattr(data, "reader"):
        return model.encode_cells(data)[0]
    points = np.empty((data.num_cells, model.vae.num_latents), np.float32)
    for rows, embedding, _ in model.encode_blocks(data):
        points[rows] = embedding
    return points


def column_of(data: Any, values: Any, what: str, num_cells: int) -> np.ndarray:
    """Values [cells]: given as such, or as the name of a column of `obs`.

    Cells on disk have any column of their files.

    Raises:
      InputError: no such column, or another number of them.
    """
    if isinstance(values, str):
        values = _named(data, values, what)
    found = listed(values, what)
    if found.shape != (num_cells,):
        raise InputError(f"expected {what} [{num_cells} cells], got shape {found.shape}")
    return found


def _named(data: Any, name: str, what: str) -> Any:
    if hasattr(data, "obs") and name in data.obs:
        return data.obs[name]
    if not hasattr(data, "reader"):
        known = ", ".join(map(str, getattr(data, "obs", ()))) or "none"
        raise InputError(f"no column {name!r} of obs for {what}; there are {known}")
    found = []
    for part in data.parts:
        with closing(part.open()) as file:
            found.extend(file.obs([name])[name].tolist())
    return np.array(found)[data.rows]
