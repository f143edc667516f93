"""A model keeps what its training measured, and is saved and loaded with it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from qbm_jax.fitted import history
from qbm_jax.fitted.history import History, Recorder
from qbm_jax.fitted.model import FittedModel
from qbm_jax.training import Progress


def rows_told(told):
    """What the training reported, but for the clock."""
    return [
        {"split": p.split, "step": p.step, "epoch": p.epoch, **p.metrics}
        for p in told
        if p.split != "start"
    ]


def without_clock(rows):
    clock = ("seconds", "cells_per_second")
    return [{name: row[name] for name in row if name not in clock} for row in rows]


def same(one, other):
    np.testing.assert_equal(one.as_tree(), other.as_tree())
    return True


def ended(best_elbo):
    """A training whose parameters have this bound."""
    return SimpleNamespace(
        train_cells=np.arange(7), state=SimpleNamespace(best_elbo=np.float32(best_elbo))
    )


def test_a_model_tells_the_bound_of_its_own_parameters_and_not_the_best_on_the_way(toy, tmp_path):
    recorder = Recorder()
    for step, elbo in ((1, -5.0), (2, -9.0)):
        recorder.update(Progress(step, 1.0, 2, 80.0, "validation", {"elbo": elbo}))
    model = FittedModel(toy.model.settings, toy.model.params, recorder.history(0, ended(-9.0)))
    assert "validation bound -9.0 nats per cell" in repr(model)
    assert "-9.00 nats per cell" in model.summary()
    model.save(tmp_path / "model")
    assert "validation bound -9.0 nats" in repr(FittedModel.load(tmp_path / "model"))
    assert recorder.history(0, ended(-np.inf)).bound is None


def test_the_history_is_every_row_that_the_training_reported_in_its_order(toy):
    rows = toy.model.measured.rows()
    assert without_clock(rows) == rows_told(toy.told)
    assert [row["split"] for row in rows].count("validation") == 2  # every second of 4 epochs
    assert [row["epoch"] for row in rows if row["split"] == "validation"] == [2, 4]
    assert np.all(np.diff([row["seconds"] for row in rows]) >= 0)
    assert toy.model.measured.num_train_cells == toy.trained.train_cells.size == 144


def test_the_best_bound_of_the_history_is_that_of_the_parameters_kept(toy):
    best = toy.model.measured.validation["elbo"].max()
    assert best == pytest.approx(float(toy.trained.state.best_elbo), rel=1e-6)


def test_a_data_frame_has_one_row_for_each_and_says_which_split(toy):
    frame = toy.model.history
    assert frame.split.tolist() == [row["split"] for row in toy.model.measured.rows()]
    assert frame.step.dtype == int
    bounds = frame[frame.split == "validation"].elbo
    np.testing.assert_array_equal(bounds, toy.model.measured.validation["elbo"])
    assert len(History({}, {}).to_frame()) == 0


def test_rows_have_seconds_since_the_start_and_are_kept_for_each_training(monkeypatch):
    clock = iter([10.0, 12.5, 13.0])
    monkeypatch.setattr(history, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    recorder = Recorder()
    for seed in (0, 1):
        recorder.update(Progress(4 + seed, 1.0, 10, 80.0, "train", {"kl": 2.0}, seed))
    found = [recorder.history(i, ended(-9.0)) for i in (0, 1)]
    assert [each.train["seconds"].tolist() for each in found] == [[2.5], [3.0]]
    assert [each.train["step"].tolist() for each in found] == [[4], [5]]
    assert found[1].train["cells_per_second"] == [80.0] and found[1].num_train_cells == 7


def test_it_is_saved_and_loaded_with_the_model_bit_for_bit(toy, tmp_path):
    toy.model.save(tmp_path / "model")
    loaded = FittedModel.load(tmp_path / "model")
    assert same(loaded.measured, toy.model.measured)
    assert loaded.settings == toy.model.settings


def test_a_model_saved_without_one_loads_without_one(toy, tmp_path):
    FittedModel(toy.model.settings, toy.model.params).save(tmp_path / "model")
    loaded = FittedModel.load(tmp_path / "model")
    assert loaded.measured is None and loaded.history.empty


def test_what_json_has_as_null_is_not_a_number():
    rows = [
        {"model": "a", "seed": 0, "step": 2, "split": "train", "reconstruction": 3.5},
        {"model": "a", "seed": 0, "step": 2, "split": "validation", "log_z": None},
    ]
    found = History.from_rows(rows)
    assert found.train == {"step": [2.0], "reconstruction": [3.5]}
    assert math.isnan(found.validation["log_z"][0])
    assert found.num_train_cells is None
