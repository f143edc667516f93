"""Cells on a layout: each point has the colour of its group, or of its number on a sound scale."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from qbm_jax.study.cell_figures import LEGEND_ROWS, draw_points, draw_type_graph, draw_types

POINTS = np.random.default_rng(0).normal(size=(200, 2))


@pytest.fixture
def axes():
    return Figure().subplots()


def test_every_point_has_the_colour_of_its_group(axes):
    types = np.array(["a", "b"])[np.arange(200) % 2]
    drawn = draw_points(axes, POINTS, types, {"a": "#ff0000", "b": "#0000ff"})
    np.testing.assert_array_equal(drawn.get_offsets(), POINTS)
    colours = drawn.get_facecolors()
    np.testing.assert_array_equal(colours[::2], [to_rgba("#ff0000")] * 100)
    np.testing.assert_array_equal(colours[1::2], [to_rgba("#0000ff")] * 100)


def test_a_few_extreme_cells_do_not_take_the_scale(axes):
    values = np.linspace(0, 1, 200)
    values[[5, 6]] = -1e3, 1e3
    drawn = draw_points(axes, POINTS, values, None)
    np.testing.assert_array_equal(drawn.get_array(), values)
    low, high = drawn.get_clim()
    assert 0 < low < 0.03 and 0.97 < high < 1
    same = draw_points(axes, POINTS, np.ones(200), None)
    assert same.get_clim()[0] == 1 < same.get_clim()[1]


def test_a_legend_has_as_many_columns_as_its_names_need(axes):
    for number, columns in ((LEGEND_ROWS, 1), (LEGEND_ROWS + 1, 2)):
        draw_types(axes, {f"type {i}": "#123456" for i in range(number)})
        legend = axes.get_legend()
        assert [text.get_text() for text in legend.get_texts()] == [
            f"type {i}" for i in range(number)
        ]
        assert legend._ncols == columns


def test_a_graph_of_types_joins_what_is_connected_and_greys_what_has_no_place(axes):
    links = np.zeros((3, 3))
    links[0, 1] = links[1, 0] = 0.5
    links[1, 2] = links[2, 1] = 0.04  # too weak to be drawn
    picture = {"names": ["a", "b", "c"], "sizes": [10, 40, 20], "times": [0.0, 1.0, None],
               "positions": [[0, 0], [1, 0], [1, 1]], "connectivities": links}  # fmt: skip
    draw_type_graph(axes, picture)
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xydata(), [[0, 0], [1, 0]])
    assert line.get_linewidth() == 3
    grey, known = axes.collections
    np.testing.assert_array_equal(grey.get_offsets(), [[1, 1]])
    np.testing.assert_array_equal(known.get_offsets(), [[0, 0], [1, 0]])
    np.testing.assert_array_equal(known.get_array(), [0, 1])
    np.testing.assert_allclose(known.get_sizes(), [30 + 500 / 4, 530])
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c"]
