"""What tells one thing from another, part by part: digests, and the parts in which two differ."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_CHUNK = 2**24  # bytes of a file that are read at a time
MARK = "#"  # a digest begins with it: it says nothing to a reader and is not printed


class Digest:
    """A short checksum of arrays and texts, fed bit by bit."""

    def __init__(self) -> None:
        """Of nothing yet."""
        self._hash = hashlib.blake2b(digest_size=10)

    def add(self, values: np.ndarray) -> "Digest":
        """The same with the bytes of an array [...] behind what was there; chunks do not matter."""
        self._hash.update(np.ascontiguousarray(values).data.cast("B") if values.size else b"")
        return self

    def add_text(self, text: str) -> "Digest":
        """The same with a text behind what was there."""
        self._hash.update(text.encode("utf-8", "surrogatepass"))
        return self

    def text(self) -> str:
        """The mark and 20 hexadecimal digits."""
        return MARK + self._hash.hexdigest()


def digest_of(values: np.ndarray | None) -> str | None:
    """The digest of one array [...], its type and shape included; None for None."""
    if values is None:
        return None
    values = np.asarray(values)
    return Digest().add_text(f"{values.dtype.str}{values.shape}").add(values).text()


def digest_file(path: Path) -> str | None:
    """The digest of a file's bytes; None where there is no file that can be read."""
    digest = Digest()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.add(np.frombuffer(chunk, np.uint8))
    except OSError:
        return None
    return digest.text()


def digest_names(names: Iterable[object]) -> str:
    """The digest of names in their order; where one ends and the next begins is part of it."""
    return Digest().add_text(json.dumps([str(name) for name in names])).text()


def plain(value: Any) -> Any:
    """The value as it is after a way through JSON, so that it equals what is read back.

    Numbers and arrays of numpy become plain numbers and lists, tuples become lists.
    """
    return json.loads(json.dumps(value, default=_as_plain))


def _as_plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def differences(
    found: Mapping[str, Any], wanted: Mapping[str, Any], told_as: Callable[[str], str] = str
) -> str:
    """The parts in which two differ, in one line; "" where they do not.

    Numbers and names are told from both sides, of digests only that they differ.

    Args:
      found: what is there.
      wanted: what is asked for.
      told_as: part -> what the line calls it.
    """
    parts = []
    for part in sorted(found.keys() | wanted.keys()):
        old, new = found.get(part), wanted.get(part)
        if old == new:
            continue
        told = not any(isinstance(v, str) and v.startswith(MARK) for v in (old, new))
        name = told_as(part)
        parts.append(f"{name}: {old!r} there, {new!r} now" if told else f"{name}: not the same")
    return "; ".join(parts)
