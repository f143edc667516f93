"""A training that diverged or collapsed is done again, with another key, and this is said."""

import itertools
import logging
from collections.abc import Callable, Sequence

import jax

from qbm_jax.model.vae import Params
from qbm_jax.runtime import keys
from qbm_jax.training import Progress, Trained, TrainingDiverged

LOGGER = logging.getLogger("qbm_jax")
Tell = Callable[[Progress], None]
OnValidation = Callable[[int, list[Params]], None]
Train = Callable[[list[int], list[jax.Array], int, Tell, OnValidation], list[Trained]]
Snapshots = dict[int, Params]  # parameters by the epoch of a validation


def with_retries(
    train: Train,
    roots: Sequence[jax.Array],
    collapsed: Callable[[int, Trained], str | None],
    num_retries: int,
    on_progress: Tell,
    on_snapshots: Callable[[int, Snapshots], None] | None = None,
) -> list[Trained]:
    """Trains side by side, and again those that fail.

    Trainings that are side by side with one that diverges begin again with it, with their own keys.
    One that collapsed trains again without the others; if it then diverges to the last, its first
    result stays.

    Args:
      train: (numbers of the trainings, their root keys, attempt, on_progress, on_validation) ->
        their results; attempt 0 is the first, of all of them together.
      roots: one root key per training.
      collapsed: (number, result) -> what is wrong with it, None for a sound one.
      num_retries: how often each training may be done again with another key.
      on_progress: told the progress of all attempts.
      on_snapshots: told a training's number and its parameters at every validation, once it has a
        result; those of a later result take their place. None: they are not kept.

    Raises:
      TrainingDiverged: one diverged at its last attempt as well.
    """
    again, tries = dict.fromkeys(range(len(roots)), ""), [0] * len(roots)
    found: dict[int, Trained] = {}
    waiting = list(again)
    for attempt in itertools.count():
        own = [
            keys.named(roots[number], keys.AGAIN, tries[number]) if tries[number] else roots[number]
            for number in waiting
        ]
        seen: dict[int, Snapshots] = {number: {} for number in waiting}
        keep = _kept_in(list(seen.values())) if on_snapshots else _kept_in([])
        try:
            results = train(waiting, own, attempt, _renumbered(waiting, on_progress), keep)
        except TrainingDiverged as error:
            number = waiting[error.seed]
            if tries[number] < num_retries:
                tries[number] += 1
                again[number] = f"the training diverged ({error.fault})"
                _say(number, len(roots), again)
            elif number not in found:
                raise
            else:  # it collapsed before, which stays
                waiting = [each for each in waiting if each != number]
        else:
            for number, result in zip(waiting, results, strict=True):
                found[number] = result._replace(again=again[number])
                if on_snapshots:
                    on_snapshots(number, seen[number])
            waiting = [number for number in waiting if tries[number] < num_retries]
            faults = {number: collapsed(number, found[number]) for number in waiting}
            waiting = [number for number, fault in faults.items() if fault]
            for number in waiting:
                tries[number] += 1
                again[number] = f"the posterior collapsed at the key before ({faults[number]})"
                _say(number, len(roots), again)
        if not waiting:
            break
    return [found[number] for number in again]


def _renumbered(numbers: list[int], on_progress: Tell) -> Tell:
    """Tells the progress of some trainings under their numbers among all."""
    return lambda progress: on_progress(progress._replace(seed=numbers[progress.seed]))


def _kept_in(seen: list[Snapshots]) -> OnValidation:
    """Keeps parameters by epoch, each training's in its place of `seen`; [] keeps none."""

    def keep(epoch: int, params: list[Params]) -> None:
        for snapshots, own in zip(seen, params, strict=False):
            snapshots[epoch] = own

    return keep


def _say(number: int, count: int, again: dict[int, str]) -> None:
    which = f"training {number + 1} of {count}" if count > 1 else "the training"
    LOGGER.warning("%s is done again with another key: %s", which, again[number])
