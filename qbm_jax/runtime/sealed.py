"""A checksum within a JSON document, and what the document belongs to."""

import json
from pathlib import Path
from typing import Any

from qbm_jax.runtime.identity import differences, digest_file, digest_names, plain

SEAL = "seal"


def sealed(content: dict[str, Any], of: dict[str, Any]) -> dict[str, Any]:
    """The document with its seal under "seal".

    Args:
      content: as JSON gives it back: plain numbers, lists and texts.
      of: what it belongs to, by part.
    """
    of = plain(of)
    return content | {SEAL: {"of": of, "checksum": _checksum(content, of)}}


def broken_seal(document: Any, of: dict[str, Any] | None = None) -> str | None:
    """Why a document is not to be believed, to be read after its name; None if it is.

    Args:
      document: what was read.
      of: what it has to belong to; None for anything.
    """
    if not isinstance(document, dict):
        return "is damaged"
    seal = document.get(SEAL)
    content = {name: value for name, value in document.items() if name != SEAL}
    if not isinstance(seal, dict) or not isinstance(seal.get("of"), dict):
        return "is damaged or has no checksum"
    if seal.get("checksum") != _checksum(content, seal["of"]):
        return "is damaged or was edited: its checksum is another"
    if of is not None and (found := differences(seal["of"], plain(of))):
        return f"belongs to something else ({found})"
    return None


def other_file(path: Path, checksum: str | None) -> str:
    """Why a file is not to be believed by its checksum; "" if it is, or if none is known."""
    if checksum is None or digest_file(path) == checksum:
        return ""
    return f"{path} is damaged or was edited: its checksum is another"


def _checksum(content: dict[str, Any], of: dict[str, Any]) -> str:
    return digest_names([json.dumps([content, of], sort_keys=True)])
