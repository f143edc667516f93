"""The folder of a saved model: switched to a new one in one step, its two parts bound by checksums.

`model.json` holds the names and options, a checksum of them, and the checksum of the one file of
arrays in `params/` that they belong to, which also names that file. A new model's arrays are
written beside the old ones; replacing `model.json` is the switch, and only then do the old ones go.
Nothing is unpickled. What the fields must be, the kind of model says.
"""

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.json_file import parse_json
from qbm_jax.runtime.whole_file import is_unfinished, remove, remove_unfinished, write_whole

SETTINGS_FILE = "model.json"
_ARRAYS = "params"  # the folder of the arrays' file
_ARRAYS_SUM, _OWN_SUM = "params_sha256", "sha256"  # fields of `model.json`
_WHOLE_AGAIN = "save the model again, or copy its folder again as a whole"


def write(folder: Path, fields: dict[str, Any], params: Any, told_by: str) -> None:
    """Writes a model; until the moment of the switch the one saved before is what `read` reads.

    Args:
      folder: made if absent; what killed saves left in it is removed.
      fields: names and options; numpy's numbers and arrays among them become JSON's.
      params: tree of arrays, on the host.
      told_by: the field that models of this kind have; a folder with another `model.json` is not
        written to.

    Raises:
      InputError: a field that JSON cannot hold, a folder that is no model's, or one that cannot be
        written; the model saved before stays.
    """
    arrays = _packed(params)
    fields = fields | {_ARRAYS_SUM: _sha256(arrays)}
    text = _as_json(fields)
    text = _as_json(json.loads(text) | {_OWN_SUM: _own_sum(json.loads(text))})
    _check_place(folder, told_by)
    made = [path for path in (folder / _ARRAYS, folder) if not path.exists()]
    try:
        (folder / _ARRAYS).mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / _ARRAYS):
            remove_unfinished(place)
        write_whole(_arrays_file(folder, fields), arrays)
        write_whole(folder / SETTINGS_FILE, text + "\n")
    except OSError as error:
        raise InputError(
            f"cannot save a model to {folder}: {error.strerror or error}; a model that was saved "
            f"there before is whole"
        ) from error
    finally:
        _remove_unnamed(folder)
        for path in made:
            with contextlib.suppress(OSError):  # holds the model
                path.rmdir()


