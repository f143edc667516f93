"""A model of tokens on disk: sealed JSON beside plain arrays; nothing is unpickled."""

import io
from pathlib import Path
from typing import Any

import jax
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.identity import Digest
from qbm_jax.runtime.json_file import parse_json, write_json
from qbm_jax.runtime.sealed import broken_seal, sealed
from qbm_jax.runtime.whole_file import restore, whole_file

MODEL, ARRAYS = "model.json", "params.npz"


def write(folder: Path, fields: dict[str, Any], params: Any) -> None:
    """Writes a model as a folder, whole or not at all; one that is there is replaced.

    Raises:
      InputError: the folder holds something else, or cannot be written.
    """
    buffer = io.BytesIO()
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    np.savez(buffer, *leaves)
    try:
        restore(folder)
        if folder.exists() and not _is_own(folder):
            raise InputError(f"{folder} is no saved model and is not replaced; name a new folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(folder) as temporary:
            temporary.mkdir()
            (temporary / ARRAYS).write_bytes(buffer.getvalue())
            write_json(temporary / MODEL, sealed(fields, {"arrays": _digest(buffer.getvalue())}))
    except OSError as error:
        raise InputError(f"cannot save a model to {folder}: {error.strerror or error}") from error


def _is_own(folder: Path) -> bool:
    """Whether a folder is what `write` writes, and nothing else."""
    if not folder.is_dir() or {each.name for each in folder.iterdir()} != {MODEL, ARRAYS}:
        return False
    try:
        return parse_json((folder / MODEL).read_bytes()).keys() >= {"kind", "vocabulary", "length"}
    except (OSError, ValueError, AttributeError):
        return False


def read(folder: Path, kind: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The fields and arrays that `write` wrote, in the order of their tree.

    Raises:
      InputError: there is no model of this kind, or a part is missing, damaged or of another.
    """
    try:
        restore(folder)
        fields = parse_json((folder / MODEL).read_bytes())
        arrays = (folder / ARRAYS).read_bytes()
    except OSError as error:
        raise InputError(f"no saved model in {folder} ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{folder / MODEL} is damaged; save the model again") from error
    if fault := broken_seal(fields, {"arrays": _digest(arrays)}):
        raise InputError(f"{folder / MODEL} {fault}; save the model again")
    if lacking := sorted({"kind", "vocabulary", "length", "options"} - fields.keys()):
        raise InputError(f"{folder / MODEL} lacks {', '.join(lacking)}; save the model again")
    if fields["kind"] != kind:
        raise InputError(f"expected a saved {kind} in {folder}, got a {fields['kind']}")
    with np.load(io.BytesIO(arrays), allow_pickle=False) as packed:
        return fields, [packed[name] for name in packed.files]


def _digest(content: bytes) -> str:
    return Digest().add(np.frombuffer(content, np.uint8)).text()
