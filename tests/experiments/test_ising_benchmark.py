"""The Ising benchmark: outputs, resume, missing data, and the numbers that it reports."""

import json
import logging
import re
import shutil
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread
from ml_collections import ConfigDict
from refusals import refusal

from configs import ising_benchmark as configs
from experiments import ising_benchmark
from experiments.ising import figures
from experiments.ising import results as ising_results
from experiments.ising.families import Family, load_families
from experiments.ising.results import IsingPlan, Judged, Solution
from experiments.ising.samplers import entries
from experiments.kit import runner
from experiments.kit.stop import StopRequest
from experiments.kit.workdir import flatten
from qbm_jax.machine.boltzmann import energy
from qbm_jax.problems import Instance, SolverRun, load
from qbm_jax.problems.solver import Solver
from qbm_jax.problems.tuning import Tuned
from qbm_jax.study.rows import read_table
from qbm_jax.study.sealed_file import file_name

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


def run(config, workdir):
    runner.run(ising_benchmark, config, workdir, StopRequest())


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The workdir of a finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    run(tiny(folder), workdir)
    return workdir


def rows_of(workdir):
    return read_table(workdir / "results.csv")


def piece_of(workdir, section, instance, sampler):
    path = workdir / "results" / f"{file_name(section, instance, sampler)}.json"
    return json.loads(path.read_text())


def energies_of(workdir):
    """Energies of all pieces by name: what does not depend on the clock."""
    return {
        path.name: [r["energies"] for r in json.loads(path.read_text())["runs"]]
        for path in (workdir / "results").iterdir()
    }


def test_a_run_writes_report_table_and_figures_that_can_be_read(finished):
    assert {path.name for path in finished.iterdir() if path.name != ".lock"} == {
        "config.json", "results", "results.csv", "summary.csv", "report.md", "report.html",
        "figures",
    }  # fmt: skip
    report = (finished / "report.md").read_text()
    figures = list((finished / "figures").iterdir())
    assert len(figures) == 5
    assert all(imread(path).size and f"figures/{path.name}" in report for path in figures)
    assert len(rows_of(finished)) == 2 * (2 + 1) + 1
    solutions = read_table(finished / "summary.csv")
    assert len(solutions) == len(LEVELS) * 3
    assert all(float(row["seconds_low"]) <= float(row["seconds"]) for row in solutions)


def test_the_report_says_what_best_known_means_and_where_it_is_from(finished):
    report = (finished / "report.md").read_text()
    assert re.search(r"\| G2 \| Graphs \| 8 \| cut \| 10 \| gset/best_known.csv", report)
    assert re.search(r"\| sk-10-1 \| SK \| 10 \| -energy \| \d+ \| best found by any", report)
    assert "not a proven optimum" in report
    for text in ("device", "cores", "jax", "compile, s", "tuned on sk-10-0"):
        assert text in report


def best_of(name, folder, finished):
    instance = load(name, folder)
    pieces = [json.loads(path.read_text()) for path in (finished / "results").iterdir()]
    return ising_results.best_value(instance, pieces)


def test_rows_repeat_what_the_pieces_hold(finished, folder):
    rows = rows_of(finished)
    assert {row["sampler"] for row in rows if row["family"] == "graphs"} == {"machine"}
    for row in rows:
        piece = piece_of(finished, f"judged-{row['family']}", row["instance"], row["sampler"])
        (run,) = (run for run in piece["runs"] if run["budget"] == row["budget"])
        best = best_of(row["instance"], folder, finished)
        values = load(row["instance"], folder).value(np.array(run["energies"]))
        for level in LEVELS:
            reached = values >= level * best - 1e-6
            assert row[f"successes_{level:g}"] == reached.sum()
            assert row[f"call_successes_{level:g}"] == reached.any(axis=1).sum()
        assert row["best"] == values.max() / best
        assert row["median"] == pytest.approx(np.median(values) / best)
        assert row["seconds_per_call"] == np.median(run["seconds"])


def test_best_found_is_the_best_of_all_pieces_and_here_the_ground_state(finished):
    for name in ("sk-10-1", "sk-10-2"):
        params = load(name, None).params
        bits = (np.arange(2**10)[:, None] >> np.arange(10)[None, :]) & 1
        ground = float(energy(params, (2.0 * bits - 1).astype(np.float32)).min())
        assert best_of(name, None, finished) == -ground


