"""Opens an h5ad file and loads its tables and one matrix of counts, nothing else."""

import contextlib
import errno
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import read_elem

from qbm_jax.errors import InputError

SIMULATOR_PRESET = "simulator_preset"
"""Key in `uns["qbm_jax"]` of a file whose cells are simulated; the value names the preset."""

_TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)
_DENSE_BLOCK = 4096  # rows of a dense matrix held at a time: 330 MB at 20,000 float32 genes


Table = tuple[Any, pd.DataFrame, pd.DataFrame]
"""A matrix [cells, genes] with its `obs` and `var`."""


def load(path: Path, layer: str | None, use_raw: bool) -> Table:
    """The matrix asked for (dense ones become CSR by blocks of rows) with its obs and var.

    Raises:
        InputError: no such file, not an h5ad, damaged, or without that matrix.
    """
    check_is_hdf5(path)
    with damage_named(path), h5py.File(path, "r") as file:
        if "obs" not in file or "var" not in file:
            raise InputError(
                f"expected an h5ad file, {path} is HDF5 without obs and var tables "
                f"(holds: {some(file)}); convert it with anndata"
            )
        if isinstance(file["obs"], h5py.Dataset):
            # before anndata 0.7 tables were compound datasets; anndata converts them
            return choose_matrix(anndata.read_h5ad(path), layer, use_raw)
        matrix, var = choose_elements(file, layer, use_raw)
        return _read_matrix(matrix), read_elem(file["obs"]), read_elem(var)


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turns what the storage libraries raise on damaged files into one line with the file's name.

    Too many open files are no damage, and told as what they are.

    Raises:
        InputError: something in the block could not be read.
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno in _TOO_MANY_OPEN:
            raise _too_many_open(path) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} is damaged or truncated and cannot be read ({reason}); copy it again"
        ) from error


def _too_many_open(path: Path) -> InputError:
    return InputError(
        f"{path} cannot be opened: this process has as many files open as the system allows; "
        "raise the limit (ulimit -n) or give fewer files"
    )


def choose_matrix(adata: anndata.AnnData, layer: str | None, use_raw: bool) -> Table:
    """The matrix asked for with its obs and var.

    Raises:
        InputError: no such layer, no raw, no X, or a layer and raw together.
    """
    check_choice(layer, use_raw, list(adata.layers), adata.raw is not None, adata.X is not None)
    if use_raw:
        return adata.raw.X, adata.obs, adata.raw.var
    return (adata.X if layer is None else adata.layers[layer]), adata.obs, adata.var


def check_choice(
    layer: str | None, use_raw: bool, layers: list[str], has_raw: bool, has_x: bool
) -> None:
    """The one place that says which matrices there are when the one asked for is not."""
    there = f"there are: {some([*(['X'] * has_x), *layers, *(['raw'] * has_raw)])}"
    if layer is not None and use_raw:
        raise InputError(f"expected a layer or raw, got layer {layer!r} and raw; choose one")
    if layer is not None and layer not in layers:
        raise InputError(f"expected counts in layer {layer!r}, which does not exist; {there}")
    if use_raw and not has_raw:
        raise InputError(f"expected counts in raw, which does not exist; {there}")
    if layer is None and not use_raw and not has_x:
        raise InputError(f"expected counts in X, which is empty; name a layer or raw; {there}")


def simulator_preset(file: Mapping[str, Any]) -> str | None:
    """The simulator's preset that an open file's cells come from; None for measured cells."""
    key = f"uns/qbm_jax/{SIMULATOR_PRESET}"
    return str(read_elem(file[key])) if key in file else None


def some(names: Iterable[object], limit: int = 10) -> str:
    """The first names in words, with the number of those left out."""
    names = [str(name) for name in names]
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + rest


def check_is_hdf5(path: Path) -> None:
    """Refuses what is no readable HDF5 file."""
    if not path.exists():
        raise InputError(f"expected an h5ad file, {path} does not exist; check the path")
    if path.is_dir():
        raise InputError(f"expected an h5ad file, {path} is a directory; name a file in it")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        if error.errno in _TOO_MANY_OPEN:
            raise _too_many_open(path) from error
        raise InputError(f"{path} cannot be opened ({error.strerror}); check its rights") from error
    if not h5py.is_hdf5(path):
        raise InputError(f"expected an h5ad file, {path} is not one (no HDF5 signature)")


def choose_elements(file: Mapping[str, Any], layer: str | None, use_raw: bool) -> tuple[Any, Any]:
    """The stored matrix asked for and its table of genes, of an open file or zarr group."""
    layers = list(file["layers"]) if "layers" in file else []
    check_choice(layer, use_raw, layers, "raw" in file, "X" in file)
    if use_raw:
        return file["raw/X"], file["raw/var"]
    return file["X" if layer is None else f"layers/{layer}"], file["var"]


def _read_matrix(element: h5py.Group | h5py.Dataset):
    """Sparse as stored; dense by blocks of rows, so that it is never held whole."""
    if isinstance(element, h5py.Group):
        return read_elem(element)
    if element.ndim != 2 or element.dtype.kind not in "biuf":
        return read_elem(element)  # refused with its dtype by the checks on values
    starts = range(0, element.shape[0], _DENSE_BLOCK)
    blocks = [sp.csr_matrix(element[start : start + _DENSE_BLOCK]) for start in starts]
    return sp.vstack(blocks, format="csr") if blocks else np.zeros(element.shape, np.float32)
