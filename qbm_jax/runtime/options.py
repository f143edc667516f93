"""Kinds of options: what a value must be, and the plain Python value that it stands for.

Options come from notebooks, configs, tables and the command line: as numbers of numpy or JAX, as
text, as lists. A kind checks a value once, where it comes in, and gives back the Python number,
text or tuple that it is. What is kept is then equal to itself after JSON, and 9, 9.0 and True,
which Python takes for equal, are never keys of one cache.
"""

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np

from qbm_jax.errors import InputError

LARGEST_WHOLE = 2**31 - 1  # of an int32, which is what counts of steps and sizes are in JAX
LARGEST_FLOAT = float(np.finfo(np.float32).max)
SMALLEST_FLOAT = float(np.finfo(np.float32).tiny)
LARGEST_SEED = 2**32 - 1  # what numpy, scikit-learn and a JAX key all take
LONGEST_SHOWN = 60  # characters of a refused value
Options = typing.TypeVar("Options")  # a dataclass of options


@dataclasses.dataclass(frozen=True)
class Kind:
    """What an option must be.

    Attributes:
      says: what it must be, in words that follow "must be".
      read: value -> the plain value; raises a ValueError where it is not of this kind.
      takes_none: whether None is of this kind.
      names: the names to choose from, where it is a choice.
      plain_type: Python's type of the plain value, where all have one but None.
    """

    says: str
    read: Callable[[Any], Any]
    takes_none: bool = False
    names: tuple[str, ...] = ()
    plain_type: type = object


def check(name: str, value: Any, kind: Kind) -> Any:
    """The plain Python value of an option.

    Args:
      name: the option, as the user knows it.
      value: what was given for it.
      kind: what it must be.

    Raises:
      InputError: it is not of its kind; one line with the name, the kind and the value.
    """
    try:
        return kind.read(value)
    except (ValueError, TypeError, OverflowError) as error:
        if kind.names:
            known = ", ".join(kind.names)
            raise InputError(f"unknown {name} {shown(value)}; choose from {known}") from error
        whole_number = isinstance(value, int | np.integer) and kind.plain_type is int
        beyond = whole_number and value > LARGEST_WHOLE and _ends_at_int32(kind)
        limit = f" and at most {LARGEST_WHOLE}" if beyond else ""
        raise InputError(f"{name} must be {kind.says}{limit}, got {shown(value)}") from error


def _ends_at_int32(kind: Kind) -> bool:
    """Whether the largest int32 is the largest number of this kind, which goes without saying."""
    try:
        kind.read(LARGEST_WHOLE)
    except ValueError:
        return False
    try:
        kind.read(LARGEST_WHOLE + 1)
    except ValueError:
        return True
    return False


