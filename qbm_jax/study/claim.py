"""The file that says whose a folder is: config, data, versions and commit of a run."""

import json
from pathlib import Path
from typing import Any

from qbm_jax.errors import InputError
from qbm_jax.runtime.identity import digest_names
from qbm_jax.runtime.json_file import parse_json
from qbm_jax.runtime.sealed import SEAL, broken_seal

CLAIM = "config.json"
PARTS = ("config", "data")  # what tells a run from others


def read_claim(folder: Path) -> dict[str, Any] | None:
    """What a run said of itself when it claimed the folder; None where nobody has.

    Raises:
      InputError: the file is damaged.
    """
    path = folder / CLAIM
    if not path.is_file():
        return None
    advice = f"remove {folder} or use another folder"
    try:
        facts = parse_json(path.read_bytes())
        found = facts | {part: dict(facts[part]) for part in PARTS}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged; {advice}") from error
    if SEAL in facts and (fault := broken_seal(facts)):
        raise InputError(f"{path} {fault}; {advice}")
    return found


def owner(folder: Path) -> str | None:
    """What the files of a folder belong to: the digest of its run's config and data."""
    claim = read_claim(folder)
    if claim is None:
        return None
    return digest_names([json.dumps({part: claim[part] for part in PARTS}, sort_keys=True)])
