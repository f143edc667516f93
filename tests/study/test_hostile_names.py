"""Names are data: whatever they say, paragraphs, tables, figures and files show it as text."""

import csv
import re

import numpy as np
import pytest
from hostile import HOSTILE, shown, tokens
from matplotlib.figure import Figure

from qbm_jax.errors import one_line
from qbm_jax.study import escape, figures
from qbm_jax.study.document import table
from qbm_jax.study.rows import write_table


@pytest.mark.parametrize("name", HOSTILE)
def test_a_paragraph_shows_a_name_as_it_is_and_nothing_of_it_is_markup(name):
    assert shown(escape.markdown(name)) == (one_line(name), True)
    assert escape.markdown(escape.markdown(name)) == escape.markdown(name)


def test_a_table_of_hostile_names_has_its_rows_and_columns_and_no_markup():
    rows = [[name, escape.bold(name), escape.code(name)] for name in HOSTILE]
    found = list(tokens(table(["a | b", "# c", "d"], rows)))
    kinds = [token.type for token in found]
    assert kinds.count("tr_open") == len(HOSTILE) + 1
    assert kinds.count("td_open") == 3 * len(HOSTILE)
    assert not {"html_inline", "html_block", "image", "link_open", "heading_open"} & set(kinds)


def test_a_list_holds_one_remark_a_line_and_no_other_block():
    kinds = [token.type for token in tokens(escape.bullets(HOSTILE))]
    assert kinds.count("list_item_open") == len(HOSTILE)
    assert not {"html_inline", "html_block", "image", "heading_open", "fence"} & set(kinds)


@pytest.mark.parametrize("inside", ["```\n# out\n```", "~~~", "`````", "a\nb\x00"])
def test_a_fence_is_not_closed_by_what_is_in_it(inside):
    (block,) = tokens(escape.fence(inside))
    assert block.type == "fence"
    assert block.content == inside.replace("\x00", "\\u0000") + "\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_figure_draws_every_name_and_its_legend_has_it(name):
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.plot([0, 1], label=escape.figure_text(name, 30))
    axes.set_xticks([0], [escape.figure_text(name, 30)])
    figures.tidy(axes, title=escape.figure_text(name, 30))
    legend = axes.legend()
    figure.draw_without_rendering()
    assert len(legend.get_texts()) == 1
    assert len(escape.figure_text(name, 30).replace("\\$", "$").strip()) <= 30


def test_different_names_have_different_file_names_of_plain_letters():
    names = [*HOSTILE, "a/b", "a_b", "a b", "../a"]
    files = [escape.file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all(re.fullmatch(r"[\w.~%-]+", file, re.ASCII) for file in files)


def test_text_in_a_csv_is_no_formula_and_numbers_stay_numbers(tmp_path):
    text = ["=1+1", "+x", "-x", "@sum", "\tx", "\rx", "plain", "-1", "\udce9"]
    write_table(tmp_path / "t.csv", ["=h", "n"], [(name, -1.5) for name in text] + [(None, np.nan)])
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    guarded = ["'=1+1", "'+x", "'-x", "'@sum", "'\tx", "'\rx", "plain", "-1", "\\udce9"]
    assert rows == [["'=h", "n"], *([name, "-1.5"] for name in guarded), ["", ""]]


def test_a_caption_over_simulated_cells_says_so_and_of_which_sets():
    assert figures.marked("Scores.", True) == "SIMULATED CELLS. Scores."
    assert figures.marked("Scores.", "a", "b") == "SIMULATED CELLS: a, b. Scores."
    assert figures.marked("Scores.", False) == figures.marked("Scores.") == "Scores."
