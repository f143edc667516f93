"""Where studies find the files of the sets in docs/data.md: one folder for them all."""

import os
from pathlib import Path

from qbm_jax.data.download import cache_folder
from qbm_jax.runtime.user_cache import expand_home

VARIABLE = "QBM_JAX_SHARED_DATA"
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"  # of a clone
KINDS = ("", "images", "text", "ising")  # folders in it that hold files by their kind
HOW = "qbm_jax.data.reconstruct.reconstruct makes the files in a folder (docs/data.md)"


def data_folder(configured: str) -> Path:
    """The folder of data: as configured, else `$QBM_JAX_SHARED_DATA`, else ../shared/data.

    Where that is not there either, it is the cache, into which `reconstruct` writes.
    """
    if chosen := configured or os.environ.get(VARIABLE):
        return expand_home(chosen)
    return BESIDE if BESIDE.is_dir() else cache_folder()


def find(configured: str, name: str) -> Path | None:
    """A file in the folder of data, or in its folder of that kind; None where it is not."""
    places = (data_folder(configured) / kind / name for kind in KINDS)
    return next((path for path in places if path.is_file()), None)


def missing(configured: str, name: str) -> str:
    """What is missing, and who makes it."""
    return f"there is no {name} in {data_folder(configured)}; {HOW}"
