"""A report of files that no run wrote so: one line each, and no traceback.

Guards qbm_jax.report.__main__.
"""

import copy
import functools
import json
import runpy
import sys

import pytest
from fabricated_run import change_scores, fabricate
from full_disk import FullDisk
from refusals import refusal

from qbm_jax import report
from qbm_jax.report import run_outputs


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


OTHERS = ({}, 3, [], True, "text", None)


def test_whatever_else_stands_in_the_scores_is_refused_in_one_line(written):
    scores, folder = written
    for path in filter(None, places(scores)):
        changed = copy.deepcopy(scores)
        node = functools.reduce(lambda each, key: each[key], path[:-1], changed)
        for other in OTHERS:
            if other != node[path[-1]]:
                own, node[path[-1]] = node[path[-1]], other
                (folder / "scores.json").write_text(json.dumps(changed))
                assert "scores.json is damaged" in refusal(run_outputs.read, folder)
                node[path[-1]] = own
    for other in OTHERS:
        (folder / "scores.json").write_text(json.dumps(other))
        assert "scores.json" in refusal(run_outputs.read, folder)


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
    assert name in line and ("UTF-8" in line or "is damaged" in line)


def test_another_log_or_other_cells_are_refused(workdir):
    for name in ("metrics.jsonl", "embedding.h5ad"):
        own = (workdir / name).read_bytes()
        (workdir / name).write_bytes(own + b"\n")
        assert f"{name} is damaged or was edited" in refusal(report.write, workdir)
        (workdir / name).write_bytes(own)
    (workdir / "metrics.jsonl").write_text("3\n")
    change_scores(workdir, lambda scores: None)
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
