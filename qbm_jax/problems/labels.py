"""Names of a problem's variables, any hashable values; spin i is that of the i-th label."""

from collections.abc import Hashable, Iterable, Sequence

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import shown


def check_labels(labels: Iterable[Hashable] | None, num_spins: int) -> list[Hashable]:
    """One label a spin; 0 to N - 1 for None.

    Raises:
      InputError: another number of labels, or one that is repeated or not hashable.
    """
    if labels is None:
        return list(range(num_spins))
    found = _different(labels)
    if len(found) != num_spins:
        raise InputError(f"expected {num_spins} labels, one a spin, got {len(found)}")
    return found


def order_of(labels: Iterable[Hashable] | None, known: Sequence[Hashable]) -> list[Hashable]:
    """The labels that are known, in the order asked for; None: as they are.

    Raises:
      InputError: a label is missing, unknown or repeated.
    """
    if labels is None:
        return list(known)
    found = _different(labels)
    for odd, says in ((set(found) - set(known), "unknown"), (set(known) - set(found), "missing")):
        if odd:
            raise InputError(
                f"expected labels of all {len(known)} variables, got {len(odd)} {says}: "
                f"{shown(next(iter(odd)))}"
            )
    return found


def refuse_lone(number: int, problem: str, unit: str, free: str) -> None:
    """Raises an InputError where a problem has one variable, with what adds a free one to it."""
    if number == 1:
        raise InputError(
            f"expected a {problem} of at least 2 {unit}s, got one, and a machine has at least 2 "
            f"spins; add a {unit} that costs nothing, such as {free}"
        )


def _different(labels: Iterable[Hashable]) -> list[Hashable]:
    found = list(labels)
    try:
        repeated = len(found) - len(set(found))
    except TypeError as error:
        raise InputError(f"expected labels that can be keys of a dict: {error}") from error
    if repeated:
        raise InputError(f"expected different labels, got {repeated} repeated")
    return found
