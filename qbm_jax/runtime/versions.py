"""Versions of what shapes the numbers, for the record of a run."""

import importlib.metadata
import platform

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "anndata", "scanpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the numbers."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }
