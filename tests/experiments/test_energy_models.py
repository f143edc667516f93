"""The study of energy-based models: what is written, and what is refused."""

import csv

import numpy as np
import pytest
from matplotlib.image import imread
from refusals import study_refuses

from configs import energy_models as configs
from experiments import energy_models
from experiments.energies import baselines, images

BAD = {
    "no file": ({"data.path": "/nowhere/images.npz"}, "expected an .npz file"),
    "seeds": ({"num_seeds": 0}, "config.num_seeds must be at least 1"),
    "kind": ({"methods.pcd_1.kind": "quantum"}, "unknown config.methods.pcd_1.kind"),
    "phase": ({"methods.cd_1.options.negative_phase": "cat"}, "config.methods.cd_1.options"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_run_is_refused_before_anything_is_written(case, tmp_path):
    study_refuses(energy_models, configs.get_config("smoke"), *BAD[case], tmp_path)


def test_baselines_are_normalised():
    rng = np.random.default_rng(0)
    train = images.bars_and_stripes(rng, 2, 50, 1).train
    every = (np.arange(16)[:, None] >> np.arange(4) & 1).astype(np.float32)
    one = baselines.independent(rng, train, every)
    several = baselines.mixture(rng, train, every, num_components=3, num_iterations=20)
    for values in (one, several):
        assert np.exp(values).sum() == pytest.approx(1, abs=1e-5)
    rows = (train @ [1, 2, 4, 8]).astype(int)
    assert several[rows].mean() > one[rows].mean() + 0.2


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
