"""A training that diverged or collapsed is done again, with another key, and this is said."""

import logging
from collections.abc import Callable, Sequence

import jax

from qbm_jax.runtime import keys
from qbm_jax.training import Progress, Trained, TrainingDiverged

LOGGER = logging.getLogger("qbm_jax")
Tell = Callable[[Progress], None]
Train = Callable[[list[int], list[jax.Array], int, Tell], list[Trained]]


def with_retries(
    train: Train,
    roots: Sequence[jax.Array],
    collapsed: Callable[[int, Trained], str | None],
    num_retries: int,
    on_progress: Tell,
) -> list[Trained]:
    """Trains side by side, and again those that fail.

    Trainings that are side by side with one that diverges begin again with it, with their own keys.
    One that collapsed trains again without the others.

    Args:
      train: (numbers of the trainings, their root keys, attempt, on_progress) -> their results;
        attempt 0 is the first.
      roots: one root key per training.
      collapsed: (number, result) -> what is wrong with it, None for a sound one.
      num_retries: how often a training may be done again.
      on_progress: told the progress of all attempts.

    Raises:
      TrainingDiverged: one diverged at the last attempt as well.
    """
    again = dict.fromkeys(range(len(roots)), "")
    found: dict[int, Trained] = {}
    waiting = list(again)
    for attempt in range(num_retries + 1):
        own = [
            keys.named(roots[number], keys.AGAIN, attempt) if again[number] else roots[number]
            for number in waiting
        ]
        try:
            results = train(waiting, own, attempt, _renumbered(waiting, on_progress))
        except TrainingDiverged as error:
            if found:
                break  # of a collapsed training, which stays
            if attempt == num_retries:
                raise
            again[waiting[error.seed]] = f"the training diverged ({error.fault})"
            _say(waiting[error.seed], len(roots), again)
            continue
        for number, result in zip(waiting, results, strict=True):
            found[number] = result._replace(again=again[number])
        if attempt == num_retries:
            break
        faults = {number: collapsed(number, found[number]) for number in waiting}
        waiting = [number for number, fault in faults.items() if fault]
        if not waiting:
            break
        for number in waiting:
            again[number] = f"the posterior collapsed at the first key ({faults[number]})"
            _say(number, len(roots), again)
    return [found[number] for number in again]


def _renumbered(numbers: list[int], on_progress: Tell) -> Tell:
    """Tells the progress of some trainings under their numbers among all."""
    return lambda progress: on_progress(progress._replace(seed=numbers[progress.seed]))


def _say(number: int, count: int, again: dict[int, str]) -> None:
    which = f"training {number + 1} of {count}" if count > 1 else "the training"
    LOGGER.warning("%s is done again with another key: %s", which, again[number])
