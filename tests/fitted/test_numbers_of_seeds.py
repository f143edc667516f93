"""What connects keys, seeds, folds and batches to a fitted model and to its numbers."""

import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from qbm_jax import training
from qbm_jax.fitted import document, generation
from qbm_jax.fitted import evaluate as evaluating
from qbm_jax.fitted import trainings as fitting
from qbm_jax.fitted.model import FittedModel, Settings
from qbm_jax.fitted.scoring import score_seeds
from qbm_jax.fitted.tasks import model as tasks_of_models
from qbm_jax.model.options import ModelOptions
from qbm_jax.runtime.keys import key_of
from qbm_jax.training import Training, sampler_spec

KEY = jax.random.key(2)


def words(key):
    return np.asarray(jax.random.key_data(key)).tolist()


@pytest.fixture(scope="module")
def settings():
    return Settings(
        genes=tuple("abcdefgh"), batch_names=("x", "y"), sampler="gibbs", sampler_options={},
        model={"num_latents": 4, "likelihood": "poisson", "prior": "bernoulli",
               "encoder_widths": (4,), "decoder_widths": (4,)},
        median_library=(10.0, 1000.0),
    )  # fmt: skip


def test_a_run_tells_mean_and_sample_standard_deviation_over_seeds():
    # The mean is 3 and the squares 4 + 1 + 9 over 2 are 7.
    found = document.mean_and_sd([{"a": 1.0}, {"a": 2.0}, {"a": 6.0}])
    assert found == {"a": 3.0, "a_sd": pytest.approx(math.sqrt(7))}
    assert document.mean_and_sd([{"a": 1.0}]) == {"a": 1.0, "a_sd": None}
    part = document.mean_and_sd([{"a": 1.0}, {"a": math.nan}, {"a": 3.0}])
    assert part == {"a": 2.0, "a_sd": pytest.approx(math.sqrt(2))}, "as in every other table"


def test_generated_cells_have_the_median_library_of_the_batch_asked_for(monkeypatch, settings):
    fitted = FittedModel(settings, {})
    monkeypatch.setattr(generation, "generate_like", lambda model, *given: given)
    for name, code, median in (("x", 0, 10.0), ("y", 1, 1000.0), (None, 0, 10.0)):
        _, batch, library, temperature = fitted.generate(KEY, 3, batch=name, temperature=0.5)
        assert temperature == 0.5
        assert batch.tolist() == [code] * 3 and library.tolist() == [median] * 3


TOTALS = SimpleNamespace(
    totals=np.array([1.0, 10.0, 100.0, 4.0, 6.0, 11.0]),
    batch=np.array([0, 1, 0, 1, 0, 1]),
    batch_names=("x", "y"),
    genes=("g",),
    batch_column="batch",
)


def test_libraries_are_medians_and_log_moments_of_each_batch():
    options = training.TrainOptions()
    one = Training(ModelOptions(library="latent"), sampler_spec("gibbs", None), options)
    found = fitting.describe(fitting.of_cells(one, TOTALS), TOTALS)
    assert found.median_library == (6.0, 10.0)
    logs = [np.log([1.0, 100.0, 6.0]), np.log([10.0, 4.0, 11.0])]
    wanted = [[x.sum() / 3, math.sqrt(((x - x.sum() / 3) ** 2).sum() / 3)] for x in logs]
    np.testing.assert_allclose(found.model["library_prior"], wanted, rtol=1e-12)
    assert found.sampler_options == {"num_steps": 2}
    assert found.model["likelihood"] == "nb"


def test_a_fitted_model_has_the_best_parameters_and_not_the_last(monkeypatch, settings):
    best, last = {"w": 1}, SimpleNamespace(params={"w": 2}, best_elbo=-9.0)
    trained = training.Trained(best, last, np.arange(3), np.arange(3, 5), 1.0, 2.0)
    monkeypatch.setattr(training, "train_seeds", lambda *_, **__: [trained])
    monkeypatch.setattr(fitting, "check_likelihood", lambda *_: None)
    one = Training(
        ModelOptions(**settings.model), sampler_spec("gibbs", None),
        training.TrainOptions(num_retries=0),
    )  # fmt: skip
    cells = SimpleNamespace(**{**vars(TOTALS), "genes": settings.genes})
    ((fitted, result),) = fitting.fit_trainings([KEY], [one], cells, data=object())
    assert fitted.params is best and result == trained and fitted.measured.bound == -9.0


