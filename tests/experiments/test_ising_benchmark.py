"""The Ising benchmark: outputs, resume, missing data, and the numbers that it reports."""

import csv
import itertools
import json
import logging
import math
import re

import jax
import numpy as np
import pytest
from matplotlib.image import imread
from ml_collections import ConfigDict

from configs import ising_benchmark as configs
from experiments import ising_benchmark
from experiments.ising import cells as ising_cells
from experiments.ising import report as ising_report
from experiments.ising.families import load_families
from experiments.ising.instances import Instance, load
from experiments.ising.summary import (
    Pilot,
    best_within,
    counts,
    expected_best,
    over_instances,
    summarise_run,
    tune,
)
from experiments.kit.workdir import flatten
from qbm_jax import problems as ising
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import energy

LEVELS = (0.9, 1.0)
GRAPHS = {  # the cube's edges, and those of the 8-cycle with one negative and four chords
    "G1": [(i, i ^ bit, 1) for i in range(8) for bit in (1, 2, 4) if i < i ^ bit],
    "G2": [(i, (i + 1) % 8, -1 if i == 0 else 1) for i in range(8)]
    + [(i, i + 4, 1) for i in range(4)],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of files as the benchmark looks for them."""
    root = tmp_path_factory.mktemp("ising")
    (root / "gset").mkdir()
    for name, edges in GRAPHS.items():
        lines = "".join(f"{i + 1} {j + 1} {w}\n" for i, j, w in edges)
        (root / "gset" / f"{name}.txt").write_text(f"8 {len(edges)}\n{lines}")
    (root / "gset" / "best_known.csv").write_text("instance,cut\nG1,12\nG2,10\n")
    return root


def tiny(folder="", **fields):
    """Two small families and two samplers; the sparse family takes one of them."""
    config = configs.get_config("smoke")
    config.data_dir = str(folder)
    config.levels, config.wall_seconds = LEVELS, (1e-9, 1.0)
    config.replicas, config.calls, config.pilot_calls = 8, 2, 1
    config.families = ConfigDict({
        "sk": configs.family("SK", ("sk-10-1", "sk-10-2"), ("sk-10-0",), (4, 8)),
        "graphs": configs.family("Graphs", ("G2",), ("G1",), (4,)),
    })  # fmt: skip
    config.samplers = ConfigDict({
        "sweeps": configs.sampler("gibbs", "strength", (0.1, 6.0), couplings="dense"),
        "machine": configs.sampler("bifurcation", "coupling", (0.5,),
                                   {"variant": "ballistic", "normalised": True,
 "calibration_gain": 0.0},
                                   products_per_step=2.0, max_products=4),
    })  # fmt: skip
    config.reference = ConfigDict({
        "sampler": "sweeps", "value": 6.0, "products": 50, "replicas": 8
    })  # fmt: skip
    config.update_from_flattened_dict(fields)
    return config


def never():
    return False


def refusal(function, *arguments):
    with pytest.raises(InputError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The workdir of a finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    ising_benchmark.run(tiny(folder), workdir, never)
    return workdir


def results_of(workdir):
    return json.loads((workdir / "results.json").read_text())


def energies_of(workdir):
    """Energies of all cells by path: what does not depend on the clock."""
    return {
        str(path.relative_to(workdir)): [
            r["energies"] for r in json.loads(path.read_text())["runs"]
        ]
        for path in (workdir / "cells").rglob("*.json")
    }


def test_a_run_writes_report_table_and_figures_that_can_be_read(finished):
    assert {path.name for path in finished.iterdir() if path.name != ".lock"} == {
        "config.json", "cells", "results.json", "results.csv", "report.md", "figures"
    }  # fmt: skip
    report = (finished / "report.md").read_text()
    figures = list((finished / "figures").iterdir())
    assert len(figures) == 5
    assert all(imread(path).size and f"figures/{path.name}" in report for path in figures)
    rows = list(csv.DictReader((finished / "results.csv").open()))
    assert len(rows) == len(results_of(finished)["rows"]) == 2 * (2 + 1) + 1


def test_the_report_says_what_best_known_means_and_where_it_is_from(finished):
    report = (finished / "report.md").read_text()
    assert re.search(r"\| G2 \| Graphs \| 8 \| cut \| 10 \| gset/best_known.csv", report)
    assert re.search(r"\| sk-10-1 \| SK \| 10 \| -energy \| \d+ \| best found by any", report)
    assert "not a proven optimum" in report
    for text in ("device", "cores", "jax", "compile, s", "tuned on sk-10-0"):
        assert text in report


def test_rows_repeat_what_the_cells_hold(finished, folder):
    results = results_of(finished)
    assert {row["sampler"] for row in results["rows"] if row["family"] == "graphs"} == {"machine"}
    for row in results["rows"]:
        path = finished / "cells" / f"judged-{row['family']}" / row["instance"]
        cell = json.loads((path / f"{row['sampler']}.json").read_text())
        (run,) = (run for run in cell["runs"] if run["budget"] == row["budget"])
        best = next(
            one["best"]
            for family in results["families"]
            for one in family["held_out"]
            if one["name"] == row["instance"]
        )
        values = load(row["instance"], folder).value(np.array(run["energies"]))
        for level, successes, calls in zip(
            LEVELS, row["successes"], row["call_successes"], strict=True
        ):
            assert successes == (values >= level * best - 1e-6).sum()
            assert calls == (values >= level * best - 1e-6).any(axis=1).sum()
        assert row["best"] == values.max() / best
        assert row["median"] == pytest.approx(np.median(values) / best)
        assert row["seconds_per_call"] == np.median(run["seconds"])


def test_best_found_is_the_best_of_all_cells_and_here_the_ground_state(finished):
    results = results_of(finished)
    (family,) = (f for f in results["families"] if f["name"] == "sk")
    for one in family["held_out"]:
        params = load(one["name"], None).params
        bits = (np.arange(2**10)[:, None] >> np.arange(10)[None, :]) & 1
        assert one["best"] == -float(energy(params, (2.0 * bits - 1).astype(np.float32)).min())


def test_pilots_are_cold_and_equal_products_are_kept(finished):
    for row in results_of(finished)["rows"]:
        assert row["products"] == row["budget"]  # the machine's step costs two
        if row["sampler"] == "sweeps":
            assert row["value"] == 6.0  # 0.1 is far above the glass temperature
        else:
            assert row["budget"] == 4  # max_products


def test_pilots_and_held_out_instances_have_different_random_numbers(folder, tmp_path):
    config = tiny(folder)
    families, _ = load_families(config)
    table = ising_cells.entries(config)
    cells = list(ising_benchmark.pilot_cells(config, tmp_path, families, table))
    tuned = {(f.name, e.label): tune([], (), ()) for f in families for e in table}
    cells += ising_benchmark.held_out_cells(config, tmp_path, families, table, tuned)
    keys = {cell.path.parts[-3].split("-")[0]: str(cell.plan.key) for cell in cells}
    assert len(set(keys.values())) == len(keys) == 3


def test_a_run_goes_on_where_it_was_stopped_and_repeats_no_cell(
    finished, folder, tmp_path, monkeypatch
):
    asked = itertools.count()
    with pytest.raises(KeyboardInterrupt):
        ising_benchmark.run(tiny(folder), tmp_path, lambda: next(asked) == 5)
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").rglob("*.json")}
    assert len(done) == 5
    assert not (tmp_path / "report.md").exists()
    measured = []
    measure = ising_cells.measure
    monkeypatch.setattr(
        ising_cells, "measure", lambda path, *rest: (measured.append(path), measure(path, *rest))
    )
    ising_benchmark.run(tiny(folder), tmp_path, never)
    assert not set(measured) & set(done)
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert energies_of(tmp_path) == energies_of(finished)


def test_a_finished_run_only_makes_its_report_anew(finished, folder, monkeypatch):
    monkeypatch.setattr(ising_cells, "measure", None)
    before = (finished / "report.md").read_text()
    (finished / "report.md").unlink()
    ising_benchmark.run(tiny(folder), finished, never)
    assert (finished / "report.md").read_text() == before


def test_a_workdir_of_other_instances_is_refused(finished, folder, tmp_path):
    workdir = tmp_path / "other"
    workdir.mkdir()
    (workdir / "config.json").write_text((finished / "config.json").read_text())
    changed = tiny(folder)
    changed.families.sk.held_out = ("sk-10-1", "sk-10-3")
    assert "different data" in refusal(ising_benchmark.run, changed, workdir, never)


def test_a_damaged_cell_is_refused_with_its_path(finished, tmp_path):
    path = tmp_path / "cell.json"
    for text in ("", "[]", '{"runs": [{}]}'):
        path.write_text(text)
        assert "cell.json is damaged" in refusal(ising_cells.read, path)
    assert "results.json" in refusal(ising_report.write, tmp_path)


def test_missing_files_are_skipped_and_the_report_and_log_say_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("QBM_JAX_SHARED_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(logging.getLogger("qbm_jax"), "propagate", True)
    config = tiny()
    del config.samplers["machine"]
    with caplog.at_level(logging.WARNING, "qbm_jax"):
        ising_benchmark.run(config, tmp_path / "run", never)
    report = (tmp_path / "run" / "report.md").read_text()
    for text in (report, caplog.text):
        assert "Skipped: G1 of family graphs: no folder of Ising files" in text
        assert "the whole family graphs" in text
    assert "sk-10-1" in report


def test_one_missing_file_leaves_the_rest_of_its_family(folder):
    config = tiny(folder)
    config.families.graphs.held_out = ("G2", "G77", "K2000")
    families, notes = load_families(config)
    graphs = families[0]
    assert [instance.name for instance in graphs.held_out] == ["G2"]
    assert any("no file gset/G77.txt" in note for note in notes)
    assert any("no file k2000/K2000.npz" in note for note in notes)


def test_a_family_may_be_tuned_on_the_pilots_of_another(folder):
    config = tiny(folder)
    config.families.more = ConfigDict(configs.family("More", ("sk-12-1",), tuned_on="sk"))
    families, _ = load_families(config)
    (more,) = (family for family in families if family.name == "more")
    assert [pilot.name for pilot in more.pilots] == ["sk-10-0"]
    assert more.products == (4, 8)


WRONG = {
    "data_dir": ("/no/such/folder", "expected a folder"),
    "replicas": (0, "replicas"),
    "calls": (0, "calls"),
    "levels": ((0.9, 1.5), "fractions up to 1"),
    "wall_seconds": ((), "wall_seconds"),
    "families.sk.pilots": ((), "expected pilots"),
    "families.sk.held_out": (("sk-10-0",), "no pilots, got"),
    "families.sk.products": ((0,), "at least 1"),
    "families.sk.tuned_on": ("other", "no family is called 'other'"),
    "families.graphs.held_out": (("H7",), "unknown instance 'H7'"),
    "samplers.sweeps.sampler": ("gibs", "gibs"),
    "samplers.sweeps.tuned": ("heat", "heat"),
    "samplers.sweeps.grid": ((), "grid"),
    "samplers.sweeps.products_per_step": (0.0, "products_per_step"),
    "samplers.sweeps.couplings": ("sparse", "sparse"),
    "reference.sampler": ("none", "'none' is none of"),
    "reference.products": (0, "products"),
}


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_config_is_refused_before_anything_is_written(field, folder, tmp_path):
    value, words = WRONG[field]
    config = tiny(folder)
    with config.ignore_type():
        config.update_from_flattened_dict({field: value})
    assert words in refusal(ising_benchmark.run, config, tmp_path / "run", never)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("variant", ["full", "smoke"])
def test_configs_build_every_sampler_and_know_every_instance(variant, folder):
    config = configs.get_config(variant)
    ising_benchmark.check_config(config)
    assert config.experiment == "ising_benchmark"
    for family in config.families.values():
        for name in (*family.pilots, *family.held_out):
            assert isinstance(load(name, folder), Instance | str)
    assert flatten(config.to_dict())


def test_an_unknown_variant_raises_and_lists_the_variants():
    assert "full, smoke" in refusal(configs.get_config, "fast")


# The numbers: instances whose objective is minus the energy, so values are easy to read.

TOY = Instance("toy", ising.sk_couplings(jax.random.key(0), 4), None, 10.0, "")


def made_run(values, seconds=1.0, budget=100, value=1.0):
    """A run from objectives [calls, replicas]."""
    values = np.array(values, float)
    return {
        "energies": -values, "seconds": [seconds] * len(values), "products": float(budget),
        "budget": budget, "value": value, "compile_seconds": 0.0,
    }  # fmt: skip


def test_a_level_is_reached_at_equality_and_never_by_a_diverged_replica():
    run = made_run([[9.95, 9.9499, np.nan], [10.0, 1.0, np.inf * 0]])
    assert counts(run, TOY, 10.0, 0.995) == (2, 2)
    assert counts(run, TOY, 10.0, 1.0) == (1, 1)
    row = summarise_run(run, TOY, 10.0, (0.995, 1.0))
    assert row["diverged"] == 2
    assert row["best"] == 1.0
    assert summarise_run(made_run([[np.nan]]), TOY, 10.0, (1.0,))["best"] is None


def test_cuts_are_the_objective_of_a_graph(folder):
    instance = load("G1", folder)
    spins = np.array([1 if bin(i).count("1") % 2 else -1 for i in range(8)], np.float32)
    value = instance.value(np.asarray(energy(instance.params, ising_cells.jax.numpy.array(spins))))
    assert value == 12 == instance.best_known


def test_pilots_choose_setting_and_length():
    short_good, short_bad = [[9.0] * 8 + [10.0] * 2] * 2, [[8.0] * 10] * 2
    long_good = [[10.0] * 10] * 2
    runs = [
        made_run(short_good, 1.0, 100, value=0.5), made_run(short_bad, 1.0, 100, value=0.7),
        made_run(short_bad, 10.0, 1000, value=0.5), made_run(long_good, 10.0, 1000, value=0.7),
    ]  # fmt: skip
    tuned = tune([Pilot(TOY, 10.0, runs)], (0.85, 1.0), (0.5, 1.5, 20.0))
    assert tuned.values == {100: 0.5, 1000: 0.7}
    # Ten replicas at 20 %: 2.06 calls of 1 s; or one of 10 s.
    assert tuned.budgets == (100, 100)
    assert tuned.wall_budgets[1:] == (100, 1000)
    slow = [run | {"seconds": [6.0, 6.0]} if run["budget"] == 100 else run for run in runs]
    assert tune([Pilot(TOY, 10.0, slow)], (1.0,), (1.0,)).budgets == (1000,)


def test_without_a_success_on_pilots_the_longest_run_is_judged():
    runs = [made_run([[5.0]], 1.0, 100), made_run([[6.0]], 9.0, 1000), made_run([[np.nan]], 1, 300)]
    assert tune([Pilot(TOY, 10.0, runs)], (1.0,), (1.0,)).budgets == (1000,)


def rows_of(*successes):
    """Rows of 50 calls of 4 replicas with so many successes, 2 s a call."""
    made = []
    for count in successes:
        values = np.zeros(200)
        values[:count] = 10.0
        made.append(summarise_run(made_run(values.reshape(50, 4), 2.0), TOY, 10.0, (1.0,)))
    return made


def test_one_instance_keeps_its_wilson_interval():
    found = over_instances(rows_of(20), 0, np.random.default_rng(0))
    np.testing.assert_allclose(found["seconds"], ising.to_solution(2.0, 20, 200, 4))
    np.testing.assert_allclose(found["products"], ising.to_solution(100.0, 20, 200))


def test_the_spread_of_instances_widens_the_interval_about_their_median():
    rng = np.random.default_rng(0)
    value, low, high = over_instances(rows_of(10, 20, 40), 0, rng)["seconds"]
    assert value == ising.to_solution(2.0, 20, 200, 4).value
    assert low < ising.to_solution(2.0, 40, 200, 4).value
    assert high > ising.to_solution(2.0, 10, 200, 4).value
    same = over_instances(rows_of(20, 20, 20), 0, rng)["seconds"]
    assert low < same[1] < same[0] < same[2] < high


def test_without_successes_there_is_a_lower_end_only():
    value, low, high = over_instances(rows_of(0, 0), 0, np.random.default_rng(0))["seconds"]
    assert value == high == math.inf
    assert 2 < low < math.inf


def test_the_expected_best_is_that_of_all_draws_with_replacement():
    values = np.array([3.0, 1.0, 2.0, np.nan])
    draws = itertools.product([1.0, 2.0, 3.0], repeat=3)
    assert expected_best(values, 3) == pytest.approx(np.mean([max(draw) for draw in draws]))
    assert expected_best(values, 0) == -math.inf
    assert expected_best(values * np.nan, 3) == -math.inf


def test_whole_calls_must_fit_in_a_wall_time():
    run = made_run([[5.0, 10.0]], seconds=1.0)
    assert best_within(run, TOY, 10.0, 0.9) == -math.inf
    assert best_within(run, TOY, 10.0, 1.9) == pytest.approx(0.5 / 4 + 3 / 4)  # best of two draws
    assert best_within(run, TOY, 10.0, 99.0) == pytest.approx(1)


def test_a_budget_below_the_cost_of_the_start_is_no_run_length():
    row = configs.sampler("gibbs", "strength", (1.0,), products_per_step=10, products_before=50)
    entry = ising_cells.entries(ConfigDict({"samplers": {"late": row}}))[0]
    assert entry.lengths((30, 55, 60, 100)) == (60, 100)
