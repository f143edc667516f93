"""JSON files, written whole; what JSON has no word for is null."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from qbm_jax.runtime.whole_file import write_whole


def finite(value: Any) -> Any:
    """The same tree of dicts, lists and tuples with None where a float is not finite.

    Numbers and arrays of numpy or JAX become plain numbers and lists.
    """
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def infinite(value: Any, name: str = "") -> Iterator[str]:
    """Dotted names of the infinite numbers of a tree, which `finite` makes None as NaN."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        value = value.tolist()
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from infinite(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, float) and math.isinf(value):
        yield name


def parse_json(text: str | bytes) -> Any:
    """What a text says; bytes are UTF-8.

    Raises:
      ValueError: it is no JSON, or nested deeper than can be read.
    """
    try:
        return json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_json(path: Path, value: Any) -> None:
    """Writes JSON whole or not at all; NaN and infinity, for which it has no word, are null."""
    write_whole(path, json.dumps(finite(value), indent=1, allow_nan=False) + "\n")
