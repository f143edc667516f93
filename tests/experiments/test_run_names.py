"""A run keeps reserved and repeated columns under other names, and each energy under its own."""

from types import SimpleNamespace

import anndata
import h5py
import numpy as np
import pytest
from command_line import QUICK, config, run, small_adata
from ml_collections import ConfigDict
from sweeps import OVERRIDES, measured, small_sweep

from configs import benchmark as benchmark_config
from experiments import epochs
from experiments.comparison import tasks
from experiments.comparison.methods import Method
from experiments.comparison.plan import ComparisonPlan
from experiments.kit.faults import alarmed, by_seed
from experiments.kit.runner import Results
from experiments.kit.stop import StopRequest
from experiments.sweep import job
from experiments.sweep import report as sweep_report
from experiments.sweep.outcomes import Outcomes
from experiments.sweep.plan import Job, SweepPlan
from qbm_jax.data.write import reserved
from qbm_jax.fitted import alarms
from qbm_jax.fitted.document import Evaluated as Run
from qbm_jax.fitted.tasks.study_set import StudySet
from qbm_jax.metrics.integration import IntegrationScores
from qbm_jax.report import run_outputs
from qbm_jax.training import Training, TrainOptions


def test_every_energy_of_a_model_with_a_usual_name_is_a_reserved_column():
    energies = {"qbm_energy", "bernoulli_vae_energy", "gaussian_vae_energy", "model_energy"}
    energies |= {f"{name}_energy" for name in ("mog_vae", "vamp_vae", "sysvi", "made_vae")}
    assert reserved("obs") == {"_index", *energies}


def test_a_report_reads_the_energy_of_its_own_model():
    cells = anndata.AnnData(np.zeros((2, 1), np.float32))
    cells.obs["model_energy"] = [1.0, 2.0]
    outputs = run_outputs.RunOutputs({}, {"main": "model"}, [], cells)
    assert outputs.energy.tolist() == [1.0, 2.0]
    assert outputs._replace(scores={"main": "gaussian_vae"}).energy is None
    cells.obs["qbm_energy"] = [3.0, 4.0]
    assert outputs._replace(scores={"main": "qbmvae"}).energy.tolist() == [3.0, 4.0]


