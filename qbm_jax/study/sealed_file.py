"""JSON files with a seal: what they hold is believed if it is whole and belongs here."""

import json
import logging
import re
from pathlib import Path
from typing import Any

from qbm_jax.errors import InputError
from qbm_jax.runtime.identity import MARK, digest_names
from qbm_jax.runtime.json_file import finite, infinite, parse_json, write_json
from qbm_jax.runtime.sealed import SEAL, broken_seal, sealed
from qbm_jax.study.claim import owner
from qbm_jax.study.lock import check_held

LOGGER = logging.getLogger("qbm_jax")
_PLAIN = re.compile(r"\w[\w.]*", re.ASCII)
_MOST_TOLD = 5  # names of infinite numbers
_LONGEST = 100  # characters of the readable part of a file name


def write_sealed(
    path: Path, content: dict[str, Any], folder: Path, names: dict[str, Any] | None = None
) -> None:
    """Writes JSON whole or not at all, with a checksum and with what it belongs to.

    JSON has no word for infinity: the log says which numbers become null.

    Args:
      path: the file.
      content: what it holds.
      folder: whose run it belongs to.
      names: what it is of, within the run.

    Raises:
      InputError: the folder was removed or renamed, or JSON has no word for what is to be held.
      OSError: the file cannot be written.
    """
    check_held(folder)
    if found := list(infinite(content)):
        told = ", ".join(found[:_MOST_TOLD]) + (", ..." if len(found) > _MOST_TOLD else "")
        LOGGER.warning("%s: infinite numbers are kept as unknown ones: %s", path, told)
    try:
        content = json.loads(json.dumps(finite(content), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected numbers, texts, lists and dicts to write to {path}, got others ({error})"
        ) from error
    write_json(path, sealed(content, {"run": owner(folder), "names": names or {}}))


def read_sealed(
    path: Path, folder: Path, names: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    """What `write_sealed` wrote there for this run and these names; None where there is no such.

    A file that is damaged, was edited or belongs to something else is told in the log, once.
    """
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        value = None
    fault = broken_seal(value, {"run": owner(folder), "names": names or {}})
    if fault is None:
        return {name: item for name, item in value.items() if name != SEAL}
    told = f"{path}: {fault}"
    if told not in _told:
        _told.add(told)
        LOGGER.warning("%s %s; it counts as missing and is made again", path, fault)
    return None


_told: set[str] = set()


def file_name(*names: object) -> str:
    """A readable file name without suffix, another one for all other names.

    Names of letters, digits, dots and underscores are joined by hyphens. Of all others, what can be
    read is followed by a digest of the exact names. A single name may have hyphens.
    """
    texts = [str(name) for name in names]
    joined = "-".join(texts)
    plain = [text.replace("-", "") for text in texts] if len(texts) == 1 else texts
    if all(_PLAIN.fullmatch(text) for text in plain) and len(joined) <= _LONGEST:
        return joined
    readable = re.sub(r"[^\w.-]", "_", joined, flags=re.ASCII).lstrip(".-")[:_LONGEST]
    return f"{readable}~{digest_names(texts).removeprefix(MARK)}"
