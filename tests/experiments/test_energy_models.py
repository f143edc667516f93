"""The study of energy-based models: what is written, and what is refused."""

import csv
from functools import partial

import numpy as np
import pytest
from command_line import small_adata
from matplotlib.image import imread
from refusals import study_refuses
from sklearn.decomposition import PCA

from configs import energy_models as configs
from experiments import energy_models
from experiments.energies import figures, measures, sources
from experiments.kit.runner import Results
from qbm_jax.energy_models import images
from qbm_jax.runtime.keys import TRAINING, seed_of
from qbm_jax.study.figures import NotDrawn
from qbm_jax.study.pieces import Pieces

BAD = {
    "no file": ({"data.path": "/nowhere/images.npz"}, "expected an .npz file"),
    "no images": ({"data.num_train": 0}, "num_train must be a whole number of at least 1"),
    "seeds": ({"num_seeds": 0}, "config.num_seeds must be at least 1"),
    "kind": ({"methods.pcd_1.kind": "quantum"}, "unknown config.methods.pcd_1.kind"),
    "cells": ({"densities.path": "/nowhere/cells.h5ad"}, "config.densities.path: "),
    "phase": ({"methods.cd_1.options.negative_phase": "cat"}, "config.methods.cd_1.options"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_run_is_refused_before_anything_is_written(case, tmp_path):
    study_refuses(energy_models, configs.get_config("smoke"), *BAD[case], tmp_path)


def test_a_method_of_a_package_that_is_not_installed_is_left_out_and_said(monkeypatch, tmp_path):
    monkeypatch.setattr(energy_models, "installed", lambda name: False)
    config = configs.get_config("smoke")
    config.methods = {name: config.methods[name].to_dict() for name in ("independent",)} | {
        "rbms": configs.METHODS["rbms"]
    }
    plan = energy_models.check(config)
    assert len(plan.left_out) == 1 and "rbms is not installed; pip install" in plan.left_out[0]
    likelihoods = [
        work.names["method"] for work in energy_models.pieces(plan, None)
        if work.section == energy_models.LIKELIHOOD
    ]  # fmt: skip
    assert likelihoods == ["independent"]
    report = energy_models.document(plan, Results(tmp_path, [], [], [])).text
    assert "## Left out" in report and plan.left_out[0].split(";")[0] in report


def test_components_of_cells_are_those_of_the_file_and_named_so(tmp_path):
    path = tmp_path / "cells.h5ad"
    small_adata().write_h5ad(path)
    config = configs.get_config("smoke")
    config.densities.path = str(path)
    config.densities.num_principal = config.densities.num_factors = 4
    plan = energy_models.check(config)
    (work,) = [
        work for work in energy_models.pieces(plan, None)
        if work.names == {"dataset": "cells", "method": "ppca", "seed": 0}
    ]  # fmt: skip
    piece = work.compute(None) | work.names | {"section": work.section}
    train, test = sources.cell_components(
        config.densities, plan.cells, seed_of(config.seed, TRAINING, 0)
    )
    expected = PCA(4).fit(train).score_samples(test)
    assert piece["metrics"]["log_likelihood"] == pytest.approx(expected.mean())
    assert piece["metrics"]["rows_standard_error"] == pytest.approx(
        expected.std(ddof=1) / len(test) ** 0.5
    )
    report = energy_models.document(plan, Results(tmp_path, [piece], [], [])).text
    assert "Components of the cells of cells.h5ad" in report and "SIMULATED" not in report


def test_the_digits_alone_are_five_splits_without_images(tmp_path):
    plan = energy_models.check(configs.get_config("digits"))
    works = list(energy_models.pieces(plan, None))
    assert {work.section for work in works} == {"features", "density"}
    assert {work.names["seed"] for work in works} == set(range(5))
    report = energy_models.document(plan, Results(tmp_path, [], [], [])).text
    assert "Test log-likelihood" not in report and "## Digits: accuracy" in report


def test_an_interrupted_training_goes_on_from_its_file_to_the_same_numbers(tmp_path):
    config = configs.get_config("smoke")
    config.curve_points = 1
    config.machine.num_updates = 40
    found = images.bars_and_stripes(np.random.default_rng(0), 3, 60, 20)
    pieces = Pieces(tmp_path / "run", 0)
    kept = pieces.path("likelihood", {"method": "pcd_1"}).with_suffix(".npz")
    of_machine = partial(measures.of_machine, config, found, {}, 0)

    def interrupted(key, file):
        assert file == kept
        with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
            patch.setattr(measures.RestrictedBoltzmannMachine, "fit", half)
            of_machine(file)
        raise KeyboardInterrupt

    whole = measures.RestrictedBoltzmannMachine.fit

    def half(model, rows, callback, checkpoint):
        def stop(model, update):
            if update >= 20:
                raise KeyboardInterrupt

        return whole(model, rows, callback=stop, checkpoint=checkpoint)

    names = {"method": "pcd_1"}
    with pytest.raises(KeyboardInterrupt):
        pieces.measure("likelihood", names, interrupted, keeps=True)
    assert kept.exists()
    after = []

    def told(model, rows, callback, checkpoint):
        def note(model, update):
            after.append(update)
            callback(model, update)

        return whole(model, rows, callback=note, checkpoint=checkpoint)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures.RestrictedBoltzmannMachine, "fit", told)
        again = pieces.measure("likelihood", names, lambda key, file: of_machine(file), keeps=True)
    assert min(after) > 20 and not kept.exists()
    at_once = of_machine(tmp_path / "other.npz")
    for metric in ("log_likelihood", "averaged_log_likelihood", "updates"):
        assert again["metrics"][metric] == at_once["metrics"][metric]
    assert again["samples"] == at_once["samples"]


@pytest.mark.slow
def test_every_method_has_a_likelihood_with_its_interval(smoke_of):
    workdir = smoke_of("energy_models")
    with (workdir / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == energy_models.COLUMNS
    found = {(r["method"], r["metric"]): float(r["value"]) for r in rows
             if r["task"] == "likelihood" and r["value"]}  # fmt: skip
    assert {name for name, _ in found} == set(configs.get_config("smoke").methods)
    for method in {name for name, _ in found}:
        value = found[method, "log_likelihood"]
        assert found[method, "lower"] <= value <= found[method, "upper"] < 0
    assert found["pcd_1", "log_likelihood"] > found["independent", "log_likelihood"]
    assert {r["task"] for r in rows} == {"likelihood", "features", "density"}
    for name in ("likelihoods", "samples", "filters", "mixing"):
        assert imread(workdir / "figures" / f"{name}.png").size


def test_likelihoods_against_time_show_far_methods_at_the_edge_with_their_value():
    curves = {"near": [[1, 1.0, -82.0, -83.0, -81.0], [2, 4.0, -80.0, -80.5, -79.5]],
              "next": [[1, 1.0, -81.0, -81.0, -81.0]], "far": [[1, 2.0, -999.0, -999.0, -999.0]],
              "unknown": [[1, 1.0, None, None, None]]}  # fmt: skip
    pieces = [{"method": name, "curve": curve} for name, curve in curves.items()]
    (axes,) = figures.draw_curves(pieces).axes
    drawn = {line.get_label(): line for line in axes.lines}
    assert list(drawn) == ["near", "next", "far: -999"]
    np.testing.assert_array_equal(drawn["near"].get_xydata(), [[1, -82], [4, -80]])
    floor = -80 - figures.FAR * 1 - 1  # the median is 1 nat below the best
    np.testing.assert_array_equal(drawn["far: -999"].get_xydata(), [[2, floor]])
    assert [drawn[name].get_marker() for name in drawn] == ["o", "o", "v"]
    (first, last) = axes.collections[0].get_segments()
    np.testing.assert_array_equal([first[:, 1], last[:, 1]], [[-83, -81], [-80.5, -79.5]])
    with pytest.raises(NotDrawn, match="no likelihood is known"):
        figures.draw_curves(pieces[-1:])


def test_images_stand_side_by_side_and_draws_are_held_against_images():
    tiles = np.arange(8.0).reshape(2, 4)
    shown = {"method": "one", "seed": 0, "samples": tiles.tolist()}
    mixing = {"draws": [3.0, 1.0], "images": 1.5, "sweeps": [1, 10]}
    pieces = [shown, shown | {"seed": 1}, {"method": "other", "seed": 0, "mixing": mixing}]
    (axes,) = figures.draw_images(pieces, 2, "samples").axes
    strip = axes.images[0].get_array()
    np.testing.assert_array_equal(strip[1:3, 1:3], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(strip[1:3, 5:7], [[4, 5], [6, 7]])
    assert strip.shape == (4, 8) and axes.get_title(loc="left") == "one"
    (axes,) = figures.draw_mixing(pieces).axes
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1, 1.5], [10, -0.5]])
    for draw in (partial(figures.draw_images, side=2, part="filters"), figures.draw_mixing):
        with pytest.raises(NotDrawn):
            draw(pieces[:1])
