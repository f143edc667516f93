"""What the README shows runs as it stands there."""

import re
import shlex

import numpy as np
import pytest
from command_line import ROOT, TINY_FIT, launched, small_adata

import qbm_jax
from experiments.kit import launch, usage

TEXT = (ROOT / "README.md").read_text()
NOTEBOOK = TEXT.split("In a notebook")[1].split("\n## ")[0]
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"python run\.py[^\n`&|;]*", TEXT)
LINKS = re.findall(r"\]\((?!http|#)([^)#]+)\)", TEXT)


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
        exec(compile(BLOCKS[block], f"README.md block {block}", "exec"), names)
    if "fit(" in BLOCKS[block]:
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


@pytest.mark.parametrize("target", sorted(set(LINKS)))
def test_links_point_to_files_that_exist(target):
    assert (ROOT / target).exists()
