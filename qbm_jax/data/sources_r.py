"""What an R data file (.rda, .RData) holds, read without R: vectors, lists, tables and objects.

The format is that of R's `serialize`, big-endian, versions 2 and 3. Old objects of Bioconductor
carry the definition of their class, compiled functions included: these are read over, and nothing
of a file is run. The library rdata (1.1) stops at them, so that it is not used here.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qbm_jax.errors import InputError

_PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ": lzma.decompress,
}  # fmt: skip
_HEADS = (b"RDX2\nX\n", b"RDX3\nX\n")
_DAMAGE = (ValueError, IndexError, TypeError, EOFError, OSError, RecursionError, lzma.LZMAError,
           zlib.error)  # fmt: skip

# The numbers of R's kinds.
_SYMBOL, _LIST, _CLOSURE, _ENVIRONMENT, _PROMISE, _CALL, _SPECIAL, _BUILTIN, _TEXT = range(1, 10)
_LOGICAL, _INTEGER, _REAL, _COMPLEX, _TEXTS, _DOTS = 10, 13, 14, 15, 16, 17
_VALUES, _EXPRESSION, _CODE, _POINTER, _WEAK, _BYTES, _OBJECT = 19, 20, 21, 22, 23, 24, 25
_COMPACT, _REFERENCE = 238, 255
_NAMED = (247, 248, 249)  # packages and the like
_NOTHING = (241, 242, 250, 251, 252, 253, 254)  # NULL, and environments that R always has
_ATTRIBUTED, _REPEATED, _REPEATABLE = (239, 240), 243, 244  # within compiled functions alone
_NUMBERS = {_LOGICAL: ">i4", _INTEGER: ">i4", _REAL: ">f8", _COMPLEX: ">c16"}
_IS_ATTRIBUTED, _IS_TAGGED = 0x200, 0x400
_LONGEST = 2**24  # sequence: a damaged file must not ask for all memory


@dataclass
class Value:
    """An R object.

    Attributes:
      data: numbers [n]; a list of texts, of Values, or of pairs of a name and a Value; the Values
        of an environment by name; the name of a symbol; None for NULL and what is only slots.
      slots: R's attributes by name, which are the slots of an object.
    """

    data: Any = None
    slots: dict[str, "Value"] = field(default_factory=dict)

    def slot(self, *names: str) -> "Value":
        """What lies at the end of a path of slots.

        Raises:
          InputError: there is no such slot; names those that are there.
        """
        found = self
        for name in names:
            if name not in found.slots:
                raise InputError(
                    f"expected an R object with the slot {name}, found {sorted(found.slots)}"
                )
            found = found.slots[name]
        return found


def load(path: Path) -> dict[str, Value]:
    """The objects of a file by name.

    Raises:
      InputError: no R data file, a damaged one, or one that holds what is not known here.
    """
    try:
        content = path.read_bytes()
        for mark, unpack in _PACKED.items():
            content = unpack(content) if content.startswith(mark) else content
        if not content.startswith(_HEADS):
            raise ValueError(f"begins with {content[:7]!r}")
        reader = _Reader(content, len(_HEADS[0]))
        version, _, _ = reader.integers(3)
        if version == 3:
            reader.take(reader.length())  # the encoding of texts
        return dict(reader.item().data)
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(
            f"cannot read {path}: expected an R data file, .rda or .RData ({error})"
        ) from error


class _Reader:
    """Goes through the items of a file once."""

    def __init__(self, content: bytes, place: int):
        self._content, self._place = content, place
        self._met: list[Value] = []  # what later items refer to, in R's order

    def take(self, number: int) -> bytes:
        """The next bytes."""
        taken = self._content[self._place : self._place + number]
        if len(taken) != number:
            raise EOFError("it ends too early")
        self._place += number
        return taken

    def integers(self, number: int) -> list[int]:
        """The next integers [number]."""
        return np.frombuffer(self.take(4 * number), ">i4").tolist()

    def length(self) -> int:
        """The next length; -1 says that two integers follow."""
        (short,) = self.integers(1)
        if short >= 0:
            return short
        high, low = self.integers(2)
        return (high << 32) + (low & 0xFFFFFFFF)

    def item(self) -> Value:
        """The next object."""
        (flags,) = self.integers(1)
        return self._of(flags)

    def _of(self, flags: int) -> Value:
        kind = flags & 0xFF
        if kind in _NOTHING:
            return Value()
        if kind == _REFERENCE:
            return self._met[(flags >> 8 or self.integers(1)[0]) - 1]
        if kind == _LIST:
            return self._pairs(flags)
        if kind in (_CLOSURE, _PROMISE, _CALL, _DOTS):
            bits = bool(flags & _IS_ATTRIBUTED) + bool(flags & _IS_TAGGED)
            for _ in range(bits + 2):
                self.item()
            return Value()
        if kind in (_ENVIRONMENT, _SYMBOL, _POINTER, _WEAK, *_NAMED):
            value = self._that_is_met_again(kind)
        else:
            value = self._simple(kind)
        if flags & _IS_ATTRIBUTED:
            value.slots = dict(self.item().data)
        return value

    def _pairs(self, flags: int) -> Value:
        """A linked list; a loop, since it may be longer than Python's stack is deep."""
        found, slots = [], {}
        while flags & 0xFF == _LIST:
            if flags & _IS_ATTRIBUTED:
                slots = dict(self.item().data)
            name = self.item().data if flags & _IS_TAGGED else ""
            found.append((name, self.item()))
            (flags,) = self.integers(1)
        self._of(flags)
        return Value(found, slots)

    def _that_is_met_again(self, kind: int) -> Value:
        value = Value()
        if kind == _SYMBOL:
            value.data = self.item().data
        elif kind in _NAMED:
            _, number = self.integers(2)
            for _ in range(number):
                self.item()
        self._met.append(value)  # of the others before the content, which may refer to it
        if kind == _POINTER:
            self.item(), self.item()
        elif kind == _ENVIRONMENT:
            self.integers(1)
            _, frame, table, attributes = (self.item() for _ in range(4))
            chains = [frame, *(table.data or [])]
            value.data = {name: each for chain in chains for name, each in chain.data or []}
            value.slots = dict(attributes.data or [])
        return value

    def _simple(self, kind: int) -> Value:
        if kind == _TEXT:
            (number,) = self.integers(1)
            return Value(None if number < 0 else self.take(number).decode("utf-8", "replace"))
        if kind in _NUMBERS:
            dtype = np.dtype(_NUMBERS[kind])
            numbers = np.frombuffer(self.take(dtype.itemsize * self.length()), dtype)
            return Value(numbers.astype(dtype.newbyteorder("=")))
        if kind == _TEXTS:
            return Value([self.item().data for _ in range(self.length())])
        if kind in (_VALUES, _EXPRESSION):
            return Value([self.item() for _ in range(self.length())])
        if kind in (_SPECIAL, _BUILTIN, _BYTES):
            return Value(self.take(self.length()))
        if kind == _CODE:
            self.integers(1)
            self._code()
            return Value()
        if kind == _COMPACT:
            return self._compact(*(self.item() for _ in range(3)))
        if kind == _OBJECT:
            return Value()
        raise ValueError(f"an item is of the unknown kind {kind}")

    def _compact(self, law: Value, state: Value, attributes: Value) -> Value:
        """A vector that R stores by a rule."""
        name = law.data[0][1].data
        parts = [each[1] if isinstance(each, tuple) else each for each in state.data]
        if name in ("compact_intseq", "compact_realseq"):
            number, first, step = state.data
            if number > _LONGEST:
                raise ValueError(f"a sequence has {number:.0f} numbers")
            kind = np.int32 if name == "compact_intseq" else float
            data = (first + step * np.arange(int(number))).astype(kind)
        elif name == "deferred_string":
            data = [f"{each:.15g}" for each in parts[0].data]
        elif name.startswith("wrap_"):
            data = parts[0].data
        else:
            raise ValueError(f"a vector is stored as {name}")
        return Value(data, dict(attributes.data or []))

    def _code(self) -> None:
        """Reads over a compiled function."""
        self.item()
        for _ in range(self.length()):
            (kind,) = self.integers(1)
            if kind == _CODE:
                self._code()
            else:
                self._call(kind)

    def _call(self, kind: int) -> None:
        """Reads over a constant of a compiled function."""
        while kind in (_CALL, _LIST, _REPEATABLE, *_ATTRIBUTED):
            if kind == _REPEATABLE:
                _, kind = self.integers(2)
            if kind in _ATTRIBUTED:
                self.item()
            self.item()
            self._call(self.integers(1)[0])
            (kind,) = self.integers(1)
        if kind == _REPEATED:
            self.integers(1)
        else:
            self.item()
