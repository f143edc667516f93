"""A report of files that no run wrote so: one line each, and no traceback.

Guards qbm_jax.report.__main__.
"""

import contextlib
import copy
import json
import runpy
import sys

import numpy as np
import pytest
from fabricated_run import fabricate
from full_disk import FullDisk
from refusals import refusal

from qbm_jax import report
from qbm_jax.errors import InputError
from qbm_jax.report import markdown, model_figures, run_outputs, score_figure
from qbm_jax.study.figures import NotDrawn


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Scores of a fabricated run, and its folder."""
    workdir = fabricate(tmp_path_factory.mktemp("run"))
    return json.loads((workdir / "scores.json").read_text()), workdir


@pytest.fixture
def workdir(tmp_path):
    return fabricate(tmp_path, num_cells=20, num_latents=4)


def places(tree, path=()):
    """Every place in a tree of dicts and lists; of a list the first."""
    yield path
    items = tree.items() if isinstance(tree, dict) else ()
    items = enumerate(tree[:1]) if isinstance(tree, list) else items
    for key, value in items:
        yield from places(value, (*path, key))


OTHERS = ({}, 3, [], True, "text", [{}], -1.5, {"a": "b"}, None, {"X_pca": {}})
FIGURES = (score_figure.draw, model_figures.draw_sampler)


@pytest.mark.parametrize(
    ("figures", "others"),
    [
        ((), OTHERS[::4]),
        pytest.param((), OTHERS, marks=pytest.mark.slow),
        pytest.param(FIGURES, OTHERS[::4], marks=pytest.mark.slow),  # a figure takes its time
    ],
)
def test_whatever_json_stands_in_the_scores_gives_a_report_or_one_line(
    figures, others, written, monkeypatch
):
    scores, folder = written
    (folder / "scores.json").write_text(json.dumps(scores))  # not what the last case left
    cells = run_outputs.read(folder).cells
    monkeypatch.setattr(run_outputs, "_read_cells", lambda path: cells)
    monkeypatch.setattr("qbm_jax.report.figures.FIGURES", {})
    refused = 0
    for path in list(places(scores)):
        for other in others:
            changed = copy.deepcopy(scores)
            if path:
                node = changed
                for key in path[:-1]:
                    node = node[key]
                node[path[-1]] = other
            (folder / "scores.json").write_text(json.dumps(changed if path else other))
            try:
                outputs = run_outputs.read(folder)
            except InputError as error:
                assert "scores.json" in str(error) and "\n" not in str(error)
                refused += 1
            else:
                assert markdown.compose(folder, outputs).text
                for draw in figures:
                    with contextlib.suppress(NotDrawn):
                        draw(outputs)
    assert refused > 60 * len(others)


@pytest.mark.parametrize(
    "text", ["NaN", "[" * 100_000, '{"data": {}, "embeddings": {"a": {"b": 1e999}}}']
)
def test_json_that_no_run_writes_is_refused(text, workdir):
    (workdir / "scores.json").write_text(text)
    assert "scores.json" in refusal(report.write, workdir)


@pytest.mark.parametrize("name", ["config.json", "scores.json", "metrics.jsonl"])
def test_text_that_is_not_utf_8_is_refused(name, workdir):
    (workdir / name).write_bytes(b'{"model": "\xff\xfe"}\n')
    line = refusal(report.write, workdir)
    assert "UTF-8" in line and name in line


@pytest.mark.parametrize("row", ["3", "{}", '{"model": 3}', '{"model": "a", "epoch": "x"}'])
def test_a_row_of_another_kind_is_refused(row, workdir):
    (workdir / "metrics.jsonl").write_text(row + "\n")
    assert "metrics.jsonl" in refusal(report.write, workdir)


@pytest.mark.parametrize("name", ["figures", "figures/scores.png", "report.md"])
def test_something_else_in_the_place_of_an_output_is_named_and_left(name, workdir):
    path = workdir / name
    if name == "figures":
        path.write_text("mine")
    else:
        path.mkdir(parents=True)
        (path / "mine").write_text("mine")
    assert str(path) in refusal(report.write, workdir)
    assert (path if name == "figures" else path / "mine").read_text() == "mine"


def spoil_couplings(cells):
    cells.uns["qbm_jax"]["J"] = np.zeros((2, 3))


def spoil_layout(cells):
    cells.obsm["X_umap"] = cells.obsm["X_umap"][:, :1]


def spoil_energy(cells):
    cells.obs["qbm_energy"] = "low"


@pytest.mark.parametrize("spoil", [spoil_couplings, spoil_layout, spoil_energy])
def test_tables_of_another_kind_are_refused(spoil, workdir):
    cells = run_outputs.read(workdir).cells
    spoil(cells)
    cells.write_h5ad(workdir / "embedding.h5ad")
    assert "embedding.h5ad" in refusal(report.write, workdir)


def test_the_command_ends_with_one_line_and_exit_code_2(workdir, monkeypatch, capsys):
    (workdir / "figures").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["qbm_jax.report", str(workdir)])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("qbm_jax.report", run_name="__main__")
    assert end.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1
    (workdir / "figures").unlink()
    with FullDisk(0), pytest.raises(SystemExit) as end:
        runpy.run_module("qbm_jax.report", run_name="__main__")
    assert end.value.code == 2
    line = capsys.readouterr().err
    assert line.endswith("the report is as it was\n") and line.count("\n") == 1