def check_all(given: Mapping[str, Any], kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """The plain values of options by name; `kinds` has a kind for each.

    Raises:
      InputError: as `check`.
    """
    return {name: check(name, value, kinds[name]) for name, value in given.items()}


def check_mapping(name: str, given: Any) -> dict[str, Any]:
    """Options by name.

    Raises:
      InputError: it is no dict, or has keys that are no text.
    """
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise InputError(f"{name} must be a dict of values by option, got {shown(given)}")
    return dict(given)


def shown(value: Any) -> str:
    """A value in one line of at most `LONGEST_SHOWN` characters, with its type if it is long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a repr may do anything, and Python refuses to print very long integers
        text = f"a value of type {type(value).__name__} that cannot be shown"
    if len(text) <= LONGEST_SHOWN:
        return text
    return f"{text[: LONGEST_SHOWN - 3]}... ({type(value).__name__})"


def plain(value: Any) -> Any:
    """A number or text of numpy or JAX, also an array without axes, as Python's; else itself."""
    if isinstance(value, jax.core.Tracer):
        return value
    if isinstance(value, np.generic | np.ndarray | jax.Array) and np.ndim(value) == 0:
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            return value
        return value.item()
    return value


def whole(least: int, most: int = LARGEST_WHOLE) -> Kind:
    """A whole number from `least` to `most`; no bool, and no float, even if it is whole."""

    def read(value: Any) -> int:
        number = plain(value)
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            raise ValueError
        return int(number)

    upper = "" if most == LARGEST_WHOLE else f" and at most {most}"
    return Kind(f"a whole number of at least {least}{upper}", read, plain_type=int)


def seed() -> Kind:
    """The root of all randomness."""
    return dataclasses.replace(whole(0, LARGEST_SEED), says="a whole number from 0 to 2^32 - 1")


def _real(value: Any) -> float:
    """The number, if float32 can hold it.

    Raises:
      ValueError: it is none, infinite, NaN or too large.
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int | float | np.floating):
        raise ValueError
    number = float(number)
    if not abs(number) <= LARGEST_FLOAT:
        raise ValueError
    return number


def _real_where(holds: Callable[[float], bool], says: str) -> Kind:
    def read(value: Any) -> float:
        number = _real(value)
        if not holds(number):
            raise ValueError
        return number

    return Kind(says, read, plain_type=float)


def finite() -> Kind:
    """A finite number."""
    return Kind("a finite number", _real, plain_type=float)


def positive() -> Kind:
    """A finite number above 0, in float32 as well."""
    return _real_where(lambda x: x >= SMALLEST_FLOAT, "a finite number above 0")


def not_negative() -> Kind:
    """A finite number of at least 0."""
    return real(0)


def real(least: float, *, below: float = math.inf) -> Kind:
    """A finite number of at least `least`, and below another."""
    upper = "" if below == math.inf else f" and below {below:g}"
    return _real_where(
        lambda x: least <= x < below, f"a finite number of at least {least:g}{upper}"
    )


def fraction(*, open_ends: bool = False) -> Kind:
    """A number between 0 and 1; without 0 and 1 themselves if the ends are open."""
    if open_ends:
        return _real_where(
            lambda x: 0 < x < 1 and 0 < float(np.float32(x)) < 1,
            "a number between 0 and 1, and neither of them",
        )
    return _real_where(lambda x: 0 <= x <= 1, "a number between 0 and 1")


def text() -> Kind:
    """A string."""

    def read(value: Any) -> str:
        if not isinstance(plain(value), str):
            raise ValueError
        return str(value)

    return Kind("text", read, plain_type=str)


def name() -> Kind:
    """What may follow X_ in `obsm`."""

    def read(value: Any) -> str:
        word = text().read(value)
        if not word.isidentifier():
            raise ValueError
        return word

    return Kind("letters, digits and _", read)


def choice(names: Collection[str]) -> Kind:
    """One of some names."""

    def read(value: Any) -> str:
        word = text().read(value)
        if word not in names:
            raise ValueError
        return word

    return Kind(f"one of {', '.join(names)}", read, names=tuple(names), plain_type=str)


def flag() -> Kind:
    """True or False."""

    def read(value: Any) -> bool:
        if not isinstance(plain(value), bool):
            raise ValueError
        return bool(value)

    return Kind("True or False", read, plain_type=bool)


def optional(kind: Kind) -> Kind:
    """None, or of this kind."""

    def read(value: Any) -> Any:
        return None if value is None else kind.read(value)

    return dataclasses.replace(kind, says=f"{kind.says}, or None", read=read, takes_none=True)


def several(kind: Kind, says: str) -> Kind:
    """A tuple, list or array with one axis, each entry of this kind; a tuple is given back."""

    def read(value: Any) -> tuple:
        if not isinstance(value, tuple | list | np.ndarray | jax.Array) or not np.ndim(value):
            raise ValueError
        return tuple(kind.read(entry) for entry in value)

    return Kind(says, read)


def widths() -> Kind:
    """Units per hidden layer."""
    return several(whole(1), "a tuple of whole numbers of at least 1, such as (128,)")


def pairs(first: Kind, second: Kind, says: str) -> Kind:
    """A tuple or list of pairs of these kinds; a tuple of tuples is given back."""

    def read(value: Any) -> tuple:
        one, other = several(finite(), says).read(value)
        return first.read(one), second.read(other)

    return several(Kind(says, read), says)


def traceable(kind: Kind) -> Kind:
    """A value of this kind; or a traced number or array of such, taken as it is."""

    def read(value: Any) -> Any:
        if isinstance(value, jax.core.Tracer):
            return value
        if isinstance(value, np.ndarray | jax.Array) and np.ndim(value):
            if not np.issubdtype(value.dtype, np.floating):
                raise ValueError
            for number in np.asarray(value).flat:
                kind.read(number)
            return value
        return kind.read(value)

    return Kind(kind.says, read)


def field(
    default: Any,
    kind: Kind,
    meaning: str,
    *,
    unit: str = "",
    traceable: bool = False,
    of_cells: bool = False,
    source: str = "",
) -> Any:
    """A field of a dataclass of options: its one birth, from which all that is said of it is made.

    Args:
      default: its value unless another is given.
      kind: what it must be: its range, and the check of it.
      meaning: what it is, in words that follow "name:".
      unit: of the value; "" for none.
      traceable: whether a compiled program takes it as an argument, so that one program serves all
        values.
      of_cells: whether the cells decide it; a config then has no such field.
      source: where the option or its default is from; "" for this project.
    """
    says = {"meaning": meaning, "unit": unit, "source": source}
    return dataclasses.field(
        default=default,
        metadata={"kind": kind, "traceable": traceable, "of_cells": of_cells, **says},
    )


def describe(options: type) -> dict[str, str]:
    """What each field of a dataclass of options is: meaning, [unit]; values (source), in a line."""
    return {each.name: _described(each) for each in dataclasses.fields(options)}


def _described(field: dataclasses.Field) -> str:
    said = field.metadata
    unit = f" [{said['unit']}]" if said["unit"] else ""
    source = f" ({said['source']})" if said["source"] else ""
    return f"{said['meaning']}{unit}; {said['kind'].says}{source}"


def documented(options: type[Options]) -> type[Options]:
    """A dataclass of options with its fields in its docstring: for `help()` and the reference."""
    described = describe(options)
    entries = [f"  {name}: {described[name]}." for name in described]
    options.__doc__ = "\n\n".join(
        [inspect.cleandoc(options.__doc__ or ""), "\n".join(["Attributes:", *entries])]
    )
    return options


def field_defaults(options: type) -> dict[str, Any]:
    """Fields of a dataclass of options that no cells decide, with their defaults."""
    fields = dataclasses.fields(options)
    return {each.name: each.default for each in fields if not each.metadata["of_cells"]}


def from_dict(options: type[Options], what: str, given: Any) -> Options:
    """A dataclass of options from fields by name.

    Args:
      options: the dataclass.
      what: the options are of, "model" or "training".
      given: its fields; those left out keep their defaults.

    Raises:
      InputError: no dict, an unknown field, or a value that is not of its kind.
    """
    fields = check_mapping(f"{what}_options", given)
    names = list(field_kinds(options))
    if unknown := sorted(set(fields) - set(names)):
        raise InputError(f"unknown {what} options {unknown}; choose from {', '.join(names)}")
    return options(**fields)


def traceable_fields(options: type) -> tuple[str, ...]:
    """Fields of a dataclass of options that a compiled program may take as arguments."""
    fields = dataclasses.fields(options)
    return tuple(each.name for each in fields if each.metadata["traceable"])


def check_fields(options: Any) -> None:
    """Checks the fields of a frozen dataclass and replaces their values by the plain ones.

    To be called in `__post_init__`.

    Raises:
      InputError: as `check`.
    """
    for name, kind in field_kinds(type(options)).items():
        object.__setattr__(options, name, check(name, getattr(options, name), kind))


def field_kinds(options: type) -> dict[str, Kind]:
    """The kinds of the fields of a dataclass of options."""
    return {each.name: each.metadata["kind"] for each in dataclasses.fields(options)}
