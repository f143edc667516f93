"""What belongs to what: cells and checkpoints of another training are seen and refused.

Guards qbm_jax.runtime.identity.
"""

import dataclasses
import json
import logging
import shutil

import jax
import numpy as np
import pytest
from cell_changes import CHANGES
from command_line import TINY_FIT, small_adata

from qbm_jax import training
from qbm_jax.data import from_anndata
from qbm_jax.errors import InputError
from qbm_jax.fitted import trainings as fitting
from qbm_jax.training import Training, TrainingStopped
from qbm_jax.training.checkpoint import Checkpoints

COLUMNS = {"batch_column": "batch", "label_column": "kind"}


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """The log reaches the test."""
    monkeypatch.setattr(logging.getLogger("qbm_jax"), "propagate", True)


def fit_with(folder, adata=None, stop_after=None, seed=0, **changed):
    """A tiny training with checkpoints, stopped after so many dispatches."""
    model = {name: TINY_FIT[name] for name in ("num_latents", "encoder_widths", "decoder_widths")}
    fields = TINY_FIT["training_options"] | changed
    asked = iter(range(1, 1000))
    return fitting.fit_cells(
        jax.random.key(seed), Training.of(model, "gibbs", None, fitting.train_options(fields)),
        from_anndata(small_adata() if adata is None else adata, **COLUMNS),
        checkpoints=Checkpoints(folder),
        should_stop=lambda: stop_after is not None and next(asked) >= stop_after,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The checkpoints of a training that was stopped."""
    folder = tmp_path_factory.mktemp("stopped") / "states"
    with pytest.raises(TrainingStopped):
        fit_with(folder, stop_after=1)
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_a_training_goes_on_with_its_own_cells_alone(change, stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "states")
    with pytest.raises(InputError, match=r"belongs to another model") as error:
        fit_with(tmp_path / "states", adata=change(small_adata()))
    assert all(f"cells.{part}: not the same" in str(error.value) for part in CHANGES[change])
    assert "\n" not in str(error.value)


OTHERS = {
    "(learning_rate: 0.02 there, 0.04 now)": {"learning_rate": 0.04},
    "(kl_weight: 3.0 there, 0.5 now)": {"kl_weight": 0.5},
    "(num_epochs: 4 there, 3 now)": {"num_epochs": 3},
    "(key: [0, 0] there, [0, 1] now)": {"seed": 1},
}


@pytest.mark.parametrize("line", OTHERS)
def test_a_checkpoint_of_another_training_is_refused_and_the_part_is_named(line, stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "states")
    with pytest.raises(InputError) as error:
        fit_with(tmp_path / "states", **OTHERS[line])
    assert line in str(error.value) and "\n" not in str(error.value)
    assert "; use another folder for checkpoints, or remove this one to" in str(error.value)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("training.num_epochs", "num_epochs"),
        ("model.prior", "prior"),
        ("training 1: training.kl_weight", "training 1: kl_weight"),
        ("training 0: sampler.num_steps", "training 0: sampler_options.num_steps"),
        ("sampler", "sampler"),
        ("cells.counts", "cells.counts"),
    ],
)
def test_a_refusal_names_the_options_as_fit_takes_them(part, name):
    assert fitting.option_name(part) == name


def test_a_training_that_goes_on_equals_an_undisturbed_one(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "states")
    _, resumed = fit_with(tmp_path / "states")
    _, undisturbed = fit_with(tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, resumed.state, undisturbed.state)


def test_a_state_without_identity_is_refused_where_one_is_wanted(tmp_path):
    Checkpoints(tmp_path).save(1, {"x": np.zeros(2, np.float32)})
    wanting = Checkpoints(tmp_path)
    wanting.identity = {"key": 1}
    with pytest.raises(InputError, match="does not say what it was trained on"):
        wanting.restore({"x": np.zeros(2, np.float32)})


def test_the_identity_leaves_out_nothing_that_a_training_has(stopped):
    option = {field.name for field in dataclasses.fields(training.TrainOptions)}
    facts = next(path for path in stopped.rglob("facts/metadata"))
    identity = json.loads(facts.read_text())["identity"]
    assert {f"training.{name}" for name in option} <= identity.keys()
    assert {"key", "held_out", "sampler", "model.num_latents", "cells.counts"} <= identity.keys()
