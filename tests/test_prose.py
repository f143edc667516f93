"""Docstrings: everything public has one, in Google style, and says the shapes of its arrays."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SECTION = re.compile(r"( *)(Args|Attributes|Raises|Returns|Yields):$")
ENTRY = re.compile(r"\*{0,2}[\w.]+(, [\w.]+)*: \S")  # name: text, or several names
SHAPE = re.compile(r"\[[^\[\]]*([a-zA-Z]|\.\.\.)[^\[\]]*\]|\b(scalars?|shapes?)\b")
SHARE_WITH_SHAPES = 0.95


@functools.cache
def _trees(folder):
    """Syntax trees of a folder's modules by path."""
    files = sorted((ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT): ast.parse(path.read_text()) for path in files}


def _public(node, prefix=""):
    """(name, definition) of public functions, classes and methods in a module or class."""
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.ClassDef) and not each.name.startswith("_"):
            yield prefix + each.name, each
            if isinstance(each, ast.ClassDef):
                yield from _public(each, f"{each.name}.")


def _documented(folder):
    """(place, definition or module, docstring) of all public names and modules of a folder."""
    for path, tree in _trees(folder).items():
        yield str(path), tree, ast.get_docstring(tree)
        for name, node in _public(tree):
            yield f"{path}:{node.lineno} {name}", node, ast.get_docstring(node)


@pytest.mark.parametrize("folder", ["qbm_jax", "experiments"])
def test_everything_public_has_a_docstring(folder):
    assert not [place for place, _, text in _documented(folder) if not text]


def _faults(text):
    """Lines of a docstring that break Google style with two spaces a level."""
    section = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if found := SECTION.match(line):
            section = found[2]
            if found[1]:
                yield line
        elif line and indent == 0:
            section = None
        elif line and section:
            entry = section in ("Returns", "Yields") or ENTRY.match(line.strip())
            if indent % 2 or (indent == 2 and not entry):
                yield line


@pytest.mark.parametrize("folder", ["qbm_jax", "experiments"])
def test_docstrings_are_in_google_style_with_two_spaces(folder):
    faults = {
        place: found
        for place, _, text in _documented(folder)
        if text and (found := list(_faults(text)))
    }
    assert not faults


@pytest.mark.parametrize(
    "line", ["  Args:", "   spins: drawn", "  continued at the margin", "     in five spaces"]
)
def test_another_style_is_noticed(line):
    good = "Says something.\n\nArgs:\n  spins: drawn from\n    the law.\n"
    assert not list(_faults(good))
    assert list(_faults(good + line)) == [line]


def _names(annotation):
    return set() if annotation is None else set(re.findall(r"[\w.]+", ast.unparse(annotation)))


def _has_shape(annotation):
    """Whether it is of an array that is not merely a number which may be traced."""
    names = _names(annotation)
    return bool(names & {"jax.Array", "np.ndarray"}) and not names & {"float", "int", "Callable"}


def _of_arrays(node):
    """Whether a function takes or returns arrays; keys of random numbers have no shape."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    taken = [a.annotation for a in arguments if not re.match(r"keys?$|key_", a.arg)]
    return any(map(_has_shape, [*taken, node.returns]))


def test_functions_of_arrays_say_their_shapes():
    found = {
        place: bool(SHAPE.search(text or ""))
        for place, node, text in _documented("qbm_jax")
        if isinstance(node, ast.FunctionDef) and _of_arrays(node)
    }
    without = [place for place, says in found.items() if not says]
    assert len(without) <= (1 - SHARE_WITH_SHAPES) * len(found), "\n".join(without)
