"""Sparse matrices as they are stored, CSR or CSC; checked before scipy or any memory sees them."""

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.sparse as sp
import zarr

from qbm_jax.data.names import text
from qbm_jax.errors import InputError


class Compressed(NamedTuple):
    """A sound matrix of an open file, whose values and indices are not read yet.

    Attributes:
      kind: "csr" or "csc".
      shape: cells and genes.
      indptr: int64 [lines + 1], in memory; starts at 0, ascends, ends at the stored counts.
      values: the stored array of counts [stored], of any type of numbers.
      indices: the stored array of positions within the lines [stored].
    """

    kind: str
    shape: tuple[int, int]
    indptr: np.ndarray
    values: Any
    indices: Any


def kind_of(element: Any) -> str:
    """How a matrix is stored: csr, csc, dense, or the file's own word for anything else."""
    if isinstance(element, h5py.Dataset | zarr.Array):
        return "dense"
    encoding = element.attrs.get("encoding-type", element.attrs.get("h5sparse_format", "a group"))
    return text(encoding).removesuffix("_matrix")


def open_compressed(element: Any, path: Path) -> Compressed:
    """Checks everything about a stored CSR or CSC matrix but the indices, which are not read.

    Raises:
      InputError: it is damaged, or holds no numbers; the line names the file.
    """
    missing = [name for name in ("data", "indices", "indptr") if name not in element]
    declared = element.attrs.get("shape", element.attrs.get("h5sparse_shape"))
    shape = np.asarray(() if declared is None else declared)
    if missing or shape.shape != (2,) or shape.dtype.kind not in "iu" or (shape < 0).any():
        raise _damaged(path, f"its matrix lacks {', '.join(missing) or 'a shape of two numbers'}")
    kind = kind_of(element)
    values, indices, pointers = (element[name] for name in ("data", "indices", "indptr"))
    check_numbers(values.dtype, str(path))
    for name, array in (("indices", indices), ("indptr", pointers)):
        if array.dtype.kind not in "iu":
            raise _damaged(path, f"its matrix has {name} of type {array.dtype}, not whole numbers")
    lines = int(shape[0 if kind == "csr" else 1])
    sizes = [array.shape for array in (values, indices, pointers)]
    if any(len(size) != 1 for size in sizes) or sizes[0] != sizes[1] or sizes[2] != (lines + 1,):
        raise _damaged(path, "its matrix is incomplete")
    # zarr reads a missing chunk as zeros; shards count with all the chunks they have room for
    zarrs = [array for array in (values, indices) if isinstance(array, zarr.Array)]
    if any(array.nchunks_initialized < array.nchunks for array in zarrs):
        raise _damaged(path, "its matrix is incomplete")
    indptr = np.asarray(pointers[:])
    check_pointers(indptr, sizes[0][0], str(path))
    return Compressed(
        kind, (int(shape[0]), int(shape[1])), indptr.astype(np.int64), values, indices
    )


def read_compressed(stored: Compressed, path: Path) -> sp.csr_matrix | sp.csc_matrix:
    """The whole matrix, float32.

    Raises:
      InputError: an index is out of range.
    """
    indices = stored.indices[:]
    check_indices(indices, stored.shape[1 if stored.kind == "csr" else 0], stored.kind, str(path))
    made = sp.csr_matrix if stored.kind == "csr" else sp.csc_matrix
    return made((as_counts(stored.values[:]), native(indices), stored.indptr), shape=stored.shape)


def check_in_memory(matrix: Any, source: str) -> None:
    """The same check for a scipy matrix that somebody else built.

    Raises:
      InputError: it would make scipy's compiled code read outside of its arrays.
    """
    if matrix.format not in ("csr", "csc"):
        return
    lines, width = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
    if len(matrix.indptr) != lines + 1 or len(matrix.indices) != len(matrix.data):
        raise _damaged(source, "its matrix is incomplete")
    check_pointers(matrix.indptr, len(matrix.data), source, exact=False)
    check_indices(matrix.indices[: matrix.indptr[-1]], width, matrix.format, source)


def check_pointers(indptr: np.ndarray, stored: int, source: str, exact: bool = True) -> None:
    """Refuses pointers [lines + 1] that do not lead through `stored` counts; scipy keeps spare."""
    last = int(indptr[-1])
    if indptr[0] != 0 or (last != stored if exact else not 0 <= last <= stored):
        raise _damaged(source, "its matrix is incomplete")
    if np.any(indptr[1:] < indptr[:-1]):
        raise _damaged(source, "the pointers to the rows of its matrix do not ascend")


def check_indices(indices: np.ndarray, width: int, kind: str, source: str) -> None:
    """Refuses positions [stored] outside of the lines, which would make scipy crash."""
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < width:
        what = "gene" if kind == "csr" else "cell"
        raise _damaged(source, f"a stored count has a {what} outside the {width} {what}s")


def check_numbers(dtype: np.dtype, source: str) -> None:
    """Refuses what is no real number, with its type."""
    if dtype.kind not in "biuf":
        raise InputError(f"{source}: expected numbers, the matrix holds {dtype}; convert it")


def as_counts(values: np.ndarray) -> np.ndarray:
    """Counts [stored] as float32: scipy knows no half precision and no other order of bytes."""
    with np.errstate(over="ignore"):  # infinity is refused with the counts
        return np.asarray(values).astype(np.float32, copy=False)


def native(indices: np.ndarray) -> np.ndarray:
    """Indices [stored], which are in range, in a type that scipy takes."""
    fits = np.can_cast(indices.dtype, np.int32)
    return indices.astype(np.int32 if fits else np.int64, copy=False)


def _damaged(source: str | Path, what: str) -> InputError:
    return InputError(f"{source} is damaged: {what}; copy it again")
