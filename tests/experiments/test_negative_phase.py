"""What sampler error costs: repair by sweeps, paired costs, outputs, resume, wrong configs."""

import csv
import json

import jax
import numpy as np
import pytest
from command_line import config
from laws import machine_of
from matplotlib.image import imread
from ml_collections import ConfigDict

from experiments import negative_phase
from experiments.kit import runner
from experiments.kit.options import check_options
from experiments.kit.stop import StopRequest
from experiments.negatives.phases import build_phase
from experiments.negatives.results import Found
from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import moments
from qbm_jax.samplers.chains import draw_and_sweep
from qbm_jax.training import TrainOptions

TINY = {
    "data.num_cells": 120,
    "data.num_genes": 20,
    "model.encoder_widths": (8,),
    "model.decoder_widths": (8,),
    "training.num_epochs": 2,
    "training.minibatch_size": 16,
    "training.num_chains": 16,
    "negative_phase.enumerable_latents": 4,
    "negative_phase.enumerable_phases": ("exact", "cd_1"),
    "negative_phase.enumerable_draws": 30,
    "negative_phase.repaired_phases": ("cim_raw",),
    "negative_phase.real_phases": (),
    "evaluation.posterior_draws": 1,
}  # fmt: skip


def tiny(**fields):
    return config("configs/negative_phase.py:smoke", **(TINY | fields))


@pytest.mark.slow
def test_sweeps_after_an_annealer_end_at_the_law():
    machine = machine_of(5)
    cim = samplers.build("cim", num_steps=20, calibration_gain=0.0)
    keys = jax.random.split(jax.random.key(0), 41)
    spins = np.asarray(draw_and_sweep(keys, machine, cim, 128, 5))
    assert spins.shape == (40, 6, 128, 5)
    truth = moments.exact_moments(machine)
    before, after = (moments.errors(spins[:, k], machine, truth)["pair_error"] for k in (0, 5))
    assert after < 0.02 < 0.1 < before


def test_a_training_with_a_fault_leaves_the_comparison():
    phases = {"best": [{"elbo": -1.0, "fault": ""}], "worse": [{"fault": "energy is not finite"}]}
    assert Found(None, {}, phases).cost("worse").num_seeds == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("negative_phase")
    runner.run(negative_phase, tiny(), workdir, StopRequest())
    return workdir


@pytest.mark.slow
def test_a_run_writes_results_report_and_figures(finished):
    rows = list(csv.DictReader((finished / "results.csv").open()))
    settings = {(row["phase"], row["seed"]) for row in rows}
    assert settings == {(p, s) for p in ("exact", "cd_1") for s in "01"}
    of_one = {row["metric"]: row["value"] for row in rows if row["phase"] == "cd_1"}
    assert float(of_one["elbo"]) < 0 < float(of_one["log_z"])
    assert {"pair_error", "beta_eff", "residual", "total_variation"} <= of_one.keys()
    report = (finished / "report.md").read_text()
    assert "SIMULATED" in report.splitlines()[0]
    assert "* cd 1: " in report
    assert "cim raw on the reference's machine" in report
    for figure in (finished / "figures").iterdir():
        assert f"figures/{figure.name}" in report
        assert imread(figure).size


@pytest.mark.slow
def test_a_finished_training_is_read_and_not_run_again(finished, monkeypatch):
    missing = finished / "results" / "enumerable-cd_1-1.json"
    other = finished / "results" / "enumerable-cd_1-0.json"
    before, kept = json.loads(missing.read_text()), other.stat().st_mtime_ns
    missing.unlink()
    trained = []
    original = negative_phase.measure

    def counted(plan, size, name, seed, key):
        trained.append((name, seed))
        return original(plan, size, name, seed, key)

    monkeypatch.setattr(negative_phase, "measure", counted)
    runner.run(negative_phase, tiny(), finished, StopRequest())
    assert trained == [("cd_1", 1)]
    after = json.loads(missing.read_text())
    assert after["metrics"] == before["metrics"]  # the same numbers again
    assert other.stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"negative_phase.enumerable_phases": ("cim_raw", "exact")}, "exact in law"),
        ({"negative_phase.enumerable_phases": ("exact", "nothing")}, "nothing"),
        ({"negative_phase.enumerable_phases": ()}, "at least one size"),
        ({"phases.cd_1.sampler": "auxiliary_cim", "phases.cd_1.options": {}}, "gibbs"),
        ({"training.num_chains": 17}, "minibatch_size"),
        ({"phases.exact.num_chains": 1}, "above 1"),
        ({"negative_phase.repaired_phases": ("no_couplings",)}, "no_couplings"),
        ({"negative_phase.enumerable_draws": 0}, "enumerable_draws"),
        ({"model.prior": "gaussian"}, "boltzmann"),
    ],
)
def test_a_bad_config_is_one_line(tmp_path, fields, words):
    with pytest.raises(InputError, match=words) as error:
        runner.run(negative_phase, tiny(**fields), tmp_path, StopRequest())
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_every_phase_of_the_full_config_can_be_built():
    made = config("configs/negative_phase.py")
    options = check_options(made)
    for name in made.phases:
        assert build_phase(made, name, options).num_chains >= 2


def test_chains_from_data_take_the_noise_of_their_stream():
    made = tiny()
    made.phases.other = ConfigDict(made.phases.cd_1.to_dict() | {"noise_stream": 3})
    params, key = machine_of(4), jax.random.key(1)
    drawn = []
    for name in ("cd_1", "other"):
        sampler = build_phase(made, name, TrainOptions(minibatch_size=16, num_chains=16)).sampler
        state = sampler.init(jax.random.key(0), params, 16)
        drawn.append(sampler.sample(key, params, state)[0])
    assert not np.array_equal(*drawn)
