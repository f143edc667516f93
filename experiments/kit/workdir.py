"""The workdir is a run's identity: config, data, versions and commit are written to it first."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.kit.disk import remedy
from experiments.kit.usage import IN_CLONE, PROGRAM, ROOT
from qbm_jax.errors import InputError
from qbm_jax.runtime.identity import differences, plain
from qbm_jax.runtime.json_file import finite, write_json
from qbm_jax.runtime.sealed import sealed
from qbm_jax.runtime.versions import versions
from qbm_jax.runtime.whole_file import first_file, remove_unfinished
from qbm_jax.study.claim import CLAIM, read_claim
from qbm_jax.study.escape import Markdown, code
from qbm_jax.study.lock import check_lock, lock_folder
from qbm_jax.training.checkpoint import remove_unfinished_states

OUTPUTS = (
    *(
        "checkpoints",
        "metrics.jsonl",
        "embedding.h5ad",
        "sample.h5ad",
        "scores.json",
    ),  # integration
    *("results", "results.csv", "summary.csv", "wins.csv"),  # of others
    *("report.md", "report.html", "figures"),
)


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Checks, before any work and without a trace, that a run may write here.

    Raises:
      InputError: it cannot be written, it belongs to another run, or another process is at it.
    """
    check_name(workdir)
    check_lock(workdir)
    found = read_claim(workdir)
    if found is not None:
        check_same(workdir, "config", found["config"], plain_config(config))
        return
    there = [name for name in OUTPUTS if (workdir / name).exists()]
    if there:
        raise InputError(
            f"workdir {workdir} holds {', '.join(there)} but no {CLAIM}, so it is no run's or a "
            f"damaged one's; use another --workdir"
        )
    existing = next(path for path in (workdir, *workdir.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"cannot write to workdir {workdir}: {existing} is a file, not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to workdir {workdir}: no permission to write in {existing}")


def check_name(workdir: Path) -> None:
    """Raises an InputError for a path that is no text here; checkpoints cannot be in one."""
    path = str(workdir.absolute())
    if "\0" in path or path != path.encode("utf-8", "replace").decode("utf-8"):
        raise InputError(
            f"expected a workdir with a name that is text in this locale, got {path!r}; set "
            f"PYTHONUTF8=1, or use another --workdir"
        )


def claim_workdir(
    workdir: Path, config: ConfigDict, data: dict[str, Any], shared: bool = False
) -> None:
    """Makes the workdir this run's: its config, versions, commit and what identifies its cells.

    Called once the cells and all options are known to be good, so that a mistake binds nothing. The
    workdir is locked until the process ends, see `lock.lock_folder`.

    Args:
      workdir: made if absent.
      config: of the run.
      data: what identifies the cells.
      shared: whether other processes of the same run may be at work in it too.

    Raises:
      InputError: it cannot be written, was started on other cells, or another process is at it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if lock_folder(workdir, shared):
            remove_leftovers(workdir)
        found = read_claim(workdir)
        if found is None:
            facts: dict[str, Any] = {"config": plain_config(config), "data": data}
            facts |= {"versions": versions(), "commit": commit(), "command": command()}
            with first_file(workdir / CLAIM) as own:
                write_json(own, sealed(plain(finite(facts)), {}))
            found = read_claim(workdir) or facts
        check_same(workdir, "config", found["config"], plain_config(config))
        check_same(workdir, "data", found["data"], plain(finite(data)))
    except OSError as error:
        raise InputError(
            f"cannot write to workdir {workdir}: {error.strerror}; {remedy(error) or 'use another'}"
        ) from error


def remove_leftovers(workdir: Path) -> None:
    """Removes what killed processes left half written in a workdir that nobody else is at."""
    for folder, _, _ in os.walk(workdir):
        remove_unfinished(Path(folder))
    remove_unfinished_states(workdir)


def plain_config(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON knows it: tuples become lists."""
    return json.loads(json.dumps(config.to_dict()))


def check_same(workdir: Path, what: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises an InputError that names the fields in which two configs (or data) differ."""
    changes = differences(flatten(found, f"{what}."), flatten(wanted, f"{what}."))
    if changes:
        raise InputError(
            f"workdir {workdir} belongs to a run with a different {what} ({changes}); "
            f"use another --workdir"
        )


def check_claimed(workdir: Path, what: str, wanted: dict[str, Any]) -> bool:
    """Whether a run has claimed the workdir; its data must be the same where `wanted` has a part.

    Raises:
      InputError: they are not; the message calls them `what`.
    """
    found = read_claim(workdir)
    if found is not None:
        check_same(workdir, what, {part: found["data"].get(part) for part in wanted}, wanted)
    return found is not None


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def command() -> str:
    """The command line of this process."""
    return shlex.join(["python", *sys.argv] if IN_CLONE else [PROGRAM, *sys.argv[1:]])


def provenance(workdir: Path) -> Markdown:
    """Which command began a workdir, at which commit, with how many seeds.

    Raises:
      InputError: the file that says so is damaged.
    """
    found = read_claim(workdir)
    if found is None:
        return Markdown("by whom, nothing says")
    config = found["config"]
    made, at = (code(found.get(name) or "unknown") for name in ("command", "commit"))
    root, number = f"root seed {config['seed']}", config.get("num_seeds")
    seeds = root if number is None else f"seeds 0 to {number - 1} of {root}"
    return Markdown(f"{made}, commit {at}, {seeds}")


def made_by(workdir: Path) -> Markdown:
    """The last line of a study's report: what made it, and where all numbers are."""
    return Markdown(f"Made by {provenance(workdir)}; all numbers: `results.csv`.")


def commit() -> str:
    """The commit of the code, with a + if files differ from it; "" outside a repository."""
    if not IN_CLONE:  # a repository around an environment is another's
        return ""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
