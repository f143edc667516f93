"""Checkpoints: orbax behind `save` and a `restore` that checks before it trusts."""

import json
import logging
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from qbm_jax.errors import InputError
from qbm_jax.sharding import host_copy

Tree = Any
LOGGER = logging.getLogger("qbm_jax")


def describe(tree: Tree) -> dict[str, list]:
    """Path of every leaf -> [dtype, shape]: the structure a checkpoint must have."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        jax.tree_util.keystr(path): [str(_dtype(leaf)), list(np.shape(leaf))]
        for path, leaf in leaves
    }


def _dtype(leaf: Any) -> np.dtype:
    return leaf.dtype if isinstance(leaf, jax.Array) else np.asarray(leaf).dtype


def digest(tree: Tree) -> int:
    """CRC-32 of all leaves' bytes, in tree order, wherever they lie."""
    value = 0
    for leaf in jax.tree.leaves(host_copy(tree)):
        value = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), value)
    return value


def seal(structure: dict[str, list]) -> int:
    """CRC-32 of a structure: tells a damaged description from that of another model."""
    return zlib.crc32(json.dumps(structure, sort_keys=True).encode())


def first_difference(expected: dict[str, list], found: dict[str, list]) -> str | None:
    """One sentence on the first leaf in which two structures differ, or None."""
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            return f"{path}: expected {expected.get(path)}, found {found.get(path)}"
    return None


class CheckpointNotSaved(InputError):
    """The disk refused a state, which is no fault of the training; what was saved is intact."""


class Checkpoints:
    """The last few states of one run in a folder, each written whole or not at all."""

    def __init__(self, folder: Path, keep: int = 3):
        """Opens the folder (made if absent); `keep` is how many states stay."""
        self.folder = Path(folder).absolute()
        self._damaged: set[int] = set()  # steps found unreadable; the next save removes them
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, enable_async_checkpointing=False
        )
        try:
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise InputError(f"cannot open checkpoints in {self.folder}: {error}") from error

    def newest_step(self) -> int:
        """The newest step there is, sound or not; -1 if there is none."""
        return max(self._manager.all_steps(), default=-1)

    def save(self, step: int, tree: Tree) -> None:
        """Writes a state, atomically; a step that is already there is left as it is.

        Raises:
          CheckpointNotSaved: the disk refused; the states saved before are intact.
        """
        if step in set(self._manager.all_steps()) - self._damaged:
            return
        structure = describe(tree)
        facts = {"structure": structure, "seal": seal(structure), "digest": digest(tree)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(tree), facts=ocp.args.JsonSave(facts)
        )
        try:
            # A damaged state of a later step would otherwise forbid to save an earlier one.
            while self._damaged:
                self._manager.delete(self._damaged.pop())
            self._manager.save(step, args=items)
        except Exception as error:  # orbax and tensorstore raise many kinds for a full disk
            raise CheckpointNotSaved(
                f"could not save step {step} to {self.folder} ({one_line(error)}); the checkpoints "
                f"saved before are intact: free some space and run the same command again"
            ) from error

    def restore(self, template: Tree) -> Tree:
        """The newest sound state with the structure of `template`; `template` if there is none.

        A damaged checkpoint is skipped for the one before it, with a warning.

        Raises:
          InputError: a sound checkpoint belongs to a model of another structure.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                facts = self._restore_item(step, facts=ocp.args.JsonRestore()).facts
                if seal(facts["structure"]) != facts["seal"]:
                    raise ValueError("its description does not match its checksum")
                difference = first_difference(describe(template), facts["structure"])
                if difference is None:
                    wanted = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
                    tree = self._restore_item(step, state=ocp.args.StandardRestore(wanted)).state
                    if digest(tree) != facts["digest"]:
                        raise ValueError("its contents do not match their checksum")
            except Exception as error:  # whatever a damaged file makes a reader raise
                LOGGER.warning(
                    "checkpoint %s of step %d is damaged and skipped: %s",
                    self.folder, step, one_line(error),
                )  # fmt: skip
                self._damaged.add(step)
                continue
            if difference is not None:
                raise InputError(
                    f"checkpoint {self.folder} belongs to another model ({difference}); "
                    f"use another workdir"
                )
            LOGGER.info("resumed from step %d of %s", step, self.folder)
            return jax.tree.map(_as_fresh, template, tree)
        return template

    def _restore_item(self, step: int, **items: Any) -> Any:
        return self._manager.restore(step, args=ocp.args.Composite(**items))


def _as_fresh(fresh: Any, restored: jax.Array) -> jax.Array:
    """A restored array that lies as a fresh one does, so that what uses both compiles once.

    On a mesh orbax has put it in its place; elsewhere a fresh one is not bound to a device.
    """
    on_mesh = isinstance(fresh, jax.Array) and len(fresh.sharding.device_set) > 1
    return restored if on_mesh else jnp.array(np.asarray(restored))


def one_line(error: Exception) -> str:
    """The first line of an error's message, cut to a readable length."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