def read(folder: Path, needed: Collection[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The fields and, by its path in the tree, each array of the model that `write` wrote.

    Args:
      folder: of the model.
      needed: fields that models of this kind have.

    Raises:
      InputError: there is no model, a part is missing or damaged, or the two are of two models.
    """
    file = folder / SETTINGS_FILE
    try:
        fields = parse_json(file.read_bytes())
    except OSError as error:
        reason = f"{SETTINGS_FILE}: {error.strerror}"
        raise InputError(f"no saved model in {folder} ({reason})") from error
    except ValueError as error:
        raise InputError(f"{file} is damaged: it is no JSON; {_WHOLE_AGAIN}") from error
    if lacking := sorted(set(needed) - (fields.keys() if isinstance(fields, dict) else set())):
        raise InputError(
            f"{file} is damaged or of another kind of model: it lacks {', '.join(lacking)}; "
            f"{_WHOLE_AGAIN}"
        )
    if not all(isinstance(fields.get(name), str) for name in (_ARRAYS_SUM, _OWN_SUM)):
        raise InputError(
            f"{file} has no checksums, so nothing tells whether its names belong to the arrays "
            f"beside it; it is damaged or an older version wrote it: fit and save the model again"
        )
    if fields[_OWN_SUM] != _own_sum(fields):
        raise InputError(
            f"{file} is damaged or was edited: its names and options do not match their checksum; "
            f"{_WHOLE_AGAIN}"
        )
    arrays = _read_arrays(folder, fields)
    return {k: v for k, v in fields.items() if k not in (_ARRAYS_SUM, _OWN_SUM)}, arrays


def by_path(tree: Any) -> dict[str, Any]:
    """Every leaf of a tree by its path."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def taken(arrays: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Takes the branch `name` of the tree, dicts of arrays, out of its arrays by their paths.

    None where there is no such branch.
    """
    found: dict[str, Any] = {}
    for path in [path for path in arrays if path.startswith(f"[{name!r}]")]:
        *branches, leaf = re.findall(r"\['([^']*)'\]", path)[1:]
        place = found
        for branch in branches:
            place = place.setdefault(branch, {})
        place[leaf] = arrays.pop(path)
    return found or None


def _read_arrays(folder: Path, fields: dict[str, Any]) -> dict[str, np.ndarray]:
    file = _arrays_file(folder, fields)
    try:
        content = file.read_bytes()
    except OSError as error:
        others = sorted(path.name for path in file.parent.glob("*.npz"))
        if not others:
            raise InputError(
                f"the parameters in {folder} are missing or damaged ({file.name}: "
                f"{error.strerror}); {_WHOLE_AGAIN}"
            ) from error
        raise _not_together(folder, f"expected {file.name}, found {', '.join(others)}") from error
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as packed:
            arrays = {name: packed[name] for name in packed.files}
    except Exception as error:  # whatever a damaged file makes numpy's and zip's readers raise
        raise InputError(
            f"the parameters in {folder} are missing or damaged ({file.name}: {error}); "
            f"{_WHOLE_AGAIN}"
        ) from error
    if _sha256(content) != fields[_ARRAYS_SUM]:
        raise _not_together(folder, f"{file.name} has another checksum")
    return arrays


def _not_together(folder: Path, how: str) -> InputError:
    return InputError(
        f"the arrays in {folder / _ARRAYS} do not belong to the names and options in "
        f"{folder / SETTINGS_FILE} ({how}); {_WHOLE_AGAIN}"
    )


def _packed(params: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **by_path(params))
    return buffer.getvalue()


def _arrays_file(folder: Path, fields: dict[str, Any]) -> Path:
    return folder / _ARRAYS / f"{fields[_ARRAYS_SUM][:16]}.npz"


def _as_json(fields: dict[str, Any]) -> str:
    try:
        return json.dumps(fields, indent=1, default=_plain)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"cannot save a model with an option that JSON cannot hold ({error}); "
            f"use numbers, texts and tuples"
        ) from error


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy and JAX as Python's."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return np.asarray(value).tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _own_sum(fields: dict[str, Any]) -> str:
    """Checksum of all fields but itself, whatever their order and the white space of the file."""
    kept = {name: value for name, value in fields.items() if name != _OWN_SUM}
    return _sha256(json.dumps(kept, sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check_place(folder: Path, told_by: str) -> None:
    """Raises an InputError if a model would be saved in or among something else."""
    try:
        foreign = [path.name for path in _entries(folder) if not _is_ours(path, told_by)]
        foreign += [
            f"{_ARRAYS}/{path.name}"
            for path in _entries(folder / _ARRAYS)
            if not _is_arrays(path) and not is_unfinished(path)
        ]
    except OSError as error:
        raise InputError(f"cannot save a model to {folder}: {error.strerror}") from error
    if foreign:
        shown = ", ".join(sorted(foreign)[:3]) + (", ..." if len(foreign) > 3 else "")
        raise InputError(
            f"cannot save a model to {folder}: expected a new or empty folder or one of a saved "
            f"model, found {shown} in it; choose another folder"
        )


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


def _is_ours(path: Path, told_by: str) -> bool:
    """Whether a file or folder is a part of a model, or of one that was being saved."""
    if path.name != SETTINGS_FILE:
        return path.name == _ARRAYS or is_unfinished(path)
    try:
        fields = parse_json(path.read_bytes())
    except ValueError:  # damaged: saving again is the remedy
        return True
    return not isinstance(fields, dict) or not fields or told_by in fields


def _is_arrays(path: Path) -> bool:
    """Whether the name is one that `write` gives, or a numbered state as older versions wrote."""
    return (
        re.fullmatch(r"[0-9a-f]{16}\.npz|[0-9]+(\.orbax-checkpoint-tmp.*)?", path.name) is not None
    )


def _remove_unnamed(folder: Path) -> None:
    """Removes the arrays that `model.json` does not name; where it names none, nothing."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # the next save removes it
        file = folder / SETTINGS_FILE
        named = _arrays_file(folder, parse_json(file.read_bytes())) if file.exists() else None
        for path in (folder / _ARRAYS).iterdir():
            if path != named and _is_arrays(path):
                remove(path)
