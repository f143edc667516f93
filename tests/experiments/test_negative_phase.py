"""What sampler error costs: repair by sweeps, paired costs, outputs, resume, wrong configs."""

import csv
import json
import math

import jax
import numpy as np
import pytest
from command_line import config
from laws import machine_of
from matplotlib.image import imread
from ml_collections import ConfigDict

from experiments import negative_phase
from experiments.kit import runner
from experiments.kit.stop import StopRequest
from experiments.negatives import figures
from experiments.negatives.phases import NO_COUPLINGS, Size, build_phase
from experiments.negatives.results import SizeResults
from qbm_jax.errors import InputError
from qbm_jax.fitted.trainings import train_options
from qbm_jax.study.estimates import estimate
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


def test_a_training_with_a_fault_leaves_the_comparison():
    phases = {"best": [{"elbo": -1.0, "fault": ""}], "worse": [{"fault": "energy is not finite"}]}
    assert SizeResults(None, {}, phases).cost("worse").num_seeds == 0


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
    options = train_options(made.training.to_dict())
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


def fabricated():
    """Two seeds of five phases of four spins, the first the reference; repairs on its machine."""
    fields = {
        "exact": {"sampler": "exact", "options": {}}, "cd_1": {"sampler": "gibbs", "options": {}},
        "cim": {"sampler": "cim", "options": {"num_steps": 9}},
        "cim_finish_5": {"sampler": "cim", "options": {"num_steps": 9, "finishing_sweeps": 5}},
        "no_couplings": {"sampler": NO_COUPLINGS, "options": {}},
    }  # fmt: skip
    costs, errors = (0, 2, 5, 1, 6), (0.01, 0.1, 0.4, 0.05, 0.0)
    seeds = {
        name: [
            {"elbo": -100.0 - seed - cost, "fault": "", "pair_error": error, "beta_eff": 1 - error,
             "total_variation": 2 * error, "total_variation_floor": 0.03}
            for seed in (0, 1)
        ]
        for name, cost, error in zip(fields, costs, errors, strict=True)
    }  # fmt: skip
    for seed in seeds["exact"]:
        for sweeps, error in ((0, 0.4), (2, 0.1)):
            seed |= {f"repair/cim/{sweeps}/pair_error": error,
                     f"repair/cim/{sweeps}/total_variation": 2 * error}  # fmt: skip
    return SizeResults(Size("enumerable", 4, 30, dict.fromkeys(fields)), fields, seeds)


def points(axes):
    """The point of each phase by its label: its dose and its cost."""
    return {bars.get_label(): bars[0].get_xydata()[0].tolist() for bars in axes.containers}


def test_costs_stand_over_the_error_the_distance_and_the_temperature_that_were_measured():
    figure = figures.draw_dose_response([fabricated()], True)
    pairs, law, temperature = figure.axes
    costs = {"exact": 0, "cd 1": 2, "cim": 5, "cim finish 5": 1}
    for axes, factor, reference in ((pairs, 1, 0.01), (law, 2, 0.02), (temperature, 1, 0.01)):
        errors = {"exact": reference, "cd 1": factor * 0.1, "cim": factor * 0.4}
        found = points(axes)
        assert {name: cost for name, (_, cost) in found.items()} == pytest.approx(costs)
        assert {name: found[name][0] for name in errors} == pytest.approx(errors)
    vertical = [line for line in law.lines if line.get_label() == figures.FLOOR]
    assert [line.get_xdata()[0] for line in vertical] == [0.03] and law.get_xscale() == "log"
    (level,) = [line for line in pairs.lines if "J = 0" in line.get_label()]
    assert level.get_ydata()[0] == 6
    joined = [line.get_xydata().tolist() for line in pairs.lines if line.get_linestyle() == "-"]
    assert [[0.4, 5], [0.05, 1]] in joined  # of one family, without and with sweeps
    look = figures.looks([fabricated()])
    assert look["cim"]["color"] == look["cim_finish_5"]["color"] != look["cd_1"]["color"]
    assert "SIMULATED" in figure.get_suptitle()


def test_repair_shows_what_was_trained_and_what_was_swept_on_the_references_machine():
    cost, pairs, law = figures.draw_repair([fabricated()], False).axes
    (trained,) = cost.containers
    np.testing.assert_allclose(trained[0].get_xydata(), [[0, 5], [5, 1]])
    own, repaired = pairs.containers
    np.testing.assert_allclose(own[0].get_xydata(), [[0, 0.4], [5, 0.05]])
    np.testing.assert_allclose(repaired[0].get_xydata(), [[0, 0.4], [2, 0.1]])
    (repaired,) = law.containers
    np.testing.assert_allclose(repaired[0].get_xydata(), [[0, 0.8], [2, 0.2]])
    assert repaired.get_label() == "cim, reference's machine"


def test_negative_phases_tell_students_interval_and_what_they_cost():
    found, error = estimate([1.0, 2.0, 6.0, math.nan, None]), math.sqrt(7 / 3)
    t = 4.302652729911275  # 97.5 % quantile of Student's t with 2 degrees of freedom
    assert found == pytest.approx((3.0, math.sqrt(7), error, t * error, 3))
    phases = {"exact": [{"elbo": v} for v in (-10.0, -11.0)],
              "x": [{"elbo": v} for v in (-12.0, -15.0)]}  # fmt: skip
    found = SizeResults(None, {}, phases)
    assert found.cost("x").mean == 3.0
    assert found.cost("exact").mean == 0.0
