"""Reports: parts in order, simulated cells named, and figures that are not drawn."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from qbm_jax.study.document import Document, gap_text, number, with_interval, with_spread
from qbm_jax.study.estimates import estimate
from qbm_jax.study.figures import NotDrawn


def refuse():
    raise NotDrawn("no | data")


def test_a_report_has_its_parts_in_order_and_figures_beside_it(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "two.png").write_text("of an earlier report")
    report = Document(tmp_path, "Title | x", ["a"])
    report.add("first", "", "second")
    report.figure("one.png", lambda: Figure(figsize=(1, 1)), "Caption")
    report.figure("two.png", refuse, "Caption")
    report.figure("three.png", lambda: Figure(figsize=(1, 1)), "Of another set", [False])
    report.notes(["n", "n", "m"])
    assert report.write().read_text() == (
        "# Title \\| x\n\n**SIMULATED CELLS: a. These are no measurements of a tissue.**\n\n"
        "first\n\nsecond\n\n"
        "![SIMULATED CELLS: a. Caption](figures/one.png)\n\n*SIMULATED CELLS: a. Caption*\n\n"
        "_No figure two: no \\| data._\n\n"
        "![Of another set](figures/three.png)\n\n*Of another set*\n\n"
        "## Notes\n\n* n\n* m\n"
    )
    assert imread(tmp_path / "figures" / "one.png").size
    assert not (tmp_path / "figures" / "two.png").exists()


def test_cells_that_were_measured_are_called_nothing(tmp_path):
    assert Document(tmp_path, "T", False).text == Document(tmp_path, "T").text == "# T\n"
    assert "SIMULATED" in Document(tmp_path, "T", True).text


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (with_spread(1.23456, 0.5, 2), "1.23 ± 0.50"),
        (with_spread(1.0, math.nan, 1), "1.0"),
        (with_spread(1.0, None, 1), "1.0"),
        (with_spread(None, 1.0, 1), "–"),
        (with_interval(1.0, -0.5, 2.5, 1), "+1.0 (-0.5, +2.5)"),
        (with_interval(-1.0, -1.5, -0.5, 1), "**-1.0 (-1.5, -0.5)**"),
        (with_interval(np.nan, np.nan, np.nan, 1), "–"),
        (with_interval(-4.5, np.nan, np.nan, 1), "-4.5 (no interval)"),
        (gap_text(estimate([1.0, 1.0]), 2), "**+1.00 (+1.00, +1.00)**"),
        (gap_text(estimate([1.0, 1.0]), 1, 3, "b|c"), "**+1.0 (+1.0, +1.0)** b|c (n = 2)"),
        (gap_text(estimate([-1.0, 1.0]), 0, 2), "+0 (-13, +13)"),
        (gap_text(estimate([1.0]), 0, 2), "+1 (no interval) (n = 1)"),
        (gap_text(estimate([]), 0, 2), "–"),
        (number(1234.5678), "1230"),
        (number(0.00012345), "0.000123"),
        (number(None), "–"),
        (number(math.inf), "∞"),
        (with_spread(-math.inf, math.nan, 2), "−∞"),
        (with_interval(math.inf, math.nan, math.nan, 1), "∞"),
    ],
)
def test_numbers_as_reports_print_them(made, text):
    assert made.replace("\\", "") == text
