"""Figures of spins: strong couplings by colour and width, telling spins first."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from qbm_jax.study.figures import BETTER, WORSE
from qbm_jax.study.spin_figures import MOST_SPINS, draw_mean_spins, draw_network, heat_map_size
from qbm_jax.study.spins import most_different, strongest

J = np.zeros((6, 6))
for (i, j), coupling in {(0, 4): 2.0, (1, 3): -1.0, (0, 2): 0.5, (1, 4): 0.25}.items():
    J[i, j] = J[j, i] = coupling


@pytest.fixture
def axes():
    return Figure().subplots()


def test_couplings_come_once_by_size_and_spins_by_their_range():
    assert strongest(J, 3) == [(0, 4, 2.0), (1, 3, -1.0), (0, 2, 0.5)]
    assert len(strongest(J)) == 15
    means = np.array([[0.1, -0.9, 0.5, 0.2], [0.3, 0.8, 0.4, 0.2]])
    assert most_different(means).tolist() == [1, 0, 2, 3]


def test_lines_join_the_spins_that_are_coupled_most(axes):
    draw_network(axes, J, 4)
    place = {text.get_text(): np.array(text.get_position()) for text in axes.texts}
    assert set(place) == set("01234")  # the sixth is not coupled
    np.testing.assert_allclose([np.linalg.norm(each) for each in place.values()], 1)
    lines = [line for line in axes.lines if len(line.get_xdata())]  # others are of the legend
    widths = [line.get_linewidth() for line in lines]
    assert widths == sorted(widths)  # the strongest lie on top
    for line, (first, second, coupling) in zip(reversed(lines), strongest(J, 4), strict=True):
        np.testing.assert_allclose(line.get_xydata(), [place[str(first)], place[str(second)]])
        assert line.get_color() == (BETTER if coupling > 0 else WORSE)
    named = {text.get_text(): handle.get_color() for text, handle in zip(
        axes.get_legend().get_texts(), axes.get_legend().get_lines(), strict=True
    )}  # fmt: skip
    assert named == {"tend to be equal": BETTER, "tend to be opposite": WORSE}
    for first, second in ("04", "13"):  # neighbours on the circle
        assert np.linalg.norm(place[first] - place[second]) == pytest.approx(2 * np.sin(np.pi / 5))


def test_mean_spins_stand_in_the_order_of_what_they_tell(axes):
    means = np.tile(np.linspace(-1, 1, MOST_SPINS + 2), (2, 1))
    means[1, 7], means[1, 9] = 1.5, 0.9
    drawn = draw_mean_spins(axes, means, ["a", "b"])
    assert len(drawn) == MOST_SPINS and drawn[:3].tolist() == [7, 9, 0]
    np.testing.assert_array_equal(axes.images[0].get_array(), means[:, drawn])
    assert axes.images[0].get_clim() == (-1.5, 1.5)
    assert [text.get_text() for text in axes.get_xticklabels()[:3]] == ["7", "9", "0"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert heat_map_size(2, MOST_SPINS) == heat_map_size(2, 10 * MOST_SPINS)
