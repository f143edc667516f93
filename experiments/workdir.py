"""The workdir is a run's identity: its config, versions and commit are written before anything."""

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from qbm_jax.errors import InputError

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "anndata", "scanpy")
ROOT = Path(__file__).resolve().parent.parent


def open_workdir(workdir: Path, config: ConfigDict) -> Path:
    """Makes or reopens a workdir.

    Raises:
      InputError: it cannot be written, or it belongs to a different config.
    """
    path = workdir / "config.json"
    plain = plain_config(config)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            check_same(workdir, json.loads(path.read_text())["config"], plain)
        else:
            write_json(path, {"config": plain, "versions": versions(), "commit": commit()})
    except OSError as error:
        raise InputError(f"cannot write to workdir {workdir}: {error.strerror}") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged; remove {workdir} or use another workdir") from error
    return workdir


def plain_config(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON knows it: tuples become lists."""
    return json.loads(json.dumps(config.to_dict()))


def check_same(workdir: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises an InputError that names the fields in which two configs differ."""
    old, new = flatten(found), flatten(wanted)
    differing = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    if differing:
        changes = "; ".join(f"{key}: {old.get(key)} there, {new.get(key)} now" for key in differing)
        raise InputError(
            f"workdir {workdir} belongs to a different config ({changes}); use another --workdir"
        )


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the numbers."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def commit() -> str:
    """The commit of the code, with a + if files differ from it; "" outside a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def write_json(path: Path, value: Any) -> None:
    """Writes JSON whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
    temporary.replace(path)
