"""Names are data: whatever they say, reports, figures, tables and scripts show it as text."""

import csv
import re
import shlex
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import QUICK, config, run, small_adata
from matplotlib.figure import Figure
from test_report import change_scores, fabricate

from experiments.sweep import slurm
from qbm_jax import report
from qbm_jax.errors import InputError, one_line
from qbm_jax.report.verdict import verdict
from qbm_jax.study import escape, figures
from qbm_jax.study.document import table
from qbm_jax.study.rows import write_table

HOSTILE = [
    "<script>alert(1)</script>", "![x](http://e.vil/p.png)", "<img src=x onerror=y>", "# heading",
    "a | b", "a\n\n# b\n\n| x | y |\n| - | - |\n| 1 | 2 |", "```\nend", "`code`", "\\|", "x\\",
    "**b**",
    "_name_", "$\\frac{1$", "cost $5 and $6", "- item", "1. item", "===", "&lt;b&gt;", "[l](u)",
    "=1+1", "\u202egnp.exe", "\x00\x1b[31m", "\udce9t\udcc3\udca9", "name" * 80, "שלום", "~~x~~",
]  # fmt: skip
TYPES = ["$\\frac{1$ | <script>x</script>", "_b\n\n# heading\n\n| a | b |\n| - | - |"]
BATCHES = ["=cmd|'/C calc'!A0", "![x](http://e.vil/p.png)"]


def tokens(text):
    """The parsed report: every block and inline token, images' alt text apart."""
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for block in parser.parse(text):
        yield block
        yield from block.children or ()


def shown(text):
    """What a reader of one paragraph sees, and whether anything but text is in it."""
    found = list(tokens(text))
    kinds = {token.type for token in found} - {"paragraph_open", "paragraph_close", "inline"}
    content = "".join(t.content for t in found if t.type in ("text", "text_special"))
    return content, kinds <= {"text", "text_special"}


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


def test_slurm_takes_the_workdir_as_it_is_called(tmp_path):
    workdir = tmp_path / '100% of %A\'s "runs" #1 $(touch x)'
    workdir.mkdir()
    text = slurm.write_script(workdir, ["run.py", "--sweep", "--sweep_slurm"], 2).read_text("utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("#SBATCH --output=")]
    value = re.sub(r"\\(.)", r"\1", line.removeprefix("#SBATCH --output="))
    *folder, name = value.replace("%%", "%").split("/")
    assert ("/".join(folder), name) == (str(workdir), "slurm-%A_%a.out")
    assert not re.search(r"(?<!\\)[\s#'\"$]", line.removeprefix("#SBATCH --output="))
    assert f"--array=0-1 {shlex.quote(str(workdir / slurm.NAME))})" in text


@pytest.mark.parametrize("name", ["a\nrm -rf x", "a\rb", "a\\b", "a\x1bb"])
def test_a_workdir_that_slurm_cannot_name_is_refused_and_nothing_is_written(name, tmp_path):
    workdir = tmp_path / name
    workdir.mkdir()
    with pytest.raises(InputError, match="workdir without line breaks") as said:
        slurm.write_script(workdir, ["run.py"], 2)
    assert "\n" not in str(said.value)
    assert not list(workdir.iterdir())


@pytest.mark.parametrize(
    ("gaussian", "expected"),
    [
        (-90.0, "; the best bound of the run is that of Gaussian VAE, 10.00 nats per cell better"),
        (-101.0, "beats the Bernoulli one by 2.00 nats per cell**"),
    ],
)
def test_the_verdict_names_what_goes_against_the_prior_in_the_same_breath(gaussian, expected):
    elbos = {"boltzmann": -100.0, "bernoulli": -102.0, "gaussian": gaussian}
    names = {"boltzmann": "qbmvae", "bernoulli": "bernoulli_vae", "gaussian": "gaussian_vae"}
    said = verdict({names[prior]: {"prior": prior, "elbo": e} for prior, e in elbos.items()})
    bold = said.split("**")[1] + "**"
    assert expected in bold
    assert "beats the Bernoulli one by 2.00 nats per cell" in bold


def test_energies_that_hardly_differ_are_not_called_typical():
    from qbm_jax.report.markdown import _energy_sentence

    labels = np.repeat(["a|b", "c"], 5)
    told = {
        gap: _energy_sentence(SimpleNamespace(labels=labels, energy=np.repeat([0.0, gap], 5)))[0]
        for gap in (0.03, 2.0)
    }
    assert "hardly tells the types apart: their medians lie within 0.03 kT" in told[0.03]
    assert "typical states" not in told[0.03]
    assert r"a\|b cells are in the most typical states" in told[2.0]


def test_a_caption_over_simulated_cells_says_so_and_of_which_sets():
    assert figures.marked("Scores.", True) == "SIMULATED CELLS. Scores."
    assert figures.marked("Scores.", "a", "b") == "SIMULATED CELLS: a, b. Scores."
    assert figures.marked("Scores.", False) == figures.marked("Scores.") == "Scores."


def check_report(workdir):
    """The report has no markup but ours, its tables are whole, and its pictures are there."""
    text = (workdir / "report.md").read_text(encoding="utf-8")
    found = list(tokens(text))
    kinds = {token.type for token in found}
    assert not {"html_inline", "html_block", "link_open"} & kinds
    images = [token.attrs["src"] for token in found if token.type == "image"]
    assert {"figures/energy.png", "figures/umap.png"} <= set(images)
    assert all((workdir / source).is_file() for source in images)
    headings = [b.content for a, b in pairwise(found) if a.type == "heading_open"]
    assert len(headings) == len(re.findall(r"^#+ ", text, re.MULTILINE))
    assert "heading" not in headings
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == sum(token.type == "table_open" for token in found) > 3
    for lines in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines.splitlines()}
        assert len(widths) == 1, lines
    assert len([t for t in found if t.type == "fence"]) == 1


def test_the_report_of_hostile_names_has_none_of_their_markup(tmp_path, monkeypatch):
    monkeypatch.setattr("test_report.TYPES", np.array(TYPES))
    monkeypatch.setattr("test_report.BATCHES", np.array(BATCHES))
    fabricate(tmp_path)

    def change(scores):
        scores["data"]["source"] = HOSTILE[5]
        scores["notes"] = [*HOSTILE]
        scores["command"] = "run '\n```\n<script>x</script>\n````'"
        scores["settings"] = {"a`|b": "x | <img>\n# y"}

    change_scores(tmp_path, change)
    report.write(tmp_path)
    check_report(tmp_path)


@pytest.mark.slow
def test_a_whole_run_over_hostile_names_ends_in_a_report_without_their_markup(tmp_path):
    cells = small_adata(120, 20)
    cells.obs["<b>|type"] = cells.obs["kind"].map(dict(zip(("alpha", "beta"), TYPES, strict=True)))
    cells.obs["# batch"] = cells.obs["batch"].map(dict(zip(("b1", "b2"), BATCHES, strict=True)))
    cells.obs = cells.obs.drop(columns=["kind", "batch"])
    cells.var_names = [f"=g{i}|<script>$" for i in range(20)]
    path = tmp_path / "<img src=x> $a$ | `#.h5ad"
    cells.write_h5ad(path)
    data = {"path": str(path), "batch_column": "# batch", "label_column": "<b>|type"}
    run(config(**QUICK, **{f"data.{k}": v for k, v in data.items()}), tmp_path / "run")
    check_report(tmp_path / "run")
