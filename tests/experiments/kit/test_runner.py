"""An experiment of four functions: what the runner writes, resumes and refuses."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments.kit import runner
from experiments.kit.runner import Tables, Work
from experiments.kit.stop import StopRequest
from qbm_jax.errors import InputError
from qbm_jax.runtime import keys
from qbm_jax.study.document import Document
from qbm_jax.study.estimates import estimate
from qbm_jax.study.rows import read_table
from qbm_jax.training import TrainingStopped

CONFIG = ConfigDict({"seed": 0, "given": (1.0, 3.0)})


def words(key):
    return np.asarray(jax.random.key_data(key)).tolist()


def experiment(calls, **changed):
    """Measures twice each of the config's values."""

    def check(config):
        if min(config.given) < 0:
            raise InputError("no negative values")
        return SimpleNamespace(values=config.given, identity={"values": len(config.given)})

    def measure(value, key):
        del key
        calls.append(value)
        return {"twice": 2 * value}

    def pieces(plan, stop):
        del stop
        for value in plan.values:
            yield Work("twice", {"of": value}, lambda key, value=value: measure(value, key))

    def document(plan, results):
        report = Document(results.workdir, "Twice")
        report.add(f"{len(plan.values)} values, {len(results.pieces)} pieces, {results.summary}")
        return report

    made = {
        "COLUMNS": ("of", "value"), "check": check, "pieces": pieces, "document": document,
        "rows": lambda plan, piece: [(piece["of"], piece["twice"])],
        "summary": lambda plan, rows: [estimate([value for _, value in rows])],
    }  # fmt: skip
    return SimpleNamespace(**(made | changed))


def test_tables_and_report_are_written_and_what_is_finished_is_not_measured_again(tmp_path):
    calls = []
    for _ in range(2):
        runner.run(experiment(calls), CONFIG, tmp_path, StopRequest())
        assert calls == [1.0, 3.0]
        assert [row["value"] for row in read_table(tmp_path / "results.csv")] == [2.0, 6.0]
        (row,) = read_table(tmp_path / "summary.csv")
        assert (row["mean"], row["num_seeds"]) == (4.0, 2.0)
        assert "2 values, 2 pieces" in (tmp_path / "report.md").read_text()


def test_it_says_how_much_there_is_to_do_and_after_every_piece_how_long_it_takes(tmp_path, caplog):
    def pieces(plan, stop):
        del plan, stop
        for name, trainings, steps in (("a", 0, 0), ("b", 5, 4000), ("c", 5, 8000)):
            yield Work("twice", {"of": name}, lambda key: {"twice": 0}, None, trainings, steps)

    caplog.set_level("INFO", "qbm_jax")
    for _ in range(2):
        runner.run(experiment([], pieces=pieces), CONFIG, tmp_path, StopRequest())
    told = [record.getMessage() for record in caplog.records]
    first, again = [text for text in told if text.startswith("3 pieces")]
    assert first.startswith(
        "3 pieces: 10 trainings of 12000 optimiser steps to go, about 10 min at"
    )
    assert again.startswith("3 pieces, 3 of them measured before; the time left")
    assert sum("min left at their pace" in text for text in told) == 6


def test_a_piece_draws_with_the_key_of_its_names_and_of_the_configs_seed(tmp_path):
    drawn, reported = [], []

    def pieces(plan, stop):
        del stop
        for value in plan.values:
            yield Work("twice", {"of": value}, lambda key: drawn.append(words(key)) or {"twice": 0})

    def document(plan, results):
        reported.append([piece["of"] for piece in results.pieces])
        return Document(results.workdir, "Twice")

    wanted = []
    for seed in (0, 7):
        made = ConfigDict({"seed": seed, "given": (3.0, 1.0)})
        study = experiment([], pieces=pieces, document=document)
        runner.run(study, made, tmp_path / str(seed), StopRequest())
        root = keys.named(keys.root(seed), "piece")
        wanted += [words(keys.named(root, f"twice-{value}")) for value in made.given]
    assert drawn == wanted and len({*map(tuple, wanted)}) == 4
    assert reported == [[3.0, 1.0]] * 2  # in the order of the work


def test_a_config_that_cannot_be_used_leaves_no_trace(tmp_path):
    config = ConfigDict({"seed": 0, "given": (-1.0,)})
    with pytest.raises(InputError, match="no negative"):
        runner.run(experiment([]), config, tmp_path / "run", StopRequest())
    assert not (tmp_path / "run").exists()


def test_a_stop_keeps_what_was_measured_and_the_next_run_goes_on(tmp_path):
    def stopped(plan, stop):
        del plan, stop
        yield Work("twice", {"of": 1.0}, lambda key: {"twice": 2.0})
        yield Work("twice", {"of": 3.0}, halt)

    def halt(key):
        raise TrainingStopped("stopped")

    with pytest.raises(TrainingStopped):
        runner.run(experiment([], pieces=stopped), CONFIG, tmp_path, StopRequest())
    assert not (tmp_path / "report.md").exists()
    calls = []
    runner.run(experiment(calls), CONFIG, tmp_path, StopRequest())
    assert calls == [3.0]


def test_work_may_follow_from_what_was_measured_and_is_done_again_if_that_changes(tmp_path):
    calls, factor = [], [1]

    def then(plan, measured, stop):
        del plan, stop
        total = factor[0] * sum(piece["twice"] for piece in measured)
        yield Work("total", {"of": "all"}, lambda key: add(total), {"given": [total]})

    def add(total):
        calls.append(total)
        return {"twice": total}

    def tables(plan, pieces):
        del plan
        return Tables(("of",), [(piece["of"],) for piece in pieces], [estimate([1.0])])

    made = experiment([], then=then, tables=tables)
    for _ in range(2):
        runner.run(made, CONFIG, tmp_path, StopRequest())
    assert calls == [8.0]
    assert [row["of"] for row in read_table(tmp_path / "results.csv")] == [1.0, 3.0, "all"]
    assert (tmp_path / "summary.csv").exists()
    factor[0] = 2
    runner.run(made, CONFIG, tmp_path, StopRequest())
    assert calls == [8.0, 16.0]
    assert "2 values, 3 pieces" in (tmp_path / "report.md").read_text()
