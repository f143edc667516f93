"""A report as files: its Markdown, and one page for a browser with its figures inside."""

import base64
import html
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from qbm_jax.runtime.whole_file import write_whole

FILE, PAGE, FOLDER = "report.md", "report.html", "figures"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing from elsewhere
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 0 auto; max-width: 64rem;
  padding: 1rem 1.5rem 4rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; } h2 { border-bottom: 1px solid #ddd; margin-top: 2.5rem; }
nav ul { columns: 16rem; padding-left: 1.2rem; } nav .h3 { margin-left: 1.2rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.9rem; }
th, td { border-bottom: 1px solid #e4e4e4; padding: 0.25rem 0.7rem; overflow-wrap: normal; }
th { border-bottom: 2px solid #999; }
img { display: block; height: auto; max-width: 100%; margin-top: 2rem; }
pre { background: #f5f5f5; overflow-x: auto; padding: 0.7rem; } code { background: #f5f5f5; }
@media print { body { max-width: none; } h2, h3 { break-after: avoid; } }
"""


def write_report(folder: Path, text: str) -> Path:
    """Writes `report.md`, and `report.html` made from it, each whole or not at all.

    Args:
      folder: holds the figures that the text shows, in `figures`.
      text: the report in Markdown.

    Returns:
      The path of `report.md`.

    Raises:
      OSError: a figure is missing, or one of the files cannot be written.
    """
    path = folder / FILE
    write_whole(path, text)
    write_whole(folder / PAGE, page(text, folder))
    return path


def page(text: str, folder: Path) -> str:
    """The report as one HTML file that needs no other.

    Its figures are in it, its headings have anchors and a table of contents, and a browser that
    shows it asks for nothing else. Markup in the text is shown, never obeyed.

    Args:
      text: the report in Markdown.
      folder: what the paths of its figures are relative to.

    Raises:
      OSError: a figure cannot be read.
    """
    parser = MarkdownIt("commonmark", {"html": False, "xhtmlOut": False}).enable("table")
    parser.add_render_rule("table_open", _before('<div class="table">'))
    parser.add_render_rule("table_close", _after("</div>"))
    tokens = parser.parse(text)
    _embed_figures(tokens, folder)
    headings = _anchor(tokens)
    title = next((name for level, _, name in headings if level == "h1"), "Report")
    listed = "\n".join(
        f'<li class="{level}"><a href="#{anchor}">{html.escape(name)}</a></li>'
        for level, anchor, name in headings
        if level != "h1"
    )
    start = next((i + 1 for i, token in enumerate(tokens) if _ends_title(token)), 0)
    head, rest = (
        parser.renderer.render(part, parser.options, {})
        for part in (tokens[:start], tokens[start:])
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'{head}<nav aria-label="Contents">\n<ul>\n{listed}\n</ul>\n</nav>\n'
        f"{rest}</body>\n</html>\n"
    )


def _ends_title(token: Token) -> bool:
    return token.type == "heading_close" and token.tag == "h1"


def _embed_figures(tokens: Sequence[Token], folder: Path) -> None:
    """Puts every picture's bytes in the place of its path."""
    for token in (child for block in tokens for child in block.children or ()):
        if token.type == "image":
            content = (folder / unquote(str(token.attrs["src"]))).read_bytes()
            token.attrs["src"] = f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _anchor(tokens: Sequence[Token]) -> list[tuple[str, str, str]]:
    """Gives every heading an anchor: level, anchor and text of each."""
    found: list[tuple[str, str, str]] = []
    for token, inline in itertools.pairwise(tokens):
        if token.type == "heading_open":
            shown = "".join(each.content for each in inline.children or ())
            words = "".join(letter if letter.isalnum() else " " for letter in shown).split()
            anchor, taken = "-".join(words).lower() or "section", {each[1] for each in found}
            while anchor in taken:
                anchor += "-again"
            token.attrs["id"] = anchor
            found.append((token.tag, anchor, shown))
    return found


def _before(markup: str) -> Callable[..., str]:
    """A rule that renders a token as usual, with markup in front of it."""

    def render(self: RendererHTML, tokens: Any, number: int, options: Any, env: Any) -> str:
        return markup + self.renderToken(tokens, number, options, env)

    return render


def _after(markup: str) -> Callable[..., str]:
    """A rule that renders a token as usual, with markup behind it."""

    def render(self: RendererHTML, tokens: Any, number: int, options: Any, env: Any) -> str:
        return self.renderToken(tokens, number, options, env) + markup

    return render
