"""A run's models are found by name and seed, and those of another run are refused."""

import json

import numpy as np
import pytest
from command_line import config, small_adata, untrained_model
from refusals import refusal

from experiments import integration
from experiments.kit.stop import StopRequest
from qbm_jax.data import from_anndata
from qbm_jax.fitted.document import Evaluated
from qbm_jax.fitted.history import History
from qbm_jax.fitted.metrics_log import MetricsLog
from qbm_jax.fitted.model import FittedModel
from qbm_jax.fitted.run_models import model_folder
from qbm_jax.runtime.identity import digest_names
from qbm_jax.training import Progress

MODEL = untrained_model()


def claim(workdir, genes=MODEL.settings.genes, batches=MODEL.settings.batch_names):
    data = {"gene_names": digest_names(genes), "batch_names": digest_names(batches)}
    config = {"baselines": {"bernoulli_vae": True, "gaussian_latents": 10}}
    (workdir / "config.json").write_text(json.dumps({"config": config, "data": data}))


@pytest.fixture
def workdir(tmp_path):
    """Of a run with two seeds of its own model "mine" and one of a baseline."""
    claim(tmp_path)
    for number, (name, seed) in enumerate((("mine", 0), ("mine", 1), ("bernoulli_vae", 0))):
        history = History({}, {}, number)
        model = FittedModel(MODEL.settings, MODEL.params, history)
        model.save(model_folder(tmp_path, name, seed))
    return tmp_path


def test_the_runs_own_model_is_found_without_a_name_and_others_by_it(workdir):
    def number(**options):
        return FittedModel.load(workdir, **options).measured.num_train_cells

    assert number() == 0
    assert number(seed=1) == number(name="mine", seed=1) == 1
    assert number(name="bernoulli_vae") == 2
    assert str(workdir / "checkpoints") in str(model_folder(workdir, "mine", 0))


def test_a_model_that_is_not_there_is_refused_with_those_that_are(workdir):
    line = refusal(FittedModel.load, workdir, seed=2)
    assert "'mine' of seed 2" in line and "bernoulli_vae-seed0, mine-seed0, mine-seed1" in line
    assert "'vae' of seed 0" in refusal(FittedModel.load, workdir, name="vae")


def test_a_run_without_models_says_how_to_get_them(tmp_path):
    claim(tmp_path)
    assert "run the same command again" in refusal(FittedModel.load, tmp_path)


def test_two_models_of_the_runs_own_are_told_apart_by_name(workdir):
    MODEL.save(model_folder(workdir, "other", 0))
    assert "mine, other; choose by name=" in refusal(FittedModel.load, workdir)
    assert FittedModel.load(workdir, name="other").settings == MODEL.settings


@pytest.mark.parametrize("other", [{"genes": ("a", "b")}, {"batches": ("b1", "b2")}])
def test_models_of_other_genes_or_batches_than_the_runs_are_refused(workdir, other):
    claim(workdir, **other)
    assert "is not of this run" in refusal(FittedModel.load, workdir)


def test_a_damaged_claim_is_told(workdir):
    (workdir / "config.json").write_text("{")
    assert "config.json is damaged" in refusal(FittedModel.load, workdir)
    assert "config.json is damaged" in refusal(FittedModel.load, workdir, name="mine")


def test_a_run_saves_each_model_with_the_rows_of_its_log(tmp_path, monkeypatch):
    """Those of an earlier call that was interrupted, too."""
    found = Evaluated(MODEL, None, None, {"elbo": -1.0}, 1.0, 1.0, num_train_cells=70)
    cells = from_anndata(small_adata(60))
    monkeypatch.setattr(integration, "train_and_evaluate", lambda *_, **__: [found])
    monkeypatch.setattr(integration, "Checkpoints", lambda *_, **__: None)
    monkeypatch.setattr(integration, "check_held", lambda *_: None)
    claim(tmp_path)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for name, step in (("mine", 2), ("bernoulli_vae", 3), ("mine", 4)):
        log.record(name, 1, Progress(step, 1.0, 4, 9.0, "train", {"reconstruction": step / 2}))
    setup = integration.Setup(config(), tmp_path, cells, cells, log, StopRequest())
    integration.train_seeds(setup, None, "mine", {}, [1], integration.TimeLeft(["mine"], 1))
    loaded = FittedModel.load(tmp_path, seed=1)
    assert loaded.measured.train["step"].tolist() == [2, 4]
    assert loaded.measured.train["reconstruction"].tolist() == [1, 2]
    assert loaded.measured.num_train_cells == 70
    np.testing.assert_array_equal(loaded.encode_cells(cells)[0], MODEL.encode_cells(cells)[0])