def test_a_final_bound_is_of_the_validation_cells_with_the_seeds_key(monkeypatch):
    asked = []
    monkeypatch.setattr(training, "bound", lambda *given, **named: asked.append((given, named)))
    fitted = SimpleNamespace(vae="vae", params="params")
    monkeypatch.setattr(training, "build_evaluation", lambda vae: "evaluate")
    source = SimpleNamespace(select=lambda rows: (("data", tuple(rows)), rows))
    trained = SimpleNamespace(train_cells=np.arange(9), validation_cells=np.array([3, 5]))
    for seed in range(2):
        evaluating.validation_bound(evaluating.Draws(3, 40), (11, seed), source, fitted, trained)
    for seed, (given, named) in enumerate(asked):
        assert words(given[0]) == words(key_of(11, "bound", seed))
        assert given[3] == ("data", (3, 5)) and given[5].tolist() == [3, 5]
        assert given[4] == "params" and named == {
            "num_draws": 3,
            "num_train_cells": 9,
            "num_temperatures": 40,
        }


def test_bounds_of_held_out_cells_have_a_key_and_a_fold_each(monkeypatch):
    asked, weighted = [], []

    def bound(key, *given, **named):
        asked.append((words(key), given[4], named))
        return {"elbo": -1.0, "log_z": 2.5}

    def weighted_bound(key, *given, **named):
        weighted.append((words(key), given[3], given[4], named))
        return SimpleNamespace(mean=-0.5)

    monkeypatch.setattr(training, "bound", bound)
    monkeypatch.setattr(training, "build_evaluation", lambda vae: None)
    monkeypatch.setattr(tasks_of_models, "importance_weighted_bound", weighted_bound)
    monkeypatch.setattr(tasks_of_models, "has_bits", lambda vae: True)
    made = SimpleNamespace(seed=11, posterior_draws=3, log_z_temperatures=40, importance_samples=7)
    group = SimpleNamespace(
        label="x", models=[SimpleNamespace(vae=0, params=0)] * 2, held_out=["fold 0", "fold 1"],
        num_train_cells=[70, 80],
    )  # fmt: skip
    tasks_of_models.bound(made, SimpleNamespace(data=None), group, None)
    for seed in range(2):
        share = (70, 80)[seed]
        named = {"num_draws": 3, "num_train_cells": share, "num_temperatures": 40}
        assert asked[seed] == (words(key_of(11, "bound", seed)), f"fold {seed}", named)
        named = {"num_samples": 7, "num_train_cells": share}
        wanted = (words(key_of(11, "weighted bound", seed)), f"fold {seed}", 2.5, named)
        assert weighted[seed] == wanted


def test_scores_get_labels_batches_and_seeds_in_their_places(monkeypatch):
    given = {}

    def score_embeddings(embeddings, batch, labels, **named):
        given.update(embeddings=embeddings, batch=batch, labels=labels, **named)
        values = {name: {"total": float(value[0, 0])} for name, value in embeddings.items()}
        return SimpleNamespace(values=values, notes=["note"])

    monkeypatch.setattr("qbm_jax.metrics.score_embeddings", score_embeddings)
    cells = SimpleNamespace(
        num_cells=4, labels=np.array([1, -1, 0, 1]), label_names=("T", "B"),
        labelled=np.array([True, False, True, True]), batch=np.array([0, 0, 1, 1]),
        batch_names=("x", "y"),
    )  # fmt: skip
    one, two, pca = (np.full((4, 2), value) for value in (1.0, 2.0, 3.0))
    scores, notes = score_seeds(
        {"X_qbmvae": [one, two], "X_pca": [pca]}, cells, uncorrected=pca, max_cells=9, seed=11
    )
    assert [row["total"] for row in scores["X_qbmvae"]] == [1.0, 2.0]
    assert [row["total"] for row in scores["X_pca"]] == [3.0] and notes == ("note",)
    assert given["batch"].tolist() == ["x", "y", "y"]
    assert given["labels"].tolist() == ["B", "T", "B"]
    assert given["uncorrected"].shape == (3, 2) and given["seed"] == 11
