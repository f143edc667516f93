"""Checkpoints: orbax behind `save` and a `restore` that checks before it trusts."""

import contextlib
import functools
import gc
import json
import logging
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from qbm_jax.errors import InputError
from qbm_jax.runtime.identity import differences, plain
from qbm_jax.runtime.versions import of_another, own_version, versions
from qbm_jax.runtime.whole_file import remove
from qbm_jax.training.sharding import host_copy

Tree = Any
LOGGER = logging.getLogger("qbm_jax")
_UNFINISHED = ".orbax-checkpoint-tmp"  # in the name of what orbax has not yet put in its place
_TALKING = ("absl", "asyncio")  # the loggers of orbax, tensorstore and the threads of both


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


def seal(structure: dict[str, Any]) -> int:
    """CRC-32 of a structure or an identity: tells damage from what belongs to another model."""
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
    """The last few states of one run in a folder, each written whole or not at all.

    Attributes:
      folder: where they lie.
      identity: what the states belong to, by part, see `identity.differences`. It is written into
        every state, and a state of another one is refused. None: any state of this structure is
        taken. `fitted.trainings.fit_trainings` sets it.
      told_as: part of the identity -> what a refusal calls it; set beside the identity.
    """

    def __init__(self, folder: Path, keep: int = 3, before_save: Callable[[], None] = lambda: None):
        """Opens the folder (made if absent).

        Args:
          folder: where the states lie.
          keep: how many stay.
          before_save: called before every save; what it raises stops the run, and nothing is
            written.

        Raises:
          InputError: the folder cannot be made.
        """
        self.folder, self._keep = Path(folder).absolute(), keep
        self.identity: dict[str, Any] | None = None
        self.told_as: Callable[[str], str] = str
        self._before_save = before_save
        self._damaged: set[int] = set()  # steps found unreadable; the next save removes them
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, enable_async_checkpointing=False
        )
        try:
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise InputError(f"cannot open checkpoints in {self.folder}: {error}") from error

    def again(self, attempt: int) -> "Checkpoints":
        """Those of the same training with another key, in a folder beside this one."""
        folder = self.folder.with_name(f"{self.folder.name}-again-{attempt}")
        return Checkpoints(folder, self._keep, self._before_save)

    def save(self, step: int, tree: Tree) -> None:
        """Writes a state, atomically; a step that is already there is left as it is.

        Raises:
          CheckpointNotSaved: the disk refused; the states saved before are intact.
        """
        self._before_save()
        if step in set(self._manager.all_steps()) - self._damaged:
            return
        structure = describe(tree)
        facts: dict[str, Any] = {
            "structure": structure, "seal": seal(structure), "digest": digest(tree),
            "versions": versions(),
        }  # fmt: skip
        if self.identity is not None:
            identity = plain(self.identity)
            facts |= {"identity": identity, "identity_seal": seal(identity)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(tree), facts=ocp.args.JsonSave(facts)
        )
        with _held_back() as traces:
            failure = self._write(step, items)
            if failure is not None:
                gc.collect()  # what waits for the failed save complains when it is taken away
                traces.clear()
        if failure is not None:
            _silence_late_writes()
            remove_unfinished_states(self.folder)
            raise CheckpointNotSaved(
                f"could not save step {step} to {self.folder} ({failure}); the checkpoints "
                f"saved before are intact: free some space, or mend what it says, and run the same "
                f"command again"
            )

    def _write(self, step: int, items: ocp.args.Composite) -> str | None:
        """Writes a state; returns one line on what went wrong, or None. It raises no error."""
        try:
            # A damaged state of a later step would otherwise forbid to save an earlier one.
            while self._damaged:
                self._manager.delete(self._damaged.pop())
            self._manager.save(step, args=items)
        except Exception as error:  # orbax and tensorstore raise many kinds for a full disk
            LOGGER.debug("step %d of %s", step, self.folder, exc_info=True)
            return one_line(error)
        return None

    def restore(self, template: Tree) -> Tree:
        """The newest sound state with the structure of `template`; `template` if there is none.

        A damaged checkpoint is skipped for the one before it, with a warning.

        Raises:
          InputError: a sound checkpoint belongs to another identity, or to a model of another
            structure.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                facts = self._restore_item(step, facts=ocp.args.JsonRestore()).facts
                if seal(facts["structure"]) != facts["seal"]:
                    raise ValueError("its description does not match its checksum")
                difference = self._other_identity(facts)
                if difference is None:
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
                    f"checkpoint {self.folder} of step {step} belongs to another model "
                    f"({difference}); use another folder for checkpoints, or remove this one to "
                    f"train anew"
                )
            LOGGER.info("resumed from step %d of %s", step, self.folder)
            _warn_of_versions(facts.get("versions") or {}, self.folder)
            return jax.tree.map(_as_fresh, template, tree)
        return template

    def _other_identity(self, facts: dict[str, Any]) -> str | None:
        """One line on how the identity of a state differs from the wanted one, or None.

        Raises:
          ValueError: the description that the state carries is damaged.
        """
        found = facts.get("identity")
        if found is not None and seal(found) != facts["identity_seal"]:
            raise ValueError("its identity does not match its checksum")
        if self.identity is None:
            return None
        if found is None:
            return "it does not say what it was trained on"
        return differences(found, plain(self.identity), self.told_as) or None

    def _restore_item(self, step: int, **items: Any) -> Any:
        with _held_back():
            return self._manager.restore(step, args=ocp.args.Composite(**items))


def _warn_of_versions(recorded: Mapping[str, str], folder: Path) -> None:
    """Warns in the log where other versions wrote a state; older states do not say theirs."""
    others = [
        f"{name} {theirs}, this is {own_version(name)}"
        for name in ("qbm_jax", "jax")
        if (theirs := of_another(recorded, name))
    ]
    if others:
        LOGGER.warning(
            "the state in %s was saved by %s: the training may not go on bit for bit",
            folder, "; ".join(others),
        )  # fmt: skip


def _as_fresh(fresh: Any, restored: jax.Array) -> jax.Array:
    """Puts a restored array where a fresh one lies, so that programs need not compile again.

    On a mesh orbax has put it there already; elsewhere a fresh array is bound to no device.
    """
    on_mesh = isinstance(fresh, jax.Array) and len(fresh.sharding.device_set) > 1
    return restored if on_mesh else jnp.array(np.asarray(restored))


def remove_unfinished_states(folder: Path) -> None:
    """Removes what a failed or killed save left in a folder of states, or in folders below it."""
    for path in sorted(folder.rglob(f"*{_UNFINISHED}*")):
        remove(path)


@functools.cache
def _silence_late_writes() -> None:
    """Keeps quiet, from now on, about writes that end after their save has failed.

    Their event loop is closed by then, and nobody asks for their errors. Every other error is told.
    """

    def is_told(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not ("was never retrieved" in text and _UNFINISHED in text)

    logging.getLogger("asyncio").addFilter(is_told)
    sys.unraisablehook = _but_closed_loops(sys.unraisablehook)


def _but_closed_loops(tell: Callable[[Any], None]) -> Callable[[Any], None]:
    """The hook for errors that nobody can catch, without those of a write that came too late."""

    def tell_others(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            tell(unraisable)

    return tell_others


@contextlib.contextmanager
def _held_back() -> Iterator[list[logging.LogRecord]]:
    """Holds back what the storage libraries log within the block, and logs at its end what remains.

    When one save fails, each of their threads logs a trace.
    """
    held: list[logging.LogRecord] = []

    def hold(record: logging.LogRecord) -> bool:
        held.append(record)
        return False

    loggers = [logging.getLogger(name) for name in _TALKING]
    for logger in loggers:
        logger.addFilter(hold)
    tell = sys.unraisablehook
    sys.unraisablehook = _but_closed_loops(tell)
    try:
        yield held
    finally:
        sys.unraisablehook = tell
        for logger in loggers:
            logger.removeFilter(hold)
        for record in held:
            logging.getLogger(record.name).handle(record)


def one_line(error: Exception) -> str:
    """The first line of an error's message, cut to a readable length."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
