"""Packages that only a part of the library needs; pyproject.toml has them as extras."""

import importlib
import importlib.util
from types import ModuleType

from qbm_jax.errors import InputError

EXTRAS = {
    "dimod": "dimod",
    "harmonypy": "scores",
    "igraph": "scores",
    "networkx": "dimod",
    "scanorama": "peers",
    "scanpy": "cells",
    "scipy": "cells",
    "xgboost": "classification",  # others' trees stand in, see metrics/trees.py
}


def installed(name: str) -> bool:
    """Whether the package is there."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # nor is what it lies in
        return False


def lacking(name: str) -> str:
    """What to say of a package that is not there."""
    return f'expected the package {name}, which is not installed; pip install ".[{EXTRAS[name]}]"'


def needed(name: str) -> ModuleType:
    """The package, imported when it is asked for.

    Raises:
      InputError: it is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(lacking(name)) from error
