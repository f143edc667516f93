"""What is stored in an open file is the file's own, whole and readable; checked before it is read.

HDF5 lets a file point to other files, and declares shapes that need not be stored. Both are refused
here, so that no text of another file is taken for counts and nothing is allocated for nothing.
"""

import os
from math import ceil, prod
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import zarr

from qbm_jax.errors import InputError

Group: TypeAlias = h5py.Group | zarr.Group
"""An open file, or a part of one."""


def member(group: Group, name: str, path: Path) -> Any | None:
    """The element of this name ("raw/X") in an open file; None if there is none.

    Raises:
      InputError: a link on the way, or one below the element, leads out of the file; a part of
        it is stored elsewhere, or not stored at all.
    """
    element: Any = group
    for part in name.split("/"):
        if isinstance(element, h5py.Group):
            element = _linked(element, part, path)
        elif isinstance(element, zarr.Group) and part in element:
            element = element[part]
        else:
            return None
        if element is None:
            return None
    check_own(element, path)
    return element


def check_own(element: Any, path: Path) -> None:
    """Refuses an element of which any part is not stored in this file; as `member`."""
    if isinstance(element, zarr.Group | zarr.Array):
        _check_folder(path, path / element.path)
    else:
        _check_below(element, path, set())


def _linked(group: h5py.Group, name: str, path: Path) -> h5py.Group | h5py.Dataset | None:
    """The target of a link in a group; None if there is none."""
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise _leads_out(path, f"{group.name.rstrip('/')}/{name}", link.filename)
    target = group.get(name)
    if target is not None and target.file.filename != group.file.filename:
        raise _leads_out(path, f"{group.name.rstrip('/')}/{name}", target.file.filename)
    return target


def _leads_out(path: Path, name: str, other: str) -> InputError:
    return InputError(
        f"{path}: expected its own contents, {name} leads to another file ({other}); copy the "
        "contents into the file (h5repack, or read and write it with anndata)"
    )


def _check_below(element: h5py.Group | h5py.Dataset, path: Path, seen: set[int]) -> None:
    address = h5py.h5o.get_info(element.id).addr
    if address in seen:  # groups may hold themselves
        return
    seen.add(address)
    if isinstance(element, h5py.Dataset):
        _check_dataset(element, path)
    elif isinstance(element, h5py.Group):
        for name in element:
            target = _linked(element, name, path)
            if target is not None:
                _check_below(target, path, seen)


def _check_dataset(dataset: h5py.Dataset, path: Path) -> None:
    if dataset.external:
        raise _leads_out(path, dataset.name, dataset.external[0][0])
    if dataset.is_virtual:
        raise _leads_out(path, dataset.name, dataset.virtual_sources()[0].file_name)
    settings = dataset.id.get_create_plist()
    for index in range(settings.get_nfilters()):
        code, _, _, name = settings.get_filter(index)
        if not h5py.h5z.filter_avail(code):
            raise InputError(
                f"{path}: {dataset.name} is compressed in a way that is not available here "
                f"(HDF5 filter {code}, {name.decode(errors='replace') or 'no name'}); install "
                "hdf5plugin and import it first, or write the file with gzip"
            )
    if dataset.size and not _is_stored(dataset):
        raise InputError(
            f"{path} is damaged: {dataset.name} declares the shape {dataset.shape}, which is not "
            "stored; copy it again"
        )


def _is_stored(dataset: h5py.Dataset) -> bool:
    """Every chunk is there; of arrays of two dimensions, whose empty parts may be left out, any."""
    if dataset.chunks is None or dataset.ndim > 1:
        return dataset.id.get_storage_size() > 0
    pairs = zip(dataset.shape, dataset.chunks, strict=True)
    return dataset.id.get_num_chunks() >= prod(ceil(size / chunk) for size, chunk in pairs)


def _check_folder(path: Path, folder: Path) -> None:
    """Refuses symbolic links that leave a zarr folder."""
    root = path.resolve()
    entries = [folder]
    for parent, folders, files in os.walk(folder):
        inside = (Path(parent) / name for name in (*folders, *files))
        entries += [entry for entry in inside if entry.is_symlink()]
    for entry in entries:
        target = entry.resolve()
        if not target.is_relative_to(root):
            raise _leads_out(path, str(entry.relative_to(path)), str(target))
