"""What the README and the pages of docs/ show runs as it stands there."""

import re
import shlex

import numpy as np
import pytest
from command_line import ROOT, TINY_FIT, example_adata, launched

import qbm_jax
from experiments.kit import launch, usage
from qbm_jax.model.options import ModelOptions

TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = {path: path.read_text() for path in (*TOP, *sorted((ROOT / "docs").rglob("*.md")))}
README = PAGES[ROOT / "README.md"]
NOTEBOOK = README.split("In a notebook")[1].split("\n## ")[0]
BLOCKS = [  # those of tutorials, and of pages that add something, are run in tests/docs
    block
    for path, text in PAGES.items()
    if path.parent in (ROOT, ROOT / "docs")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
]
COMMANDS = [
    command for text in PAGES.values() for command in re.findall(r"python run\.py[^\n`&|;]*", text)
]
LINKS = {  # (file, anchor or "")
    ((path.parent / target if target else path).resolve().relative_to(ROOT), anchor)
    for path, text in PAGES.items()
    for target, anchor in re.findall(r"\]\((?!http)([^)#\s]*)#?([^)\s]*)\)", text)
    if target or anchor
}
SHAPE = re.compile(r"^(\w+)(?:, \w+)* = .*  # [^\[\n]*\[([\w, ]+)\](.*)$", re.MULTILINE)
OUTPUT = re.compile(r"\)  # (None)\b")
# What a command may name although it is no file: a reader has just written it.
WRITTEN_BY_READERS = "configs/small_islets.py"


def test_the_readme_fits_three_screens():
    assert len(README.splitlines()) <= 100
    figures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert len(figures) == 1 and (ROOT / figures[0]).stat().st_size < 150_000


def test_the_readme_has_a_notebook_example_and_commands():
    assert "```python" in NOTEBOOK
    assert "qbm_jax.fit(" in NOTEBOOK
    assert any("--config.data.path" in command for command in COMMANDS)
    assert any("--config=configs/pancreas.py" in command for command in COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_python_blocks_run(block, tmp_path, monkeypatch, capsys):
    """A block may use `adata` and `other_adata`: raw counts, with `batch` in obs."""
    monkeypatch.chdir(tmp_path)
    fit = qbm_jax.fit
    monkeypatch.setattr(
        qbm_jax, "fit", lambda adata, **options: fit(adata, **(options | TINY_FIT)), raising=False
    )
    names = {"adata": example_adata(), "other_adata": example_adata(seed=1)}
    with launched():
        exec(compile(BLOCKS[block], f"block {block}", "exec"), names)
    if re.search(r"qbm_jax\.fit\(\s*adata", BLOCKS[block]):
        assert np.isfinite(names["adata"].obsm["X_qbmvae"]).all()
        assert names["embedding"].shape == names["adata"].obsm["X_qbmvae"].shape
    check_comments(BLOCKS[block], names, capsys.readouterr().out)


def check_comments(block, names, printed):
    """What comments of a block say of shapes, spins and output holds."""
    cells, genes = names["adata"].shape
    sizes = {"cells": cells, "genes": genes}
    sizes[str(ModelOptions().num_latents)] = TINY_FIT["num_latents"]  # which are not the default
    for name, shape, rest in SHAPE.findall(block):
        assert names[name].shape == tuple(int(sizes.get(n, n)) for n in shape.split(", ")), name
        assert "-1 and +1" not in rest or set(np.unique(names[name])) == {-1, 1}
    if outputs := OUTPUT.findall(block):
        assert printed.splitlines() == outputs


def test_comments_that_promise_a_value_are_found():
    found = [name for block in BLOCKS for name, *_ in SHAPE.findall(block)]
    assert sorted(found) == ["corrected", "embedding", "spins"]
    assert [each for block in BLOCKS for each in OUTPUT.findall(block)] == ["None"]


@pytest.mark.parametrize(
    "command", sorted(each for each in set(COMMANDS) if WRITTEN_BY_READERS not in each)
)
def test_commands_parse(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = shlex.split(command)[1:]
    if arguments[1:] in ([], ["--help"]):
        with pytest.raises(SystemExit) as exit_:
            usage.answer(arguments)
        assert exit_.value.code == 0
    else:
        launch.check_arguments(arguments)


def anchors(text):
    """The names that a forge gives to the headings of a page."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(("target", "anchor"), sorted(LINKS, key=str), ids=str)
def test_links_point_to_files_and_headings_that_exist(target, anchor):
    assert (ROOT / target).exists()
    assert not anchor or anchor in anchors((ROOT / target).read_text())


def test_the_table_of_contents_has_every_page():
    docs = ROOT / "docs"
    text = (docs / "index.md").read_text()
    listed = set(re.findall(r"^[\w/]+$", text, re.MULTILINE)) - {"reference/index"}
    pages = {str(path.relative_to(docs).with_suffix("")) for path in docs.rglob("*.md")}
    assert listed <= pages
    assert {each for each in pages - listed if "/" in each} == set()
    assert re.search(r"^:glob:$", text, re.MULTILINE) and "\n*\n" in text  # the rest of the guide


def test_the_citation_names_this_version_and_nobody_who_is_not_known():
    text = (ROOT / "CITATION.cff").read_text()
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert f"\nversion: {version[1]}\n" in text and "\ncff-version: 1.2.0\n" in f"\n{text}"
    assert "given-names" not in text and "  - name: qbm_jax developers\n" in text
