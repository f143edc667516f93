"""Names as text: what a file, a column or an error says is shown, and never read as markup.

Names of cell types, batches, columns, genes and files come from elsewhere. Whoever puts one into a
report or a figure passes it through a function of this module.
"""

import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import quote

# Of Markdown within a line, with GitHub's math, pipes and strike-through. An underscore within a
# word is none, nor is a parenthesis behind an escaped bracket.
_INLINE = re.compile(
    r"[\\`*\[\]<>&|~#$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE
)
# What at the start of a line begins a list or underlines a heading, but not the sign of a number.
_BULLET = re.compile(r"^[-+=](?=[\s+=-]|$)")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
_RAW_BYTES = re.compile("[\udc80-\udcff]+")  # of a file name that is not text, as Python keeps them
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control and format characters, halves, separators
_JOINERS = {"\u200c", "\u200d"}  # which some scripts and pictographs are written with


class Markdown(str):
    """Text that is Markdown already: ours, or made by a function of this module."""


def plain(text: object) -> str:
    r"""One line of visible text.

    Line breaks and tabs become spaces; other control characters, also those that turn the direction
    of writing or cannot be seen, are spelt out as `\u202e`.
    """
    text = _RAW_BYTES.sub(_decoded, str(text))
    return "".join(_visible(character) for character in " ".join(text.split()))


def _decoded(found: re.Match[str]) -> str:
    """Bytes of a file name as UTF-8, which they are where only the locale does not know it."""
    return found[0].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _visible(character: str) -> str:
    if unicodedata.category(character) in _HIDDEN and character not in _JOINERS:
        return f"\\u{ord(character):04x}"
    return character


def markdown(text: object) -> Markdown:
    """Text that Markdown shows as it is, wherever it stands; Markdown of ours is not touched."""
    if isinstance(text, Markdown):
        return text
    shown = _INLINE.sub(r"\\\g<0>", plain(text))
    return Markdown(_NUMBERED.sub(r"\1\\\2", _BULLET.sub(r"\\\g<0>", shown)))


def bold(text: object) -> Markdown:
    """Text in bold."""
    return Markdown(f"**{markdown(text)}**")


def code(text: object) -> Markdown:
    """Text as code; as ordinary text where it has what code in a table cannot have."""
    shown = plain(text)
    return Markdown(f"`{shown}`") if shown and not set(shown) & set("`|\\") else markdown(text)


def fence(text: object) -> Markdown:
    """Lines as a block of code, between fences longer than any run of backticks in it."""
    lines = [_RAW_BYTES.sub(_decoded, line) for line in str(text).split("\n")]
    lines = ["".join(map(_visible, line.expandtabs())) for line in lines]
    longest = max((len(run) for run in re.findall("`+", str(text))), default=0)
    marks = "`" * max(3, longest + 1)
    return Markdown("\n".join([marks, *lines, marks]))


def bullets(lines: Iterable[object]) -> Markdown:
    """A list of remarks, or that there are none."""
    return Markdown("\n".join(f"* {markdown(line)}" for line in lines) or "None.")


def picture(caption: str, file: str) -> Markdown:
    """A figure of the folder `figures`, with its caption below."""
    shown = markdown(caption)
    return Markdown(f"![{shown}](figures/{quote(file)})\n\n*{shown}*")


def file_name(name: object, suffix: str = "") -> str:
    """A file name for something called so, in ASCII; different names have different ones."""
    return quote(str(name), safe="", errors="backslashreplace") + suffix


def figure_text(text: object, length: int | None = None) -> str:
    """Text that matplotlib draws as it is: no formula, and no label that a legend leaves out.

    Args:
      text: any name.
      length: longer text is cut in the middle.
    """
    shown = plain(text)
    if length is not None and len(shown) > length:
        keep = (length - 1) // 2
        shown = f"{shown[:keep]}…{shown[-keep:]}"
    shown = shown.replace("$", "\\$")
    return f" {shown}" if shown.startswith("_") else shown
