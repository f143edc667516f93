"""Names that break what does not take them as text, and a parser that sees it."""

import pytest

HOSTILE = [
    "<script>alert(1)</script>", "![x](http://e.vil/p.png)", "<img src=x onerror=y>", "# heading",
    "a | b", "a\n\n# b\n\n| x | y |\n| - | - |\n| 1 | 2 |", "```\nend", "`code`", "\\|", "x\\",
    "**b**",
    "_name_", "$\\frac{1$", "cost $5 and $6", "- item", "1. item", "===", "&lt;b&gt;", "[l](u)",
    "=1+1", "\u202egnp.exe", "\x00\x1b[31m", "\udce9t\udcc3\udca9", "name" * 80, "שלום", "~~x~~",
]  # fmt: skip


def tokens(text):
    """The parsed report: every block and inline token, images' alt text apart."""
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for block in parser.parse(text):
        yield block
        yield from block.children or ()


def shown(text):
    """What a reader of one paragraph sees, and whether anything but text is in it."""
    found = list(tokens(text))
    kinds = {token.type for token in found} - {"paragraph_open", "paragraph_close", "inline"}
    content = "".join(t.content for t in found if t.type in ("text", "text_special"))
    return content, kinds <= {"text", "text_special"}
