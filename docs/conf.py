"""How Sphinx builds the manual: sphinx-build -j 2 -W -b html docs OUT."""

import ast
import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "qbm_jax"

# The manual is of this checkout: of its docstrings, and run by its code.
sys.path.insert(0, str(HERE.parent))
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])

project = "qbm_jax"
author = copyright = "qbm_jax developers"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]

default_role = "py:obj"  # `name` in a docstring is a link where the name is known, else code
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "ignore-module-all": True, "show-inheritance": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Pages are Markdown that a forge shows as well; the notebooks among them run where they are built.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_output_stderr = "remove"  # of bars that find no notebook to be drawn in


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers what is done to pages and docstrings."""
    app.connect("builder-inited", write_reference)
    app.connect("source-read", link_to_code)
    app.connect("autodoc-skip-member", leave_out_foreign)
    app.connect("autodoc-process-docstring", as_rst, priority=900)  # after napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_reference(app: Sphinx) -> None:
    """Writes a page of the reference for each room of the library."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    pages = {room: _room_page(room) for room in _rooms()}
    names = "\n".join(f"   {room}" for room in pages)
    pages["index"] = f"{_heading('Reference', '=')}\n.. toctree::\n   :maxdepth: 1\n\n{names}\n"
    for stale in set(folder.glob("*.rst")) - {folder / f"{name}.rst" for name in pages}:
        stale.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _rooms() -> list[str]:
    """Names of the packages, the library itself first."""
    folders = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))
    return [_module(folder) for folder in folders]


def _module(path: Path) -> str:
    """The name under which a file or folder of the library is imported."""
    return ".".join(path.relative_to(HERE.parent).with_suffix("").parts)


def _room_page(room: str) -> str:
    """A heading for each module, and all that is public in it."""
    folder = HERE.parent / room.replace(".", "/")
    text = f"{_heading(room, '=')}\n.. automodule:: {room}\n\n"
    for path in sorted(folder.glob("*.py")):
        if not path.stem.startswith("_") and _has_docstring(path):
            text += f"{_heading(path.stem, '-')}\n.. automodule:: {_module(path)}\n\n"
    return text


def _has_docstring(path: Path) -> bool:
    return ast.get_docstring(ast.parse(path.read_text())) is not None


def _heading(text: str, line: str) -> str:
    text = text.replace("_", "\\_")
    return f"{text}\n{line * len(text)}\n"


LINK = re.compile(r"\[([^]\n]+)\]\((?:\.\./)+([^)#\s]+?)/?\)")


def link_to_code(app: Sphinx, page: str, source: list[str]) -> None:
    """Turns a page's links to files of the repository into links to the reference."""

    def linked(found: re.Match[str]) -> str:
        text, target = found.groups()
        path = HERE.parent / target
        if path.is_relative_to(PACKAGE) and (path.suffix == ".py" or path.is_dir()):
            return f"{{py:mod}}`{text} <{_module(path)}>`"
        return found[0] if (HERE / target).exists() else f"`{text}`"

    source[0] = LINK.sub(linked, source[0])


def leave_out_foreign(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leaves out methods that another library adds to our classes."""
    module = getattr(obj, "__module__", None) or "qbm_jax"
    return True if inspect.isroutine(obj) and not module.startswith("qbm_jax") else None


MARKS = re.compile(r"(`[^`]*`)|(\||(?<=\w)_(?!\w))")  # code, and what else is a mark of RST


def as_rst(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escapes bars and last underscores, and sets lists apart from the sentences around them."""
    out: list[str] = []
    for line in lines:
        before = out[-1] if out else ""
        indent, last = (len(each) - len(each.lstrip()) for each in (line, before))
        text = line.strip()
        item = text.startswith("* ") and indent > last
        ended = indent < last and not text.startswith((":", ".."))
        if before.strip() and text and (item or ended):
            out.append("")
        marked = MARKS.sub(lambda found: found[1] or f"\\{found[2]}", line)
        out.append(line if text.startswith(">>>") else marked)
    lines[:] = out
