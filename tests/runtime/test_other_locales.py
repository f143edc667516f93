"""Where the locale knows no UTF-8, or the user no home: the same files, and no traceback."""

import ast
import io
import os
import sys
from pathlib import Path

import pytest
from command_line import ROOT

from experiments.kit import usage
from experiments.kit.workdir import check_workdir
from qbm_jax.data.download import cache_folder
from qbm_jax.errors import InputError
from qbm_jax.runtime import user_cache

FILES = [
    *(path for folder in ("qbm_jax", "experiments", "configs", "benchmarks")
      for path in (ROOT / folder).rglob("*.py")),
    ROOT / "run.py",
]  # fmt: skip
TEXT = {"open", "read_text", "write_text"}


def unnamed(source):
    """Lines that read or write text in whatever encoding the locale has."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        given = {keyword.arg for keyword in call.keywords}
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        owner = getattr(getattr(call.func, "value", None), "id", "")
        constants = [a.value for a in call.args if isinstance(a, ast.Constant)]
        binary = any(isinstance(v, str) and "b" in v and len(v) <= 3 for v in constants)
        opens_cells = name == "open" and not call.args and not given  # a part's own `open`
        if name in TEXT and owner != "os" and not (binary or opens_cells or "encoding" in given):
            yield call.lineno
        if {"text", "universal_newlines"} & given and "encoding" not in given:
            yield call.lineno


def test_every_text_file_is_read_and_written_in_a_named_encoding():
    assert list(unnamed('open("a")\np.read_text()\nrun(x, text=True)')) == [1, 2, 3]
    found = [f"{p.relative_to(ROOT)}:{n}" for p in FILES for n in unnamed(p.read_text("utf-8"))]
    assert not found
    assert len(FILES) > 150


def test_what_a_terminal_cannot_show_is_printed_as_escapes(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii", errors="strict"))
    usage.print_anything()
    print("± päncreas \udce9", flush=True)
    assert written.getvalue() == b"\\xb1 p\\xe4ncreas \\udce9\n"


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """A user without HOME and without an entry in the list of users."""
    for name in ("HOME", "XDG_CACHE_HOME", "QBM_JAX_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    user_cache._temporary.cache_clear()
    yield tmp_path
    user_cache._temporary.cache_clear()


def test_without_a_home_the_cache_is_a_private_temporary_folder_and_that_is_said(homeless, caplog):
    with pytest.raises(RuntimeError):
        Path.home()
    folder = cache_folder()
    assert folder.parent == homeless and folder.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == folder
    assert [r.getMessage() for r in caplog.records] == [
        f"this user has no home: the cache is {folder}; set XDG_CACHE_HOME to a folder that "
        "outlives this computer"
    ]


def test_a_temporary_folder_that_others_can_write_is_not_used(homeless):
    user_cache._temporary("x").chmod(0o777)
    user_cache._temporary.cache_clear()
    folder = cache_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder != homeless / f"qbm_jax-{os.getuid()}"


def test_without_a_home_xdg_cache_home_suffices(homeless, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(homeless / "xdg"))
    assert cache_folder() == homeless / "xdg" / "qbm_jax"
    assert not caplog.records


def test_with_a_home_the_cache_is_in_it(monkeypatch, tmp_path):
    for name in ("XDG_CACHE_HOME", "QBM_JAX_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "qbm_jax"


def test_a_workdir_whose_name_is_no_text_is_refused_before_anything_is_written(tmp_path):
    workdir = tmp_path / "p\udcc3\udca4"
    with pytest.raises(InputError, match="name that is text in this locale") as said:
        check_workdir(workdir, None)
    assert "\n" not in str(said.value) and str(said.value).isascii()
    assert not list(tmp_path.iterdir())


def test_a_path_in_a_home_that_is_not_there_is_refused_in_one_line(homeless):
    with pytest.raises(InputError, match=r"'~/cells\.h5ad', but no such home"):
        user_cache.expand_home("~/cells.h5ad")
