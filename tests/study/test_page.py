"""The page of a report: self-contained, with anchors, tables and figures, and read by a browser.

Guards qbm_jax.study.page.
"""

import base64
import html.parser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hostile import HOSTILE
from matplotlib.figure import Figure

from qbm_jax.study.document import Document, table
from qbm_jax.study.escape import markdown

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
REAL = Path(os.environ.get("QBM_JAX_SMOKES", "nowhere")) / "pancreas" / "report.html"
OUTSIDE = {"src", "href", "srcset", "poster", "data", "action", "background", "xlink:href"}

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no browser: apt-get install chromium")


class Reader(html.parser.HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br", "hr", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def draw():
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    return figure


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    report = Document(folder, "Title & <b>")
    report.add("## Scores", table(["name", "value"], [["a | b", "1.5"], ["**c**", "2"]]))
    report.add("## Scores", "```\nrun.py --x\n```")
    report.figure("one two.png", draw, "A caption")
    report.figure("three.png", draw, "Another")
    report.notes(HOSTILE)
    report.write()
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_nothing_is_fetched_from_elsewhere(page):
    found = Reader(page)
    for tag, attrs in found.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed"}
        for name in OUTSIDE & set(attrs):
            assert re.match(r"data:image/png;base64,|#", attrs[name]), attrs[name]
        assert not any(name.startswith("on") for name in attrs)
    assert "url(" not in page and "@import" not in page
    assert any("default-src 'none'" in meta.get("content", "") for meta in found.all("meta"))


def test_every_figure_is_in_the_page_with_its_bytes_and_caption(page, folder):
    images = Reader(page).all("img")
    assert [image["alt"] for image in images] == ["A caption", "Another"]
    for image, name in zip(images, ("one two.png", "three.png"), strict=True):
        content = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        assert content == (folder / "figures" / name).read_bytes()


def test_every_heading_has_one_anchor_and_the_contents_lead_to_it(page):
    found = Reader(page)
    anchors = [attrs["id"] for level in ("h1", "h2", "h3") for attrs in found.all(level)]
    assert len(anchors) == len(set(anchors)) == 4
    assert [link["href"] for link in found.all("a")] == [f"#{each}" for each in anchors[1:]]
    assert found.all("html") == [{"lang": "en"}] and "Title & <b>" in found.words


def test_tables_and_names_are_shown_as_they_are(page):
    found = Reader(page)
    assert len(found.all("table")) == 1 and len(found.all("td")) == 4
    assert {"a | b", "**c**", "run.py --x\n"} <= set(found.words)
    styles = [cell.get("style") for cell in found.all("td")]
    assert styles == [None, "text-align:right"] * 2
    assert len(found.all("li")) == 3 + len({markdown(name) for name in HOSTILE})


def test_a_missing_figure_is_an_error_that_names_it(tmp_path):
    report = Document(tmp_path, "T")
    report.add("![x](figures/lost.png)")
    with pytest.raises(OSError, match=r"lost\.png"):
        report.write()


def opened(page, tmp_path):
    """What a browser makes of a page without the files beside it: its DOM and a picture."""
    shutil.copy(page, tmp_path / "alone.html")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'own'}"]
    said = subprocess.run(
        [BROWSER, *options, "--enable-logging=stderr", "--window-size=900,1400",
         f"--screenshot={tmp_path / 'shot.png'}", str(tmp_path / "alone.html")],
        capture_output=True, text=True, timeout=120, check=True,
    ).stderr  # fmt: skip
    assert "CONSOLE" not in said, said  # what the page was refused, or a script that failed
    dumped = subprocess.run(
        [BROWSER, *options, "--dump-dom", str(tmp_path / "alone.html")],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    from PIL import Image

    with Image.open(tmp_path / "shot.png") as shot:
        return dumped, shot.convert("RGB")


@needs_browser
def test_a_browser_shows_the_figures_and_reports_no_fault(folder, tmp_path):
    dumped, shot = opened(folder / "report.html", tmp_path)
    assert dumped.count("<img ") == 2 and dumped.count("<table>") == 1
    colours = dict((colour, count) for count, colour in shot.getcolors(2**24))
    assert colours[31, 119, 180] > 100, "the curves of the figures are in the picture"


@needs_browser
@pytest.mark.skipif(not REAL.is_file(), reason="QBM_JAX_SMOKES names no finished pancreas run")
def test_a_browser_shows_the_report_of_a_real_run(tmp_path):
    dumped, shot = opened(REAL, tmp_path)
    drawn = list((REAL.parent / "figures").glob("*.png"))
    assert dumped.count("<img ") == len(drawn) > 5
    written = Reader(REAL.read_text(encoding="utf-8"))
    shown = Reader(dumped)
    for tag in ("table", "td", "h2", "img"):
        assert shown.all(tag) == written.all(tag), tag
    assert len(shot.getcolors(2**24)) > 20, "the window is not empty"