def test_pilots_are_cold_and_equal_products_are_kept(finished):
    for row in rows_of(finished):
        assert row["products"] == row["budget"]  # the machine's step costs two
        if row["sampler"] == "sweeps":
            assert row["value"] == 6.0  # 0.1 is far above the glass temperature
        else:
            assert row["budget"] == 4  # max_products


def test_pilots_and_held_out_instances_have_different_random_numbers(folder, monkeypatch):
    plan, roots = ising_benchmark.check(tiny(folder)), {}
    tuned = {(f.name, e.label): Tuned({}, (), ()) for f in plan.families for e in plan.table}
    monkeypatch.setattr(ising_benchmark, "tune_all", lambda *_: tuned)
    works = [*ising_benchmark.pieces(plan, None), *ising_benchmark.then(plan, [], None)]
    for work in works:
        roots.setdefault(work.section.split("-")[0], set()).add(str(work.compute.args[-1].root))
    assert all(len(keys) == 1 for keys in roots.values())
    assert len(set.union(*roots.values())) == len(roots) == 3


def test_a_run_goes_on_where_it_was_stopped_and_repeats_no_piece(
    finished, folder, tmp_path, monkeypatch
):
    measure, measured = ising_benchmark.measure, []

    def stopped(entry, instance, *rest):
        if len(measured) == 5:
            raise KeyboardInterrupt
        measured.append((instance.name, entry.label))
        return measure(entry, instance, *rest)

    monkeypatch.setattr(ising_benchmark, "measure", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(folder), tmp_path)
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    assert len(done) == 5
    assert not (tmp_path / "report.md").exists()
    monkeypatch.setattr(ising_benchmark, "measure", measure)
    run(tiny(folder), tmp_path)
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert energies_of(tmp_path) == energies_of(finished)


def test_a_finished_run_only_makes_its_report_anew(finished, folder, monkeypatch):
    before = (finished / "report.md").read_text()
    (finished / "report.md").unlink()
    monkeypatch.setattr(ising_benchmark, "partial", lambda *_: None)
    run(tiny(folder), finished)
    assert (finished / "report.md").read_text() == before


def test_a_workdir_of_other_instances_is_refused(finished, folder, tmp_path):
    workdir = tmp_path / "other"
    workdir.mkdir()
    (workdir / "config.json").write_text((finished / "config.json").read_text())
    changed = tiny(folder)
    changed.families.sk.held_out = ("sk-10-1", "sk-10-3")
    assert "different config (config.families.sk.held_out" in refusal(run, changed, workdir)


def test_a_damaged_piece_is_made_again_and_said(finished, folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("qbm_jax"), "propagate", True)
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    damaged = (("pilot-graphs", "G1"), ("judged-graphs", "G2"))
    names = [f"{file_name(*of, 'machine')}.json" for of in damaged]
    for name, text in zip(names, ("[]", '{"runs": [{}]}'), strict=True):
        (workdir / "results" / name).write_text(text)
    run(tiny(folder), workdir)
    assert all(f"{name} is damaged" in caplog.text for name in names)
    assert energies_of(workdir) == energies_of(finished)


def test_missing_files_are_skipped_and_the_report_and_log_say_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("QBM_JAX_SHARED_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(logging.getLogger("qbm_jax"), "propagate", True)
    config = tiny()
    del config.samplers["machine"]
    with caplog.at_level(logging.WARNING, "qbm_jax"):
        run(config, tmp_path / "run")
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
    "samplers.machine.couplings": ("signs", "families.graphs: no sampler"),
    "reference.sampler": ("none", "'none' is none of"),
    "reference.products": (0, "products"),
}
TWICE = {
    "families.sk.held_out": (("sk-12-1", "sk-12-1"), "each instance once"),
    "wall_seconds": ((1.0, 1.0), "each number once"),
}


@pytest.mark.parametrize(
    ("field", "value", "words"), [(k, *v) for some in (WRONG, TWICE) for k, v in some.items()]
)
def test_a_wrong_config_is_refused_before_anything_is_written(
    field, value, words, folder, tmp_path
):
    config = tiny(folder)
    with config.ignore_type():
        config.update_from_flattened_dict({field: value})
    assert words in refusal(run, config, tmp_path / "run")
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


