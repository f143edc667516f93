"""Cells without any count in a model's genes: NaN, or left out, always with a warning."""

import warnings

import numpy as np

LEFT_OUT = "they are left out"


def full_rows(values: np.ndarray, rows: np.ndarray, num_rows: int) -> np.ndarray:
    """Values [rows, ...] of some rows in an array of all rows; the others are NaN."""
    full = np.full((num_rows, *values.shape[1:]), np.nan, values.dtype)
    full[rows] = values
    return full


def warn_of_empty_cells(
    num_counted: int, num_cells: int, stacklevel: int = 4, so: str = "their results are NaN"
) -> None:
    """Warns where cells are without any count in the genes of a model, and what follows."""
    if num_counted < num_cells:
        warnings.warn(
            f"{num_cells - num_counted} of {num_cells} cells have no count in the model's genes: "
            f"{so}",
            stacklevel=stacklevel,
        )
