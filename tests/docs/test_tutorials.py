"""The tutorials run from top to bottom, and the cells that hold their sentences to the truth."""

from importlib.util import find_spec

import matplotlib
import pytest
from pages import DOCS, blocks, run_in_order

PAGES = sorted((DOCS / "tutorials").glob("*.md"))
HIDDEN = ":tags: [remove-cell]\n"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("myst_nb") is not None, reason="the build of the manual runs them")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs_and_its_sentences_hold(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    run_in_order(page, tmp_path, {"__name__": "__main__"})


@pytest.mark.slow
def test_the_sketch_is_shown_on_real_cells_too(shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("CELLS", str(shared_data("pancreas_baron_segerstolpe.h5ad")))
    monkeypatch.chdir(tmp_path)
    names = run_in_order(DOCS / "tutorials" / "sketch_and_train.md", tmp_path, {})
    assert names["adata"].n_obs == 3514 and not (tmp_path / "cells.h5ad").exists()
    sketch, rest = names["sketch"], names["rest"]
    assert (len(sketch), len(rest)) == (878, 2636)  # what the page says of these cells
    assert names["covered"](sketch) == pytest.approx(4.02, abs=0.02)
    assert names["covered"](names["random"]) == pytest.approx(4.44, abs=0.02)
    bound = float(names["model"].bound(names["adata"][rest].copy()).value)
    assert bound == pytest.approx(-2046, abs=6)
    assert names["right"] == pytest.approx(0.994, abs=0.004)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_binds_what_it_says_to_numbers(page):
    cells = [text for kind, text, _ in blocks(page) if kind == "{code-cell}"]
    assert sum(text.lstrip().startswith("assert ") for text in cells) >= 2
    assert HIDDEN in page.read_text()
