"""Versions of what shapes the numbers, for the record of a run."""

import importlib.metadata
import platform
from collections.abc import Mapping

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "anndata", "scanpy")
UNKNOWN = "unknown"


def versions() -> dict[str, str]:
    """Versions of this package, of Python, and of the packages that shape the numbers."""
    return {"qbm_jax": own_version(), "python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def own_version() -> str:
    """The version that is installed; "unknown" of a checkout that is not."""
    try:
        return importlib.metadata.version("qbm_jax")
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN


def of_another(recorded: Mapping[str, str]) -> str | None:
    """The version of this package in a record, where it is known to be another than this one."""
    theirs = recorded.get("qbm_jax", UNKNOWN)
    return None if UNKNOWN in (theirs, own_version()) or theirs == own_version() else theirs
