"""What every task on finished embeddings asks of its arrays."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from qbm_jax.errors import InputError


def check_points(points: np.ndarray, num_cells: int, name: str = "the embedding") -> np.ndarray:
    """The coordinates as float32 [cells, dims], copied.

    Raises:
      InputError: another shape, or values that are not finite in single precision.
    """
    points = np.asarray(points)
    if points.ndim != 2 or len(points) != num_cells or points.shape[1] == 0:
        raise InputError(f"expected {name} of shape [{num_cells}, dims], got {points.shape}")
    with np.errstate(over="ignore"):
        single = np.array(points, dtype=np.float32)
    if not np.isfinite(single).all():
        raise InputError(
            f"expected finite values in {name}, got NaN, infinity or a number above 3e38"
        )
    return single


def check_names(values: Collection, what: str, num_cells: int | None = None) -> np.ndarray:
    """Names (or codes) of something that every cell has, as strings [cells].

    Args:
      values: as given.
      what: that they name, for the message.
      num_cells: how many there have to be, if it is known.

    Raises:
      InputError: another number, or missing ones, which are no name.
    """
    given = np.asarray(values)
    if num_cells is not None and given.shape != (num_cells,):
        raise InputError(f"expected one {what} per cell, got {given.shape} for {num_cells} cells")
    if missing := int(pd.isna(given).sum()):
        raise InputError(
            f"expected a {what} for every cell, got none for {missing} of {given.size}; leave these"
            " cells out"
        )
    return given.astype(str)


def check_labels(labels: Collection | None, task: str, num_cells: int | None = None) -> np.ndarray:
    """Cell-type names [cells] as strings.

    Raises:
      InputError: there are none, some are missing, they are not as many as cells, or they name a
        single type.
    """
    if labels is None:
        raise InputError(f"expected cell-type labels for {task}, got none; name a label column")
    names = check_names(labels, "cell type", num_cells)
    if len(np.unique(names)) < 2:
        raise InputError(f"expected at least two cell types for {task}, got {np.unique(names)}")
    return names
