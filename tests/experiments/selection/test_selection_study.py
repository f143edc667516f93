"""The study of selection: what it refuses, its methods, its verdict, and a run of it."""

import csv
import re

import numpy as np
import pytest
from matplotlib.image import imread
from refusals import study_refuses

from configs import selection as configs
from experiments.comparison.methods import methods as models
from experiments.kit import runner
from experiments.kit.stop import StopRequest
from experiments.selection import audit, report, study
from experiments.selection.methods import METHODS, Request, available
from experiments.selection.scores import sketch_scores
from experiments.selection.standings import standings

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(40, 3))
LABELS = np.repeat(["a", "b"], 20)
QUICK = {"num_chains": 4, "num_steps": 10}
BAD = {
    "way": ({"ways": ("random", "magic")}, "unknown method 'magic' in config.ways"),
    "classifier": ({"classifiers": ("svm",)}, "unknown classifier 'svm' in config.classifiers"),
    "seeds": ({"num_seeds": 1}, "config.num_seeds must be at least 2"),
    "solver": ({"solver.num_chains": 0}, "num_chains must be a whole number of at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_run_is_refused_before_anything_is_written(case, tmp_path):
    study_refuses(study, configs.get_config("smoke"), *BAD[case], tmp_path)


@pytest.mark.parametrize("variant", ["full", "smoke"])
def test_one_model_makes_the_embedding(variant):
    config = configs.get_config(variant)
    (model,) = models(config)
    assert model.name == "qbmvae" and set(config.ways) <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_chooses_so_many_distinct_cells(name):
    found, notes = available([name])
    if not found:
        pytest.skip(notes[0])
    utilities = dict.fromkeys(("entropy", "free_energy", "elbo", "disagreement"), POINTS[:, 0])
    request = Request(POINTS, 7, 3, LABELS, utilities, QUICK)
    chosen = np.asarray(found[name].choose(request))
    assert len(chosen) == len(np.unique(chosen)) == 7
    assert chosen.min() >= 0 and chosen.max() < 40


def test_scores_of_a_sketch():
    points = np.array([[0.0], [1.0], [2.0], [10.0]])
    found = sketch_scores(points, np.array([0, 3]), np.array(list("aaab")), np.array(list("xyxy")))
    assert found["types_found"] == 1 and np.isnan(found["rare_recall"])
    assert found["hausdorff"] * 5 == pytest.approx(2)  # the median distance is 5
    assert found["batch_imbalance"] == 0
    whole = sketch_scores(points, np.arange(4), np.array(list("aaab")), np.array(list("xyxy")))
    assert whole["mmd"] == pytest.approx(0, abs=1e-12) and found["mmd"] > 0


def rows_of(gain):
    noise = np.random.default_rng(1).normal(size=(6, 3))
    for seed in range(6):
        for place, name in enumerate(("random", "facility_greedy", "qubo_mmd_swap")):
            value = 0.5 + 0.01 * noise[seed, place] + (gain if place == 2 else 0)
            yield {"dataset": "x", "method": name, "setting": "pca-10", "task": "labels",
                   "metric": "rf_f1_macro", "seed": seed, "value": value}  # fmt: skip


def test_a_utility_is_held_against_the_same_qubo_without_it():
    names = {"facility_greedy": "qubo_mmd_bifurcation", "qubo_mmd_swap": "qubo_entropy"}
    rows = [{**row, "method": names.get(row["method"], row["method"])} for row in rows_of(0.3)]
    text = report.utility_answer(rows)
    assert re.search(r"without \(qubo_mmd_bifurcation\): entropy \*\*\+0\.[23]\d\d \(", text), text
    assert report.utility_answer(list(rows_of(0.3))) == ""


@pytest.mark.parametrize(
    ("gain", "words"),
    [(0.3, "Greedy is not as good: qubo_mmd_swap"), (-0.3, "Greedy is as good as far"),
     (0.0, "Greedy is as good as far")],
)  # fmt: skip
def test_the_first_line_says_whether_greedy_is_as_good(gain, words):
    rows = list(rows_of(gain))
    assert report.verdict(rows).startswith(words)
    found = {each.method: each for each in standings(rows)}
    own = found["qubo_mmd_swap"]
    assert own.to_greedy == pytest.approx(gain, abs=0.02) and own.num_seeds == 6
    assert own.best in ("random", "facility_greedy")
    assert np.isnan(found["random"].to_random)


def test_the_audit_measures_the_way_to_the_optimum():
    rows = list(audit.small_instances(POINTS, 2, QUICK, (8, 3), 0))
    lost = [value for _, metric, _, value in rows if metric == "lost"]
    by_bound = [value for name, metric, _, value in rows if (name, metric) == ("bound", "lost")]
    assert max(by_bound) <= 1e-9 and min(set(lost) - set(by_bound)) >= -1e-9
    assert {name for name, *_ in rows} >= {"greedy", "swap", "lagrange", "penalty_4_bits"}


def test_correlations_are_of_feasible_choices():
    rows, shown = audit.correlations(
        POINTS, LABELS, (POINTS, LABELS), 5, 8, {"u": POINTS[:, 0]}, seed=0
    )
    assert {name for name, *_ in rows} == {"mmd", "facility", "distance", "mmd_u"}
    assert len(shown["energy_mmd"]) == 8


@pytest.mark.slow
def test_the_study_runs_and_goes_on(smoke_of):
    config, workdir = configs.get_config("smoke"), smoke_of("selection")
    text = (workdir / "report.md").read_text()
    assert text.splitlines()[0].startswith("# Greedy is ")
    with (workdir / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(study.COLUMNS)
    assert {row["task"] for row in rows} == {"labels", "sketch", "audit", "training"}
    assert imread(workdir / "figures" / "simulated-labels.png").size
    before = (workdir / "results.csv").read_bytes()
    runner.run(study, config, workdir, StopRequest())
    assert (workdir / "results.csv").read_bytes() == before
