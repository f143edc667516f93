"""What a comparison's trainings are given: held-out cells, seeds, and steps for all sizes."""

from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments.comparison import scvi_tools, trainings
from experiments.comparison.methods import Method
from experiments.kit.stop import StopRequest
from qbm_jax.model.options import ModelOptions
from qbm_jax.model.presets import scvi_epochs
from qbm_jax.runtime.keys import seed_of
from qbm_jax.training import Training, TrainOptions, sampler_spec

CONFIG = SimpleNamespace(seed=5, num_steps=10)
HELD_OUT = [np.array([0, 1]), np.arange(40, 80)]
STUDY = SimpleNamespace(
    name="set", batch="batches", data=None, cells=SimpleNamespace(counts=None, num_cells=100)
)


def test_methods_without_training_have_a_seed_each_or_never_see_the_held_out_cells(monkeypatch):
    asked = []
    monkeypatch.setattr(trainings, "pca_embedding", lambda _, **given: asked.append(given) or "pca")
    monkeypatch.setattr(trainings, "harmony_embedding", lambda *given: given)
    found = trainings.untrained_group(
        CONFIG, STUDY, SimpleNamespace(name="harmony", label="h"), HELD_OUT
    )
    seeds = [seed_of(5, "harmony", seed) for seed in range(2)]
    assert found.embeddings == [("pca", "batches", seed) for seed in seeds]
    monkeypatch.setattr(trainings, "scanorama_embedding", lambda *given: given)
    method = SimpleNamespace(name="scanorama", label="s")
    found = trainings.untrained_group(CONFIG, STUDY, method, HELD_OUT)
    seeds = [seed_of(5, "scanorama", seed) for seed in range(2)]
    assert found.embeddings == [(None, "batches", seed) for seed in seeds]
    asked.clear()
    trainings.untrained_group(CONFIG, STUDY, SimpleNamespace(name="pca", label="p"), HELD_OUT)
    for given, cells in zip(asked, HELD_OUT, strict=True):
        assert given["seed"] == 5
        np.testing.assert_array_equal(given["fit_on"], np.setdiff1d(np.arange(100), cells))


def test_trainings_get_their_held_out_cells_and_the_epochs_of_the_smallest_set(monkeypatch):
    asked = []

    def train_and_evaluate(given, cells, seeds, **options):
        asked.append((given, seeds, options))
        return []

    monkeypatch.setattr(trainings, "train_and_evaluate", train_and_evaluate)
    options = TrainOptions(num_epochs=400, minibatch_size=9, validation_fraction=0.1)
    one = Training(ModelOptions(), sampler_spec("gibbs", None), options)
    method = Method("scvi", "matched", one)
    trainings.train_group(CONFIG, STUDY, method, HELD_OUT, StopRequest())
    ((given, seeds, options),) = asked
    assert options["held_out"] is HELD_OUT and seeds == [(5, 0), (5, 1)]
    assert [each.options.num_epochs for each in given] == [2, 2]  # of 54 cells, six steps each
    assert trainings.steps_of(given[0].options, STUDY, HELD_OUT) == 2 * 2 * 6
    assert trainings.steps_of(None, STUDY, HELD_OUT) == 0


@pytest.mark.parametrize(("num_cells", "epochs"), [(3, 400), (20_040, 400), (40_040, 200)])
def test_defaults_of_scvi_and_its_peer_train_their_own_epochs(num_cells, epochs, monkeypatch):
    config = SimpleNamespace(seed=5, num_steps=0)
    cells = SimpleNamespace(num_cells=num_cells)
    study = SimpleNamespace(name="set", cells=cells)
    one = Training(ModelOptions(), None, TrainOptions(num_epochs=400, kl_warmup_epochs=400.0))
    held_out = [np.arange(min(40, num_cells - 2))]
    rows = Method("scvi", "default", one), Method("scvi_tools", "default", None)
    for method in rows:
        assert trainings.options_on(config, study, method, held_out).num_epochs == epochs
    matched = trainings.options_on(config, study, Method("scvi", "matched", one), held_out)
    assert matched is one.options
    asked = []
    monkeypatch.setattr(scvi_tools, "embed", lambda *given: asked.append(given[3:5]))
    config.scvi_tools = ConfigDict({"n_latent": 30})
    trainings.peer_group(config, study, held_out, StopRequest())
    chosen = scvi_tools.ScviToolsFields(n_latent=30)
    assert asked == [(400, chosen)]  # epochs at most: `embed` knows the cells


def test_epochs_of_scvi_fall_with_the_cells_and_end_at_one():
    assert [scvi_epochs(cells) for cells in (1, 20_000, 30_000, 10**6, 10**9)] == [
        400,
        400,
        267,
        8,
        1,
    ]
