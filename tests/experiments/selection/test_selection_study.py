"""The study of selection: what it refuses, its methods, its audit, and a run of it."""

import csv
from itertools import combinations

import numpy as np
import pytest
from matplotlib.image import imread
from refusals import study_refuses

from configs import selection as configs
from experiments.comparison import trainings
from experiments.comparison.methods import methods as models
from experiments.kit import runner
from experiments.kit.stop import StopRequest
from experiments.selection import study, tasks
from experiments.selection.trained import TrainedGroup
from qbm_jax.fitted.tasks.study_set import Group, fold_cells
from qbm_jax.runtime.keys import seed_of
from qbm_jax.runtime.optional import installed
from qbm_jax.selection import audit, objective
from qbm_jax.selection.methods import METHODS, SelectionMethod
from qbm_jax.training import TrainingDiverged

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(40, 3))
LABELS = np.repeat(["a", "b"], 20)
QUICK = {"num_chains": 4, "num_steps": 10}
BAD = {
    "way": ({"ways": ("random", "magic")}, "unknown config.ways 'magic'"),
    "classifier": ({"classifiers": ("svm",)}, "unknown config.classifiers 'svm'"),
    "seeds": ({"num_seeds": 1}, "config.num_seeds must be at least 2"),
    "solver": ({"solver.num_chains": 0}, "config.solver.num_chains must be a whole number of at"),
    "no way": ({"ways": ()}, "config.ways and config.classifiers must name one or more each"),
    "no classifier": ({"classifiers": ()}, "config.ways and config.classifiers must name"),
    "budget": ({"budgets": (12, 0)}, "config.budgets must be a whole number of at least 1, got 0"),
    "a budget below 0": ({"budgets": (-5,)}, "config.budgets must be a whole number"),
    "a budget that is text": ({"budgets": ("a",)}, "config.budgets must be .* got 'a'"),
    "half a cell": ({"budgets": (1.5,)}, "config.budgets must be .* got 1.5"),
    "training budget": ({"training_budgets": (0,)}, "config.training_budgets must be a whole"),
    "large instance": ({"audit.small": (200, 4)}, "config.audit.small: cells .* at most 80, got"),
    "all of an instance": ({"audit.small": (10, 10)}, "config.audit.small: chosen .* at most 9"),
    "half an instance": ({"audit.small": (10,)}, "config.audit.small: expected cells and chosen"),
    "many choices": ({"audit.small": (40, 20)}, "config.audit.small: .* at most 5000000 choices"),
    "utility without a model": (
        {"training_methods": ("qubo_entropy",)}, "config.training_methods 'qubo_entropy'; choose"),
    "utility of images": ({"images.methods": ("qubo_elbo",)}, "config.images.methods 'qubo_elbo'"),
    "two models": ({"methods": ("qbmvae", "bernoulli_vae")}, "one model of spins, got qbmvae-mat"),
    "two settings": (
        {"methods": ("vae",), "settings": ("matched", "default")}, "one model of spins, got vae-m"),
    "no spins": ({"methods": ("gaussian_vae",)}, "one model of spins, got gaussian_vae-matched"),
    "no model": ({"methods": ("pca",)}, "must name one model of spins, got pca-default"),
    "steps": ({"num_steps": -1}, "config.num_steps must be at least 0"),
    "draws": (
        {"evaluation.posterior_draws": 0}, "config.evaluation.posterior_draws must be at least 1"),
    "temperatures": (
        {"evaluation.log_z_temperatures": 0}, "config.evaluation.log_z_temperatures .* 0"),
    "few images": ({"images.pool": 49}, "config.images.pool must be at least 50, got 49"),
    "image budget": (
        {"images.pool": 60, "images.budgets": (31,)},
        "config.images.budgets must be .* at most 30, got 31"),
    "no image": ({"images.budgets": (0,)}, "config.images.budgets must be a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_run_is_refused_before_anything_is_written(case, tmp_path):
    study_refuses(study, configs.get_config("smoke"), *BAD[case], tmp_path)


def test_a_set_whose_model_diverges_to_the_last_is_a_note_in_the_report(tmp_path, monkeypatch):
    """Its models are not trained again for every piece, and the report is written."""
    calls = []

    def diverge(*_, **__):
        calls.append(1)
        raise TrainingDiverged("training of seed 1 diverged at step 3", 1)

    monkeypatch.setattr(trainings, "train_group", diverge)
    monkeypatch.setattr(tasks, "train_and_evaluate", diverge)
    config = configs.get_config("smoke")
    config.images.budgets = ()
    plan = study.check(config)
    pieces = [
        work.compute(None) | work.names | {"section": work.section}
        for work in study.pieces(plan, StopRequest())
    ]
    table = [row for piece in pieces for row in study.rows(plan, piece)]
    assert not table
    number = len(plan.comparison.studies)
    assert len(calls) == number + len([s for s in plan.comparison.studies
                                       if s.name in config.training_sets])  # fmt: skip
    summary = study.summary(plan, table)
    study.document(plan, runner.Results(tmp_path, pieces, table, summary)).write()
    told = (tmp_path / "report.md").read_text()
    for lacking in ("choices of seed 0", "choices of seed 1", "audit"):
        assert f"has no {lacking}: training of seed 1 diverged at step 3." in told


@pytest.mark.parametrize("field", ["pool", "test"])
def test_more_images_than_the_file_has_are_refused(field, tmp_path):
    some_images(tmp_path)
    fields = {"folder": str(tmp_path), "images.budgets": (8,), "images.pool": 90, "images.test": 30}
    fields[f"images.{field}"] += 1
    words = f"config.images.{field} must be .* at most {fields[f'images.{field}'] - 1}, got"
    study_refuses(study, configs.get_config("smoke"), fields, words, tmp_path)


@pytest.fixture(scope="module")
def plan():
    """Of the smoke run, but for ways that are of one part alone."""
    config = configs.get_config("smoke")
    config.training_methods, config.images.methods = ("herding", "random"), ("leverage",)
    config.ways = ("random", "mmd_greedy")
    return study.check(config)


def fakes(plan):
    """What stands for the models of a set: spins and bounds at random."""
    (cells,), rng = plan.comparison.studies, np.random.default_rng(0)
    number = cells.cells.num_cells
    folds = [fold_cells(cells, seed, plan.config.seed) for seed in range(2)]
    spins = np.tanh(rng.normal(size=(2, number, 8)))
    group = Group("fake", [], list(spins), list(rng.normal(size=(2, number))), folds, [], 0.0)
    return cells, TrainedGroup(group, rng.normal(size=(2, number)))


def test_every_field_of_ways_builds_its_own(plan, monkeypatch):
    assert set(plan.methods) == {"random", "mmd_greedy", "herding", "leverage"}
    asked = []
    monkeypatch.setattr(tasks, "labels_and_sketches", lambda *given: asked.append(given[3]))
    monkeypatch.setattr(plan.trained, "of", lambda *given: None)
    for work in study.pieces(plan, StopRequest()):
        if work.section == "labels":
            work.compute(None)
    assert [list(each) for each in asked] == [["random", "mmd_greedy"]] * 2


def test_choices_depend_on_the_seed_of_the_config_and_the_training(plan, tmp_path):
    cells, trained = fakes(plan)
    some_images(tmp_path)
    told = []

    def choose(request):
        told.append(request.seed)
        return np.arange(request.number)

    for seed in (0, 1):
        config = plan.config.copy_and_resolve_references()
        config.update({"seed": seed, "classifiers": ("1nn",), "budgets": (12,)})
        config.images.update({"budgets": (8,), "pool": 60, "test": 20, "methods": ("x",)})
        ways = {"x": SelectionMethod(choose, "baseline")}
        for number in (0, 1):
            tasks.labels_and_sketches(config, cells, trained, ways, number)
        tasks.images(config, str(tmp_path / "mnist.npz"), ways)
    expected = [seed_of(seed, "choices", number) for seed in (0, 1) for number in (0, 1)]
    assert len(set(expected)) == 4
    of_images = [told[4:6], told[10:12]]
    assert np.concatenate(of_images).tolist() == expected
    assert [*told[:4:2], *told[6:10:2]] == [*told[1:4:2], *told[7:10:2]] == expected


@pytest.mark.parametrize("variant", ["full", "smoke"])
def test_one_model_makes_the_embedding(variant):
    config = configs.get_config(variant)
    (model,) = models(config)
    assert model.name == "qbmvae" and set(config.ways) <= set(METHODS)


@pytest.mark.parametrize("utility", [None, POINTS[:, 0]], ids=["off", "on"])
def test_the_audit_measures_the_way_to_the_optimum(utility):
    rows = list(audit.small_instances(POINTS, 2, QUICK, (8, 3), 0, utility))
    lost = [value for _, metric, _, value in rows if metric == "lost"]
    bounds = ("bound", audit.GUARANTEE)
    below = [value for name, metric, _, value in rows if metric == "lost" and name in bounds]
    assert len(below) == 4 and max(below) <= 1e-9 and min(set(lost) - set(below)) >= -1e-9
    assert {name for name, *_ in rows} >= {"greedy", "swap", "lagrange", "penalty_4_bits"}
    energies = {(name, place): v for name, metric, place, v in rows if metric == "energy"}
    for name, metric, place, value in rows:
        if metric == "lost":
            way = energies["random", place] - energies["exact", place]
            again = (energies[name, place] - energies["exact", place]) / way
            assert value == pytest.approx(again, abs=1e-9)


def test_the_energies_of_an_audit_are_those_of_its_choices():
    plain, weighed = (
        [v for n, m, _, v in audit.small_instances(POINTS, 2, QUICK, (8, 3), 0, u)
         if (n, m) == ("exact", "energy")]
        for u in (None, POINTS[:, 0])
    )  # fmt: skip
    for place in range(2):
        rows = np.random.default_rng([0, place]).choice(40, 8, replace=False)
        utility = (POINTS[rows, 0] - POINTS[rows, 0].mean()) / POINTS[rows, 0].std() / 9
        pool = [objective(POINTS[rows], each) for each in combinations(range(8), 3)]
        gains = [utility[list(each)].sum() for each in combinations(range(8), 3)]
        assert plain[place] == pytest.approx(min(pool), abs=1e-9)
        assert weighed[place] == pytest.approx(min(np.subtract(pool, gains)), abs=1e-9)


@pytest.mark.parametrize("utility", [None, POINTS[:, 0]], ids=["off", "on"])
def test_the_audit_at_the_studys_size_has_energies_of_all_solvers(utility):
    rows = list(audit.large_instance(POINTS, 6, QUICK, 0, utility))
    runs = {(name, place): v for name, metric, place, v in rows if metric == "energy"}
    assert {name for name, _ in runs} >= {"random", "greedy", "swap", "lagrange_8_bits"}
    below = [runs.pop((name, 0)) for name in ("bound", audit.GUARANTEE)]
    assert max(below) <= min(runs.values())
    assert sum(name == "swap" for name, _ in runs) == audit.RUNS
    if installed("dwave.samplers"):  # slow at the real size: once, and without a utility alone
        assert (("sa", 0) in runs) == (("tabu", 0) in runs) == (utility is None)


def some_images(folder):
    """A file of 90 and 30 images of two kinds."""
    rng = np.random.default_rng(0)
    types = {"train": np.arange(90) % 2, "test": np.arange(30) % 2}
    arrays = {f"{part}_labels": kinds.astype(np.uint8) for part, kinds in types.items()}
    for part, kinds in types.items():
        noise = rng.integers(0, 60, (len(kinds), 28, 28))
        arrays[f"{part}_images"] = (noise + 150 * kinds[:, None, None]).astype(np.uint8)
    np.savez(folder / "mnist.npz", **arrays)


def test_labels_of_images_on_a_tiny_file(tmp_path):
    some_images(tmp_path)
    config = configs.get_config("smoke")
    ways, config.classifiers = ("random", "facility_greedy", "qubo_mmd_swap"), ("1nn",)
    config.images.update({"budgets": (8, 12), "pool": 60, "test": 20, "block_size": 30})
    config.images.methods = (*ways, "mmd_greedy")
    methods = {name: METHODS[name] for name in ways}  # what is not there is left out
    rows = tasks.images(config, str(tmp_path / "mnist.npz"), methods)["rows"]
    assert len(rows) == len(set(row[:5] for row in rows)) == 2 * 2 * 3 * 2
    assert {row[0] for row in rows} == set(ways) and {row[1] for row in rows} == {"pca-8", "pca-12"}
    assert {row[2] for row in rows} == {"labels"} and {row[4] for row in rows} == {0, 1}
    assert min(row[5] for row in rows if row[3] == "1nn_accuracy") > 0.9  # two kinds far apart


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