@pytest.mark.slow
def test_a_file_with_reserved_and_repeated_columns_ends_in_a_report(tmp_path):
    adata = small_adata(120)
    adata.obs["qbm_energy"], adata.obs["bernoulli_vae_energy"] = 5.0, 7.0
    path = tmp_path / "seurat.h5ad"
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        obs.move("_index", "barcodes")
        obs.attrs["_index"] = "barcodes"
        obs.create_dataset("_index", data=obs["barcodes"][:], dtype=h5py.string_dtype())
        obs["_index"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        order = [*obs.attrs["column-order"], "_index", "kind"]
        obs.attrs["column-order"] = np.array(order, object)
    fields = QUICK | {"data.path": str(path), "data.batch_column": "batch", "num_seeds": 1}
    made = config(**fields | {"data.label_column": "kind", "model.prior": "bernoulli"})
    run(made, tmp_path / "run")
    found = anndata.read_h5ad(tmp_path / "run" / "embedding.h5ad")
    assert {"_index_1", "qbm_energy_1", "bernoulli_vae_energy_1", "model_energy"} <= set(found.obs)
    assert "qbm_energy" not in found.obs and list(found.obs).count("kind") == 1
    assert (found.obs["qbm_energy_1"] == 5).all()
    assert (found.obs["bernoulli_vae_energy_1"] == 7).all()
    outputs = run_outputs.read(tmp_path / "run")
    np.testing.assert_array_equal(outputs.energy, found.obs["model_energy"].to_numpy())
    text = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "_index" in text


def test_a_column_where_the_energy_of_a_named_model_goes_is_told_before_training(tmp_path, capsys):
    adata = small_adata(60)
    adata.obs["mine_energy"] = 5.0
    adata.write_h5ad(tmp_path / "cells.h5ad")
    fields = {"data.path": str(tmp_path / "cells.h5ad"), "data.batch_column": "batch"}
    made = config(**QUICK | fields | {"model.prior": "bernoulli"})
    made.name = "mine"
    with pytest.raises(SystemExit) as end:
        run(made, tmp_path / "run")
    assert end.value.code == 2
    assert "the cells have a column 'mine_energy' of obs" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


QUIET = SimpleNamespace(measured=None, J=None)  # a model without an alarm of its own
CELLS = SimpleNamespace(
    counts=None, simulated=True, source="x", labels=None, batch=np.zeros(60, int),
    batch_names=("one",),
)  # fmt: skip


def test_collapsed_trainings_are_named_and_logged(caplog):
    flat, sound = np.ones((60, 8), np.float32), np.eye(60, 8, dtype=np.float32)
    found = [alarms.of_embedding(points, CELLS) for points in (sound, flat)]
    (fault,) = alarmed(by_seed("QBM-VAE", found))
    assert fault.startswith("Training fault of QBM-VAE at seed 1: Collapsed posterior: 0 of 8")
    assert fault in caplog.text


@pytest.mark.parametrize("fitted", [True, False])
def test_benchmark_tasks_note_collapsed_trainings_of_models_alone(fitted):
    models = [QUIET] if fitted else []
    study = SimpleNamespace(cells=CELLS)
    group = SimpleNamespace(label="QBM-VAE", models=models, embeddings=[np.ones((60, 8))], again=[])
    notes = tasks.measure(benchmark_config.get_config("smoke"), study, group, []).notes
    names = [note.split(": ")[0] for note in notes]
    assert names == ["Training fault of QBM-VAE at seed 0"] * fitted


FLAT, SOUND = np.ones((60, 8), np.float32), np.eye(60, 8, dtype=np.float32)


def test_a_setting_of_a_sweep_that_collapsed_is_named_in_log_and_report(
    tmp_path, monkeypatch, caplog
):
    sweep = small_sweep(OVERRIDES[:2])
    for name, value in {
        "train": [Run(QUIET, values, None, {}, 1.0, 1.0) for values in (SOUND, FLAT)],
        "pca_embedding": None,
        "score_seeds": ({"setting": [{"total": 0.5}] * 2}, []),
    }.items():
        monkeypatch.setattr(job, name, lambda *_, value=value, **__: value)
    measured_ = job.measure(
        job.Place(sweep, job.SweepCells(CELLS, sweep.config), "", tmp_path, StopRequest()),
        sweep.settings,
    )
    assert [len(values["notes"]) for values in measured_] == [0, 1]
    assert "Training fault of setting 1: Collapsed posterior" in caplog.text
    outcomes = Outcomes(tmp_path)
    for setting, values in zip(sweep.settings, measured_, strict=True):
        outcomes.finish(setting.number, measured(setting) | {"notes": values["notes"]})
    facts = {"source": "x", "simulated": True, "num_cells": 3, "num_genes": 2, "notes": []}
    plan = SweepPlan([Job([0, 1], sweep.paths, 1.0)], 1.0, 100.0, facts)
    sweep_report.write(tmp_path, sweep, plan)
    assert "Training fault of setting 1: Collapsed" in (tmp_path / "report.md").read_text()


def test_a_seed_of_epochs_that_collapsed_is_named_in_log_and_report(tmp_path, monkeypatch, caplog):
    def fit(trainings, cells, seeds, *, on_snapshots, **_):
        del cells
        for _, seed in seeds:  # the embedding at the last epoch is what counts
            on_snapshots(seed, {epoch: (epoch, seed) for epoch in (1, 2)})
        return [SimpleNamespace(model=SimpleNamespace(vae=None, measured=None)) for _ in seeds]

    def embed(vae, params, data):
        return (FLAT if params == (2, 1) else SOUND), None

    def score(embeddings, *_, **__):
        of_one = {metric: 0.5 for metric in ("kbet", *epochs.SHOWN)}
        failed = {name: ("beta",) if name == "1/0" else () for name in embeddings}
        return IntegrationScores(dict.fromkeys(embeddings, of_one), [], failed)

    for name, value in {"train_and_evaluate": fit, "score_embeddings": score}.items():
        monkeypatch.setattr(epochs, name, value)
    monkeypatch.setattr("qbm_jax.fitted.tasks.study_set.device_counts", lambda cells: None)
    monkeypatch.setattr(epochs, "pca_embedding", lambda *_, **__: None)
    monkeypatch.setattr(epochs.inference, "embed", embed)
    monkeypatch.setattr(epochs, "explaining", lambda *_: {})
    study = StudySet("set", CELLS, *[None] * 3, "", None, "", {})
    made = ConfigDict({"seed": 0, "num_seeds": 2, "every": 1})
    made.evaluation = ConfigDict({"max_scored_cells": 9})
    method = Method("qbmvae", "matched", Training.of({}, "gibbs", {}, TrainOptions()))
    piece = epochs.measure(made, study, method, StopRequest(), None)
    missing, note = piece["notes"]
    assert missing.startswith("qbmvae-matched: kBET failed for beta, so kbet, batch correction and")
    assert missing.endswith("total are missing at epoch/seed 1/0")
    rows = {tuple(row[:3]): row[3] for row in piece["rows"]}
    assert np.isnan(rows[1, "total", 0]) and rows[2, "total", 0] == rows[1, "total", 1] == 0.5
    assert note.startswith("Training fault of qbmvae-matched at seed 1: Collapsed")
    assert note in caplog.text
    piece |= {"dataset": "set", "method": "qbmvae"}
    plan = ComparisonPlan(made, [study], [method], {}, [])
    epochs.document(plan, Results(tmp_path, [piece], [], [])).write()
    assert "Training fault of qbmvae-matched at seed 1" in (tmp_path / "report.md").read_text()
