"""What the README and the pages of docs/ show runs as it stands there."""

import re
import shlex

import numpy as np
import pytest
from command_line import ROOT, TINY_FIT, launched, small_adata

import qbm_jax
from experiments.kit import launch, usage

PAGES = {path: path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
NOTEBOOK = PAGES[ROOT / "README.md"].split("In a notebook")[1].split("\n## ")[0]
BLOCKS = [
    block
    for text in PAGES.values()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
]
COMMANDS = [
    command for text in PAGES.values() for command in re.findall(r"python run\.py[^\n`&|;]*", text)
]
LINKS = {
    (path.parent / target).relative_to(ROOT)
    for path, text in PAGES.items()
    for target in re.findall(r"\]\((?!http|#)([^)#]+)\)", text)
}


def test_the_readme_fits_three_screens():
    assert len(PAGES[ROOT / "README.md"].splitlines()) <= 120


def test_the_readme_has_a_notebook_example_and_commands():
    assert "```python" in NOTEBOOK
    assert "qbm_jax.fit(" in NOTEBOOK
    assert any("--config.data.path" in command for command in COMMANDS)
    assert any("--config=configs/pancreas.py" in command for command in COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_python_blocks_run(block, tmp_path, monkeypatch):
    """A block may use `adata` and `other_adata`: raw counts, with `batch` in obs."""
    monkeypatch.chdir(tmp_path)
    fit = qbm_jax.fit
    monkeypatch.setattr(
        qbm_jax, "fit", lambda adata, **options: fit(adata, **(options | TINY_FIT)), raising=False
    )
    names = {"adata": small_adata(), "other_adata": small_adata(seed=1)}
    with launched():
        exec(compile(BLOCKS[block], f"block {block}", "exec"), names)
    if "qbm_jax.fit(" in BLOCKS[block]:
        assert np.isfinite(names["adata"].obsm["X_qbmvae"]).all()
        assert names["embedding"].shape == names["adata"].obsm["X_qbmvae"].shape


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_commands_parse(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = shlex.split(command)[1:]
    if arguments[1:] in ([], ["--help"]):
        with pytest.raises(SystemExit) as exit_:
            usage.answer(arguments)
        assert exit_.value.code == 0
    else:
        launch.check_arguments(arguments)


@pytest.mark.parametrize("target", sorted(LINKS, key=str), ids=str)
def test_links_point_to_files_that_exist(target):
    assert (ROOT / target).exists()
