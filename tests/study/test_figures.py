"""What is common to all figures: colours, panels, intervals, curves and heat maps."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from qbm_jax.study.estimates import estimate
from qbm_jax.study.figures import (
    BETTER,
    EVEN,
    WORSE,
    NotDrawn,
    batch_colours,
    colours_of,
    draw_boxes,
    draw_curve,
    draw_differences,
    draw_heat_map,
    each,
    legend,
    new_figure,
    panels,
)


@pytest.fixture
def axes():
    return Figure().subplots()


def test_every_name_has_a_colour_of_its_own_and_types_are_not_batches():
    for count in (1, 14, 40):
        names = [f"n{i}" for i in range(count)]
        assert len(set(colours_of(names).values())) == count
    assert colours_of("ba") == colours_of("ab")
    assert colours_of("a") != batch_colours("a")


def test_a_notebook_shows_a_figure_before_anything_was_drawn_by_pyplot():
    formatters = pytest.importorskip("IPython.core.formatters", reason="no notebook is installed")
    data, _ = formatters.DisplayFormatter().format(new_figure("Title", 2, 1))
    assert data["image/png"].startswith(b"\x89PNG")


def test_panels_fill_the_page_and_no_more():
    figure, found = panels(5, 4.0, 2.0, "Title $x", simulated=True)
    assert len(found) == len(figure.axes) == 5
    assert tuple(figure.get_size_inches()) == (12.0, 4.0)
    assert figure.get_suptitle() == "SIMULATED CELLS. Title \\$x"
    assert tuple(panels(4, 1.0, 1.0, columns=2)[0].get_size_inches()) == (2.0, 2.0)
    assert panels(1, 1.0, 1.0)[0].get_suptitle() == ""


def test_a_figure_without_an_item_is_not_drawn():
    drawn = []
    each({"a": 1, "b": 2}, 1.0, 1.0, lambda _, name, item: drawn.append((name, item)))
    assert drawn == [("a", 1), ("b", 2)]
    with pytest.raises(NotDrawn, match="nothing of this kind"):
        each({}, 1.0, 1.0, print)


@pytest.mark.parametrize(("sign", "first", "last"), [(1, BETTER, WORSE), (-1, WORSE, BETTER)])
def test_differences_are_coloured_by_what_they_show(axes, sign, first, last):
    found = [estimate([1.9, 2.0, 2.1]), estimate([-1.0, 2.0]), None, estimate([-2.1, -2.0, -1.9])]
    draw_differences(axes, found, ["a", "b", "c", "d"], sign)
    lines = [line for line in axes.lines if line.get_marker() == "o"]
    assert [(line.get_ydata()[0], line.get_color()) for line in lines] == [
        (0, last), (2, EVEN), (3, first),
    ]  # fmt: skip
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["d", "c", "b", "a"]


def test_a_curve_has_bars_of_one_error_or_a_band_of_one_deviation(axes):
    found = {2: estimate([0.0, 2.0]), 1: estimate([5.0])}
    draw_curve(axes, found, "k", "label")
    ((line, _, (bars,)),) = axes.containers
    assert line.get_xydata().tolist() == [[1, 5], [2, 1]]
    assert np.diff([s[:, 1] for s in bars.get_segments()]).ravel().tolist() == [0, 2]
    draw_curve(axes, found, "k", "label", band=True)
    heights = axes.collections[-1].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((1 - math.sqrt(2), 5))


def test_a_heat_map_says_its_texts_in_white_on_dark(axes):
    shades = np.array([[0.1, 0.9]])
    draw_heat_map(axes, shades, [["low", "high"]], ["row"], ["a", "b"], 0.5)
    assert [(t.get_text(), t.get_color()) for t in axes.texts] == [
        ("low", "black"),
        ("high", "white"),
    ]
    legend(axes)
    assert axes.get_legend() is None


def test_boxes_are_ordered_by_their_medians(axes):
    draw_boxes(axes, {"high": np.array([3.0, 4.0]), "low": np.array([1.0, 2.0])})
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["low", "high"]
