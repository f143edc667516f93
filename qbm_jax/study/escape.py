"""Names as text: what a file, a column or an error says is shown, and never read as markup.

Names of cell types, batches, columns, genes and files come from elsewhere. Whoever puts one into a
report or a figure passes it through a function of this module.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote

from qbm_jax.errors import one_line, visible

# Of Markdown within a line, with GitHub's math, pipes and strike-through. An underscore within a
# word is none, nor is a parenthesis behind an escaped bracket.
_INLINE = re.compile(
    r"[\\`*\[\]<>&|~#$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE
)
# What at the start of a line begins a list or underlines a heading, but not the sign of a number.
_BULLET = re.compile(r"^[-+=](?=[\s+=-]|$)")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")


class Markdown(str):
    """Text that is Markdown already: ours, or made by a function of this module."""


def markdown(text: object) -> Markdown:
    """Text that Markdown shows as it is, wherever it stands; Markdown of ours is not touched."""
    if isinstance(text, Markdown):
        return text
    shown = _INLINE.sub(r"\\\g<0>", one_line(text))
    return Markdown(_NUMBERED.sub(r"\1\\\2", _BULLET.sub(r"\\\g<0>", shown)))


def bold(text: object) -> Markdown:
    """Text in bold."""
    return Markdown(f"**{markdown(text)}**")


def code(text: object) -> Markdown:
    """Text as code; as ordinary text where it has what code in a table cannot have."""
    shown = one_line(text)
    return Markdown(f"`{shown}`") if shown and not set(shown) & set("`|\\") else markdown(text)


def fence(text: object) -> Markdown:
    """Lines as a block of code, between fences longer than any run of backticks in it."""
    lines = [visible(line.expandtabs()) for line in str(text).split("\n")]
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
    shown = one_line(text)
    if length is not None and len(shown) > length:
        keep = (length - 1) // 2
        shown = f"{shown[:keep]}…{shown[-keep:]}"
    shown = shown.replace("$", "\\$")
    return f" {shown}" if shown.startswith("_") else shown
