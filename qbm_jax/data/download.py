"""Named public sets: fetched once with pooch, checked by size and md5, kept in a cache folder."""

import logging
import os
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from qbm_jax.errors import InputError
from qbm_jax.runtime.user_cache import expand_home, user_cache

logger = logging.getLogger("qbm_jax")

CONNECT_SECONDS = 8.0
"""No answer within this time, name lookup and redirects included, counts as no network."""

STALL_SECONDS = 30.0
"""A transfer that sends nothing for this long has broken off."""

_AS_STORED = {"Accept-Encoding": "identity"}  # so that Content-Length is the size of the file

_PIECE = 1 << 18  # bytes between updates of the progress bar


class NoNetworkError(InputError):
    """The server cannot be reached: no route, no name service, refused, or no answer in time."""


class DownloadError(InputError):
    """The server was reached, but the file did not arrive whole and right; nothing was kept."""


@dataclass(frozen=True)
class PublicSet:
    """One public file and the columns and layer in it.

    Attributes:
      figshare_id: number of the file on figshare.
      file_name: its name there and in the cache.
      num_bytes: its exact size.
      md5: its checksum.
      batch_column: column of `obs` with the experimental batch.
      label_column: column of `obs` with the cell type.
      layer: layer with the raw counts.
    """

    figshare_id: int
    file_name: str
    num_bytes: int
    md5: str
    batch_column: str
    label_column: str
    layer: str

    @property
    def url(self) -> str:
        """Where the file is fetched."""
        return f"https://ndownloader.figshare.com/files/{self.figshare_id}"


NAMED = {  # Luecken et al. 2022, Nature Methods 19:41, figshare 12420968
    "pancreas": PublicSet(
        figshare_id=24539828,
        file_name="human_pancreas_norm_complexBatch.h5ad",
        num_bytes=315955785,
        md5="5aa155652b998c90395a0c9bd731b4b3",
        batch_column="tech",
        label_column="celltype",
        layer="counts",
    ),
    "lung": PublicSet(
        figshare_id=24539942,
        file_name="Lung_atlas_public.h5ad",
        num_bytes=1019664664,
        md5="aac0832c3e3413ae279343f5de02a2c6",
        batch_column="batch",
        label_column="cell_type",
        layer="counts",
    ),
    "immune": PublicSet(
        figshare_id=25717328,
        file_name="Immune_ALL_human.h5ad",
        num_bytes=2064748344,
        md5="482a6a3117432d41a46effd8376b8ee0",
        batch_column="batch",
        label_column="final_annotation",
        layer="counts",
    ),
}


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """The folder asked for, else `$QBM_JAX_CACHE`, else the user's cache folder."""
    chosen = cache_dir or os.environ.get("QBM_JAX_CACHE")
    return expand_home(chosen) if chosen else user_cache()


def cached(name: str, cache_dir: str | Path | None = None) -> Path | None:
    """The file of a named set if the cache holds it whole (size and md5), else None."""
    public = named(name)
    path = cache_folder(cache_dir) / public.file_name
    if not path.is_file():
        return None
    if path.stat().st_size == public.num_bytes and _md5(path) == public.md5:
        return path
    logger.warning("The cached file %s is damaged (size or md5 differs): not used.", path)
    return None


def fetch(
    name: str,
    cache_dir: str | Path | None = None,
    *,
    url: str | None = None,
    progress: bool = True,
) -> Path:
    """The file of a named set, downloaded unless the cache holds it.

    It gets its name only after size and md5 are right; after an interruption, run again.

    Args:
      name: one of `NAMED`.
      cache_dir: see `cache_folder`.
      url: another place that serves the same file.
      progress: show a bar.

    Raises:
      NoNetworkError: no answer from the server within ten seconds.
      DownloadError: an HTTP error, a wrong size or checksum, or a transfer that broke off.
      InputError: no such set, or a cache folder that cannot be written.
    """
    public = named(name)
    found = cached(name, cache_dir)
    if found is not None:
        return found
    folder = cache_folder(cache_dir)

    def download(source: str, output_file: str, _: object) -> None:
        _download(source, Path(output_file), public, progress)

    try:
        path = pooch.retrieve(
            url or public.url,
            known_hash=f"md5:{public.md5}",
            fname=public.file_name,
            path=folder,
            downloader=download,
        )
    except InputError:
        raise
    except requests.RequestException as error:
        raise DownloadError(
            f"download of {public.file_name} broke off ({type(error).__name__}); run again"
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot write to the cache folder {folder} ({error.strerror or error}); choose "
            "another with cache_dir or $QBM_JAX_CACHE"
        ) from error
    except ValueError as error:  # pooch: the checksum differs; it has deleted the file
        raise DownloadError(
            f"{public.file_name}: expected md5 {public.md5}, the download has another and was "
            "deleted; run again, or give a file of your own (option path)"
        ) from error
    return Path(path)


def named(name: str) -> PublicSet:
    """The entry of a named set.

    Raises:
      InputError: no such set; lists the names there are.
    """
    if name not in NAMED:
        raise InputError(f"expected a public set in {sorted(NAMED)}, got {name!r}")
    return NAMED[name]


def _download(url: str, target: Path, public: PublicSet, progress: bool) -> None:
    """Streams into pooch's temporary file, which pooch checks and then renames."""
    with _open(url) as response:
        if not response.ok:
            raise DownloadError(f"{url} answered {response.status_code} {response.reason}")
        promised = response.headers.get("Content-Length")
        if promised is not None and int(promised) != public.num_bytes:
            raise DownloadError(
                f"{public.file_name}: expected {public.num_bytes} bytes, {url} offers {promised}; "
                "the file there has changed, give one of your own (option path)"
            )
        bar = tqdm(
            total=public.num_bytes,
            unit="B",
            unit_scale=True,
            desc=public.file_name,
            disable=not progress,
        )
        with bar, target.open("wb") as file:
            for piece in response.iter_content(_PIECE):
                bar.update(file.write(piece))


def content_of(url: str, accept: str) -> bytes:
    """The whole content behind an address, asked for as a media type.

    Raises:
      NoNetworkError: no answer from the server within ten seconds.
      DownloadError: an HTTP error, or a transfer that broke off.
    """
    with _open(url, {"Accept": accept}) as response:
        if not response.ok:
            raise DownloadError(f"{url} answered {response.status_code} {response.reason}")
        try:
            return response.content
        except requests.RequestException as error:
            raise DownloadError(
                f"download of {url} broke off ({type(error).__name__}); run again"
            ) from error


def _open(url: str, headers: Mapping[str, str] = _AS_STORED) -> requests.Response:
    """The response, its body still unread, within `CONNECT_SECONDS`.

    The limit needs a thread: a time-out of requests covers neither the name lookup nor redirects.
    """
    answer: queue.SimpleQueue = queue.SimpleQueue()

    def request() -> None:
        try:
            timeout = (CONNECT_SECONDS, STALL_SECONDS)
            answer.put(requests.get(url, stream=True, timeout=timeout, headers=headers))
        except requests.RequestException as error:
            answer.put(error)

    threading.Thread(target=request, daemon=True).start()
    try:
        result = answer.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise NoNetworkError(f"no answer from {url} within {CONNECT_SECONDS:g} s") from None
    if isinstance(result, requests.Response):
        return result
    if isinstance(result, (requests.ConnectionError, requests.Timeout)):
        raise NoNetworkError(f"cannot reach {url} ({type(result).__name__})") from result
    raise DownloadError(f"cannot download {url} ({type(result).__name__})") from result


def _md5(path: Path) -> str:
    return pooch.file_hash(str(path), alg="md5")
