"""Opens an h5ad file and loads its tables and one matrix of counts, nothing else."""

import contextlib
import errno
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr
from anndata.io import read_elem

from qbm_jax.data.compressed import (
    as_counts,
    check_numbers,
    kind_of,
    open_compressed,
    read_compressed,
)
from qbm_jax.data.names import some, text
from qbm_jax.data.stored import Group, member
from qbm_jax.data.tables import read_table
from qbm_jax.errors import InputError

SIMULATOR_PRESET = "simulator_preset"
"""Key in `uns["qbm_jax"]` of a file whose cells are simulated; the value names the preset."""

_TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)
_DENSE_BLOCK = 4096  # rows of a dense matrix held at a time: 330 MB at 20,000 float32 genes


Table = tuple[Any, pd.DataFrame, pd.DataFrame]
"""A matrix [cells, genes] with its `obs` and `var`."""


def load(path: Path, layer: str | None, use_raw: bool) -> tuple[Table, list[str]]:
    """The matrix asked for (dense ones become CSR by blocks of rows) with its obs and var.

    Returns:
      The three, and a note for each column that cannot be read.

    Raises:
      InputError: no such file, not an h5ad, damaged, or without that matrix.
    """
    check_is_hdf5(path)
    with damage_named(path), h5py.File(path, "r") as file:
        check_tables(file, path)
        matrix, var_name = choose_elements(file, layer, use_raw, path)
        obs, obs_notes = read_table(file, "obs", path)
        var, var_notes = read_table(file, var_name, path)
        return (_read_matrix(matrix, obs, var, path), obs, var), [*obs_notes, *var_notes]


def check_tables(file: Group, path: Path) -> None:
    """Refuses what is no file of anndata's layout."""
    if "obs" not in list(file) or "var" not in list(file):
        raise InputError(
            f"expected an h5ad file, {path} is HDF5 without obs and var tables "
            f"(holds: {some(file)}); convert it with anndata"
        )


def check_shape(shape: tuple[int, ...], obs: pd.DataFrame, var: pd.DataFrame, source: str) -> None:
    """Refuses a matrix that does not fit its tables."""
    if tuple(shape) != (len(obs), len(var)):
        found = " and ".join(str(int(size)) for size in shape)
        raise InputError(
            f"{source}: expected {len(obs)} cells and {len(var)} genes as in obs and var, the "
            f"matrix has {found}; the file is damaged"
        )


@contextlib.contextmanager
def damage_named(path: Path, *more: type[Exception]) -> Iterator[None]:
    """Turns what the storage libraries raise into one line with the file's name.

    Damage is what reading the storage fails on; values of another type than expected, too many open
    files and too little memory are told as what they are.

    Args:
      path: the file.
      *more: further exceptions that mean damage in the block, where it reads plain arrays alone.

    Raises:
      InputError: something in the block could not be read.
    """
    damage: tuple[type[Exception], ...] = (
        OSError, RuntimeError, KeyError, EOFError, zlib.error, *more
    )  # fmt: skip
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{path} does not fit into memory ({_reason(error)}); keep its cells on disk "
            "(data.open_cells; on_disk of a run) or use a larger computer"
        ) from error
    except damage as error:
        if isinstance(error, OSError) and error.errno in _TOO_MANY_OPEN:
            raise _too_many_open(path) from error
        raise InputError(
            f"{path} is damaged or truncated and cannot be read ({_reason(error)}); copy it again"
        ) from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path} has contents of another form than expected ({_reason(error)}); read it with "
            "anndata and write it again"
        ) from error


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


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


def simulator_preset(file: Group, path: Path) -> str | None:
    """The simulator's preset that an open file's cells come from; None for measured cells."""
    element = member(file, f"uns/qbm_jax/{SIMULATOR_PRESET}", path)
    is_one = isinstance(element, h5py.Dataset | zarr.Array) and element.shape == ()
    return text(read_elem(element)) if is_one else None


def is_zarr(path: Path) -> bool:
    """Whether this is a folder of zarr's."""
    return any(os.path.exists(path / name) for name in ("zarr.json", ".zgroup"))


def check_is_hdf5(path: Path) -> None:
    """Refuses what is no readable HDF5 file."""
    if not os.path.exists(path):  # Path.exists raises for a name that is too long
        raise InputError(f"expected an h5ad file, {path} does not exist; check the path")
    if is_zarr(path):
        raise InputError(
            f"expected an h5ad file to read into memory, {path} is a zarr folder; leave it on disk "
            f"(on_disk), or write it as h5ad with anndata"
        )
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


def choose_elements(file: Group, layer: str | None, use_raw: bool, path: Path) -> tuple[Any, str]:
    """The stored matrix asked for, of an open file or zarr group, and the name of its genes' table.

    Raises:
      InputError: there is no such matrix, or it is not stored in this file.
    """
    there = list(file)
    layers = member(file, "layers", path)
    names = [] if layers is None else list(layers)
    old_raw = "raw.X" in there  # before anndata 0.7
    check_choice(layer, use_raw, names, "raw" in there or old_raw, "X" in there)
    if use_raw:
        name, var = ("raw.X", "raw.var") if old_raw else ("raw/X", "raw/var")
    else:
        name, var = "X" if layer is None else f"layers/{layer}", "var"
    element = member(file, name, path)
    if element is None:
        raise InputError(f"{path} is damaged: it has no matrix {name}; copy it again")
    return element, var


def _read_matrix(element: Any, obs: pd.DataFrame, var: pd.DataFrame, path: Path) -> Any:
    """Sparse as stored; dense by blocks of rows, so that it is never held whole."""
    kind = kind_of(element)
    if kind == "dense":
        check_numbers(element.dtype, str(path))
        check_shape(element.shape, obs, var, path.name)
        starts = range(0, element.shape[0], _DENSE_BLOCK)
        blocks = [sp.csr_matrix(as_counts(element[at : at + _DENSE_BLOCK])) for at in starts]
        return sp.vstack(blocks, format="csr") if blocks else np.zeros(element.shape, np.float32)
    if kind not in ("csr", "csc"):
        raise InputError(
            f"{path}: expected counts stored dense, as CSR or as CSC, found {kind}; convert them"
        )
    stored = open_compressed(element, path)
    check_shape(stored.shape, obs, var, path.name)
    return read_compressed(stored, path)
