"""Scores through training: what is written, and what is refused."""

import csv
import math
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from refusals import study_refuses

from configs import base
from configs import epochs as configs
from experiments import epochs
from experiments.kit import runner
from experiments.kit.stop import StopRequest
from qbm_jax.training import TrainingDiverged

BAD = {
    "untrained": ({"methods": ("pca", "qbmvae")}, "pca has no epochs"),
    "a peer": ({"methods": ("scvi_tools",)}, "scvi_tools has no epochs here"),
    "defaults": ({"settings": ("matched", "default")}, "settings must be matched alone"),
    "never": ({"every": 0}, "config.every must be at least 1"),
    "method": ({"methods": ("magic",)}, "unknown config.methods 'magic'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_run_is_refused_before_anything_is_written(case, tmp_path):
    study_refuses(epochs, configs.get_config("smoke"), *BAD[case], tmp_path)


def test_it_trains_as_the_product_does_on_a_set_that_does_not_judge():
    config, product = configs.get_config(), base.get_config()
    assert config.training == product.training
    assert all(config.sets[name].tuned_on for name in config.datasets)


def test_the_table_names_first_best_and_last_epoch():
    rows = [[epoch, "total", seed, value] for epoch, value in ((20, 0.7), (5, 0.2), (10, 0.9))
            for seed in (0, 1)]  # fmt: skip
    rows[-1][-1] = None
    rows += [[30, "total", seed, None] for seed in (0, 1)]
    text = epochs.score_table([{"method": "qbmvae", "rows": rows}])
    assert "| QBM-VAE | total | 0.200 (5; 2) | 0.900 (10; 1) | 0.700 (20; 2) |" in text


def test_what_may_explain_scores_is_of_the_embedding_and_of_the_steps_since_the_last_one():
    spins = np.random.default_rng(0).choice([-1.0, 1.0], (400, 3))
    spins[:, 2] = 0.5
    study = SimpleNamespace(batch=spins[:, 0].astype(str), labels=np.repeat(["a", "b"], 200))
    norms = np.array([9, 1, 3, 8, 6, 9])
    train = {"epoch": np.array([5.0, 7.5, 10.0, 10.5, 11.0, 11.5]), "gradient_norm": norms}
    # every five epochs, and after the last one
    history = SimpleNamespace(train=train, validation={"epoch": np.array([5.0, 10.0, 11.0])})
    found = epochs.explaining(study, spins, history, 10, 0)
    assert found["information_of_batch"] == pytest.approx(1, abs=0.05)
    assert found["information_of_type"] < 0.05
    assert found["active_latents"] == 2 and found["gradient_norm"] == 2
    assert epochs.explaining(study, spins, history, 11, 0)["gradient_norm"] == 7
    assert epochs.explaining(study, spins, None, 10, 0).keys() == found.keys() - {"gradient_norm"}


@pytest.mark.slow
def test_every_epoch_and_seed_is_scored(smoke_of):
    config, workdir = configs.get_config("smoke"), smoke_of("epochs")
    with (workdir / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "total"]
    expected = {(str(e), str(s)) for e in range(1, config.training.num_epochs + 1) for s in (0, 1)}
    assert {(row["epoch"], row["seed"]) for row in rows} == expected
    assert imread(workdir / "figures" / "simulated.png").size


def test_a_method_that_diverges_to_the_last_is_a_note_in_the_report(tmp_path, monkeypatch):
    def diverge(*_, **__):
        raise TrainingDiverged("training of seed 1 diverged at step 3", 1)

    monkeypatch.setattr(epochs, "train_and_evaluate", diverge)
    plan = epochs.check(configs.get_config("smoke"))
    pieces = [work.compute(None) | work.names for work in epochs.pieces(plan, StopRequest())]
    epochs.document(plan, runner.Results(tmp_path, pieces, [], [])).write()
    told = (tmp_path / "report.md").read_text()
    for method in plan.methods:
        assert f"{method.label} has no scores: training of seed 1 diverged at step 3." in told


def test_the_band_of_scores_through_training_is_one_sample_deviation():
    rows = [(5, "total", seed, value) for seed, value in enumerate([0.1, 0.2, 0.6])]
    figure = epochs.draw([{"method": "qbmvae", "rows": rows}], "title")
    panel = figure.axes[epochs.SHOWN.index("total")]
    heights = panel.collections[0].get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(0.3 - 0.1 * math.sqrt(7))
    assert heights.max() == pytest.approx(0.3 + 0.1 * math.sqrt(7))
    one = epochs.draw([{"method": "qbmvae", "rows": rows[:1]}], "title")
    assert (
        np.ptp(one.axes[panel.get_subplotspec().num1].collections[0].get_paths()[0].vertices[:, 1])
        == 0
    )
