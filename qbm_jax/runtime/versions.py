"""Versions of what shapes the numbers, for the record of a run."""

import importlib.metadata
import platform
from collections.abc import Mapping

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "anndata", "scanpy")
UNKNOWN = "unknown"


def versions() -> dict[str, str]:
    """Versions of this package, of Python, and of the packages that shape the numbers."""
    return {"qbm_jax": own_version(), "python": platform.python_version()} | {
        name: own_version(name) for name in PACKAGES
    }


def own_version(package: str = "qbm_jax") -> str:
    """The version that is installed; "unknown" of what is not, such as a checkout."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN


def of_another(recorded: Mapping[str, str], package: str = "qbm_jax") -> str | None:
    """The version of a package in a record, where it is known to be another than here."""
    theirs, own = recorded.get(package, UNKNOWN), own_version(package)
    return None if UNKNOWN in (theirs, own) or theirs == own else theirs