def test_cuts_are_the_objective_of_a_graph(folder):
    instance = load("G1", folder)
    spins = np.array([1 if bin(i).count("1") % 2 else -1 for i in range(8)], np.float32)
    value = instance.value(np.asarray(energy(instance.params, jnp.array(spins))))
    assert value == 12 == instance.best_known


def test_a_budget_below_the_cost_of_the_start_is_no_run_length():
    row = configs.sampler("gibbs", "strength", (1.0,), products_per_step=10, products_before=50)
    entry = entries(ConfigDict({"samplers": {"late": row}}))[0]
    assert entry.lengths((30, 55, 60, 100)) == (60, 100)


def test_replicas_that_no_memory_holds_are_refused_with_what_they_need(folder, tmp_path):
    config = tiny(folder)
    config.replicas = 10**12
    assert "GiB" in refusal(run, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def pictured():
    """A plan of one family and two solvers, and what each reached at two run lengths."""
    family = Family("few", "Few spins", "any", (8, 16), [], [])
    table = [Solver(name, "gibbs", (), "t", (1.0,), 1.0, 0.0, 0, "any") for name in ("one", "two")]
    plan = IsingPlan(SimpleNamespace(levels=LEVELS), [family], table, [])
    tuned = Tuned({8: 1.0, 16: 1.0}, (8, 16), (8, 16))
    shares = {8: [[0.8, 0.95, np.nan, 0.9]], 16: [[1.0, 0.95, 0.9, 0.85]]}
    runs = [
        SolverRun(n, 2.0 * n, 1.0, np.array(reached), 0.1 * n, 0.5) for n, reached in shares.items()
    ]
    return plan, [Judged(family, entry, tuned, {"first": runs}) for entry in table]


def test_times_to_solution_have_their_intervals_and_arrows_where_there_is_no_end():
    plan, _ = pictured()
    many, inf = ("few", "one", 1.0), np.inf
    solutions = [
        Solution(*many[:2], LEVELS[0], 8, 1.0, 2.0, 1.0, 4.0, 1.0, 1.0, 1.0),
        Solution(*many, 8, 1.0, 2.0, 1.0, inf, 1.0, 1.0, 1.0),
        Solution("few", "two", 1.0, 8, 1.0, inf, 3.0, inf, inf, 1.0, inf),
    ]
    (axes,) = figures.draw_time_to_solution(plan, solutions).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["one", "two"]
    drawn = {}
    for line in axes.lines:
        (x, y), marker = line.get_data(), line.get_marker()
        if len(x):  # an empty one is of the legend
            assert len({*y}) == 1
            drawn.setdefault((round(y[0]), line.get_color()), {})[marker] = [*x]
    low, high = figures.RISING[:2]
    assert drawn[0, low] == {"o": [2.0], "None": [1.0, 4.0]}
    assert drawn[0, high] == {"o": [2.0], "None": [1.0, 2 * figures.FAR], ">": [2 * figures.FAR]}
    assert drawn[1, high] == {"|": [3.0], "None": [3.0, 3 * figures.FAR], ">": [3 * figures.FAR]}


def test_rates_of_success_and_gaps_are_those_of_the_replicas():
    plan, judged = pictured()
    for axes, rates in zip(
        figures.draw_success(plan, judged).axes, ((0.5, 0.75), (0.0, 0.25)), strict=True
    ):
        assert [bars.get_label() for bars in axes.containers] == ["one", "two"]
        np.testing.assert_allclose(
            axes.containers[0][0].get_xydata(), [*zip((16, 32), rates, strict=True)]
        )
    products, seconds = figures.draw_gap(plan, judged).axes
    median, best = products.lines[:2]
    np.testing.assert_allclose(median.get_xydata(), [[16, 10], [32, 7.5]])  # none of the diverged
    np.testing.assert_allclose(best.get_xydata(), [[16, 5], [32, 0]], atol=1e-9)
    np.testing.assert_allclose(seconds.lines[0].get_xdata(), [0.8, 1.6])
