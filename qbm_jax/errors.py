"""The one exception that means: the user can mend this; and the line in which it is said."""

import re
import unicodedata

_RAW_BYTES = re.compile("[\udc80-\udcff]+")  # of a file name that is not text, as Python keeps them
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control and format characters, halves, separators
_JOINERS = {"\u200c", "\u200d"}  # which some scripts and pictographs are written with


class InputError(ValueError):
    """A file, column, value, config field or checkpoint that cannot be used.

    The message is one line: what was expected, what came, what to do. The command line prints it
    without a traceback and exits with code 2.
    """

    def __init__(self, message: object = ""):
        """Takes the message; names in it that a terminal would obey are spelt out."""
        super().__init__(one_line(message))


def one_line(text: object) -> str:
    """One line of visible text; line breaks and tabs become spaces."""
    return visible(" ".join(str(text).split()))


def visible(text: str) -> str:
    r"""The text with control characters spelt out.

    They are those that a terminal obeys, that turn the direction of writing, such as `\u202e`, or
    that cannot be seen.
    """
    return "".join(map(_visible, _RAW_BYTES.sub(_decoded, text)))


def _decoded(found: re.Match[str]) -> str:
    """Bytes of a file name as UTF-8, which they are where only the locale does not know it."""
    return found[0].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _visible(character: str) -> str:
    if unicodedata.category(character) in _HIDDEN and character not in _JOINERS:
        return f"\\u{ord(character):04x}"
    return character
