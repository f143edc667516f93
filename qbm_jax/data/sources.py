"""Where every set behind a table of this repository comes from, and how its file is recognised.

`docs/data.md` prints this record. Files of `download.NAMED` are fetched as they are. The others
were made of public files: `fetch_parts` brings those, each checked by the number that git gave its
content, `made` says what was done to them, and `reconstruct` does it again. Whoever does it again
gets other bytes in an h5ad or npz file; what is in it is compared by `contents`.
"""

import gzip
import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from qbm_jax.data import download
from qbm_jax.data.cells import Cells
from qbm_jax.data.sources_cells import CELLS
from qbm_jax.data.sources_others import OTHERS
from qbm_jax.data.sources_record import PublicFile, Source
from qbm_jax.errors import InputError
from qbm_jax.runtime.identity import digest_names, digest_of
from qbm_jax.runtime.user_cache import expand_home
from qbm_jax.runtime.whole_file import write_whole

GITHUB = "https://api.github.com/repos/{repository}/git/blobs/{blob}"
_AS_IT_IS = "application/vnd.github.raw+json"  # the content, not a JSON document with it

SOURCES: dict[str, Source] = CELLS | OTHERS
"""Every set by name."""

MADE = tuple(name for name, source in SOURCES.items() if source.labels)
"""Sets of cells that were made of other files, so that nobody serves them as one."""


def check_file(path: str | Path, cells: Cells | None = None) -> str | None:
    """One line if a file has the name of a set's file but is another one; None if all is well.

    Args:
      path: of the file; those of other names are not looked at.
      cells: all that was read from it; where their `contents` are those of the set, other bytes do
        not matter.
    """
    path = expand_home(path)
    names = [n for n, each in SOURCES.items() if each.sha256 and each.file_name == path.name]
    return difference(names[0], path, cells) if names and path.is_file() else None


def difference(name: str, path: Path, cells: Cells | None = None) -> str | None:
    """One line if a file is not that of a set, None if it is; see `check_file`."""
    source = SOURCES[name]
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 == source.sha256 or (source.contents and _contents(path, cells) == source.contents):
        return None
    return (
        f"{path.name} is not the file of the set {name} behind the tables: expected sha256 "
        f"{source.sha256}, got {sha256}; numbers may differ (docs/data.md)"
    )


def _contents(path: Path, cells: Cells | None) -> str | None:
    """The digest of what is in a file; None where that is not known."""
    if path.suffix == ".npz":
        return contents_of_arrays(path)
    return None if cells is None else contents_of(cells)


def contents_of(cells: Cells) -> str:
    """The digest of counts, genes and cell names, however a file stores them."""
    parts = cells.counts_digest, digest_names(cells.genes), digest_names(cells.obs.index)
    return digest_names(parts)


def contents_of_arrays(path: Path) -> str | None:
    """The digest of the arrays of an npz file and their names; None if it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as packed:
            return digest_names(
                each for name in sorted(packed.files) for each in (name, digest_of(packed[name]))
            )
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def labels_of(obs: pd.DataFrame) -> str:
    """The digest of batch, type and, where there is one, stage of each cell.

    Args:
      obs: table of cells [cells, any columns], as `reconstruct` names its columns.
    """
    columns = [column for column in ("batch", "cell_type", "stage") if column in obs]
    return digest_names(each for column in columns for each in (column, *obs[column]))


def find_file(name: str, folder: Path) -> Path:
    """The file of a set in a folder.

    Raises:
      InputError: it is not there; says what it is made of.
    """
    source = SOURCES[name]
    if not (folder / source.file_name).is_file():
        parts = ", ".join(f"{part.repository} {part.path}" for part in source.parts)
        raise InputError(
            f"no {source.file_name} in {folder}; no place serves it as one file, it was made of "
            f"{parts}: {source.made} (docs/data.md says how to make it); or give a folder that has "
            "it as cache_dir"
        )
    return folder / source.file_name


def fetch_parts(name: str, folder: str | Path, *, url: str = GITHUB) -> list[Path]:
    """Downloads what a set was made of; what the folder has already is not fetched again.

    Args:
      name: in `SOURCES`, of a set that is not fetched as it is.
      folder: where the files go, by their own names, unpacked.
      url: where contents on GitHub are found by {repository} and {blob}.

    Returns:
      The files, in the order of `parts`.

    Raises:
      InputError: no such set, or no part of it can be fetched.
      NoNetworkError: no answer from the server within ten seconds.
      DownloadError: an HTTP error, or another content than git's number says; nothing is kept.

    Example:
      >>> fetch_parts("pbmc_kang_ctrl_stim", "parts")
    """
    parts = [part for part in SOURCES[name].parts if part.blob] if name in SOURCES else []
    if not parts:
        able = [name for name, each in SOURCES.items() if any(part.blob for part in each.parts)]
        raise InputError(f"expected a set that is made of files, {able}, got {name!r}")
    folder = expand_home(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [_fetch_part(part, folder / Path(part.path).name, url) for part in parts]


def _fetch_part(part: PublicFile, path: Path, url: str) -> Path:
    packed = path.suffix == ".gz"
    path = path.with_suffix("") if packed else path
    if path.is_file() and _blob_of(path.read_bytes()) == part.blob:
        return path
    if "://" in part.repository:
        content = download.content_of(f"{part.repository}/{part.path}", "*/*")
    else:
        where = url.format(repository=part.repository, blob=part.blob)
        content = download.content_of(where, _AS_IT_IS)
    content = _unpacked(content) if packed else content
    if (blob := _blob_of(content)) != part.blob:
        raise download.DownloadError(
            f"{part.path} of {part.repository}: expected git blob {part.blob}, got {blob}; nothing "
            f"was kept, run again"
        )
    write_whole(path, content)
    return path


def _unpacked(content: bytes) -> bytes:
    """Nothing where it is no gzip file, which git's number then tells."""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return b""


def _blob_of(content: bytes) -> str:
    """Git's number of a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def as_markdown() -> str:
    """The record as the table of `docs/data.md`."""
    head = "| Name | What | Study | Accession | Licence | Recipe | Checksum |"
    rows = [
        f"| `{name}` | {source.what} | {source.study} | {source.accession} | {source.licence} | "
        f"{_recipe(source)} | {_checksum(name, source)} |"
        for name, source in SOURCES.items()
    ]
    return "\n".join([head, "|---" * 7 + "|", *rows])


def _checksum(name: str, source: Source) -> str:
    if source.sha256:
        return f"sha256 `{source.sha256}`"
    return f"md5 `{download.NAMED[name].md5}`"


def _recipe(source: Source) -> str:
    if not source.made:
        return "download"
    files = ", ".join(
        f"{part.repository} `{part.path}`" + (f" (blob `{part.blob[:12]}`)" if part.blob else "")
        for part in source.parts
    )
    return f"{'reconstruct' if source.parts[0].blob else 'by hand'}: {files}; {source.made}"
