"""The figures of the report show all that they promise, where a reader can see it."""

from itertools import pairwise

import numpy as np
import pytest
from fabricated_run import change_cells, fabricate
from matplotlib.backends.backend_agg import FigureCanvasAgg

from qbm_jax.report import run_outputs, style
from qbm_jax.report.cell_figures import draw_umaps
from qbm_jax.report.figures import FIGURES
from qbm_jax.report.model_figures import SETTLED, TERMS, draw_couplings, draw_training

MODELS = ("qbmvae", "gaussian_vae", "bernoulli_vae")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A run of 24 spins whose couplings are alike in size."""
    return run_outputs.read(fabricate(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def with_outlier(tmp_path_factory):
    """The same run with one coupling fifty times as strong as the others."""
    workdir = fabricate(tmp_path_factory.mktemp("outlier"))

    def couple(cells):
        J = cells.uns["qbm_jax"]["J"]
        J[0, 1] = J[1, 0] = 50 * J.std()

    change_cells(workdir, couple)
    return run_outputs.read(workdir)


@pytest.mark.parametrize("run", ["outputs", "with_outlier"])
def test_couplings_saturate_no_colour_and_few_numbers_stand_at_the_bar(run, request):
    found = request.getfixturevalue(run)
    figure = draw_couplings(found)
    heat, _, bar = figure.axes
    largest = np.abs(found.couplings).max()
    assert heat.images[0].get_clim() == pytest.approx((-largest, largest))
    typical = np.sqrt(np.mean(found.couplings**2))
    assert heat.images[0].norm(typical) > 0.6  # 0.5 is white: a usual coupling is seen
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    numbers = [text.get_window_extent(renderer) for text in bar.get_yticklabels()]
    assert 3 <= len(numbers) <= 5
    assert all(low.y1 < high.y0 for low, high in pairwise(numbers))


def test_every_embedding_has_a_row_of_all_cells_by_type_batch_and_energy(outputs):
    figure = draw_umaps(outputs)
    panels = [axes for axes in figure.axes if axes.collections and axes.axison]
    rows = [panels[start : start + 3] for start in range(0, 9, 3)]
    names = [style.model_name(name) for name in ("qbmvae", "gaussian_vae", "pca")]
    assert [row[0].get_ylabel() for row in rows] == names
    titles = ["Cell type", "Batch", "QBM-VAE energy"]
    assert [axes.get_title() for axes in rows[0]] == titles
    for row, key in zip(rows, ("X_umap", "X_umap_gaussian_vae", "X_umap_pca"), strict=True):
        points = np.sort(outputs.cells.obsm[key], axis=0)
        for axes in row:
            shown = np.sort(axes.collections[0].get_offsets(), axis=0)
            np.testing.assert_allclose(shown, points)


def test_the_limits_of_training_hold_every_settled_curve_and_no_early_descent(outputs):
    panels = draw_training(outputs).axes
    assert len(panels) == len(TERMS)
    for axes in panels:
        epochs = np.concatenate([line.get_xdata() for line in axes.lines])
        values = np.concatenate([line.get_ydata() for line in axes.lines])
        settled = values[epochs >= SETTLED * epochs.max()]
        low, high = axes.get_ylim()
        assert low < values.min() and settled.max() < high
        assert high - low < 1.2 * np.ptp(np.append(settled, values.min()))


def test_without_a_steep_descent_the_limits_hold_every_value(outputs):
    gentle = []
    for line in outputs.history:
        nats = 20 * (1 - line["epoch"] / 80)
        gentle.append(line | {"elbo": -nats, "reconstruction": nats, "kl": nats})
    for axes in draw_training(outputs._replace(history=gentle)).axes:
        values = np.concatenate([line.get_ydata() for line in axes.lines])
        low, high = axes.get_ylim()
        assert low < values.min() and values.max() < high


def test_curves_that_coincide_are_all_seen(outputs):
    """Each later model lies upon the earlier ones, and is narrower."""
    same = [line | {"model": model} for model in MODELS for line in outputs.history[:42]]
    for axes in draw_training(outputs._replace(history=same)).axes:
        drawn = {line.get_color(): (line.get_zorder(), line.get_linewidth()) for line in axes.lines}
        assert list(drawn) == [style.model_colour(model) for model in MODELS]
        widths = [width for _, width in drawn.values()]
        assert len({order for order, _ in drawn.values()}) == 1  # then drawn in this order
        assert min(-np.diff(widths)) > 0.3


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name, outputs):
    figure = FIGURES[name].draw(outputs)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    shown, whole = figure.get_tightbbox(renderer), figure.bbox_inches
    assert shown.x0 >= whole.x0 and shown.y0 >= whole.y0
    assert shown.x1 <= whole.x1 and shown.y1 <= whole.y1
