"""Tuples of functions that are equal where they were made of the same."""

from collections.abc import Hashable
from typing import Any, Self


class ByValue(tuple[Any, ...]):
    """Base of a named tuple of functions whose last field, `spec`, is what they were made of.

    Functions are equal by identity alone, so that a model built twice would be two to `jax.jit`,
    which compiles anew for each. Tuples with a spec are equal where their specs are, and hash
    alike; one without (None) is equal where all its functions are the same. A copy with other
    functions has no spec.
    """

    __slots__ = ()
    spec: Hashable

    def __eq__(self, other: object) -> bool:
        """Whether both are of one type and of one spec, or of the same functions."""
        if type(self) is not type(other) or not isinstance(other, ByValue):
            return False
        if self.spec is None or other.spec is None:
            return self is other or tuple(self) == tuple(other)
        return self.spec == other.spec

    def __ne__(self, other: object) -> bool:
        """Whether they differ; a tuple has an answer of its own, which is not asked."""
        return not self == other

    def __hash__(self) -> int:
        """Of the spec, or of all functions."""
        spec = self.spec
        return hash(tuple(self) if spec is None else (type(self), spec))

    def _replace(self, **changes: Any) -> Self:
        """A copy with other functions, and without a spec where none is given."""
        return super()._replace(**{"spec": None, **changes})  # type: ignore[misc]


def spec_of(*parts: Any) -> Hashable | None:
    """The parts as a spec; None where one cannot be compared, such as an array."""
    try:
        hash(parts)
    except TypeError:
        return None
    return parts
