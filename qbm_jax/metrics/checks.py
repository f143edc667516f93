"""What every task on finished embeddings asks of its arrays."""

from collections.abc import Collection

import numpy as np

from qbm_jax.errors import InputError


def check_points(points: np.ndarray, num_cells: int, name: str = "the embedding") -> np.ndarray:
    """The coordinates as float32 [cells, dims], copied.

    Raises:
      InputError: another shape, or values that are not finite.
    """
    if points.ndim != 2 or len(points) != num_cells:
        raise InputError(f"expected {name} of shape [{num_cells}, dims], got {points.shape}")
    if not np.isfinite(points).all():
        raise InputError(f"expected finite values in {name}, got NaN or infinity")
    return np.array(points, dtype=np.float32)


def check_labels(labels: Collection | None, task: str) -> np.ndarray:
    """Cell-type names [cells] as strings.

    Raises:
      InputError: there are none, or they name a single type.
    """
    if labels is None:
        raise InputError(f"expected cell-type labels for {task}, got none; name a label column")
    names = np.asarray(labels).astype(str)
    if len(np.unique(names)) < 2:
        raise InputError(f"expected at least two cell types for {task}, got {np.unique(names)}")
    return names
