"""What a run was started on is what it goes on with: every experiment refuses changed cells."""

import importlib

import numpy as np
import pandas as pd
import pytest
from command_line import launched, small_adata
from sweeps import OVERRIDES, small_config

from experiments.kit import launch, workdir
from experiments.sweep.run import Request
from qbm_jax.errors import InputError
from qbm_jax.study.pieces import Pieces


def of_sets(name, folder):
    """The config of an experiment on several sets, here on the one of `small_adata`."""
    made = importlib.import_module(f"configs.{name}").get_config("smoke")
    made.folder, made.datasets, made.num_seeds = str(folder), ("simulated",), 2
    made.sets.simulated.update({
        "file": "cells.h5ad", "simulated": "", "label_column": "kind", "root": "",
        "time_column": "", "left_out_type": "", "tasks": "integration",
    })  # fmt: skip
    return made


def negative_phase(folder):
    made = importlib.import_module("configs.negative_phase").get_config("smoke")
    made.data.path, made.data.batch_column = str(folder / "cells.h5ad"), "batch"
    made.data.label_column = "kind"
    return made


RUNS = {
    "integration": lambda folder: (small_config(folder), None),
    "on disk": lambda folder: (small_config(folder, **{"data.on_disk": True}), None),
    "sweep": lambda folder: (small_config(folder), Request(OVERRIDES[:2])),
    "benchmark": lambda folder: (of_sets("benchmark", folder), None),
    "attribution": lambda folder: (of_sets("attribution", folder), None),
    "epochs": lambda folder: (of_sets("epochs", folder), None),
    "negative phase": lambda folder: (negative_phase(folder), None),
}


def with_batches(batch):
    adata = small_adata()
    adata.obs["batch"] = pd.Categorical(batch)
    return adata


def refusal(made, folder, sweep, capsys):
    with pytest.raises(SystemExit) as end, launched():
        launch.run(made, str(folder), sweep=sweep)
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", RUNS)
def test_batches_that_changed_after_the_workdir_was_claimed_are_refused(
    name, tmp_path, capsys, monkeypatch
):
    names = np.array(["b1", "b2"])

    def stop(*_):
        raise InputError("claimed")

    with_batches(names[np.arange(160) % 2]).write_h5ad(tmp_path / "cells.h5ad")
    made, sweep = RUNS[name](tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(workdir, "check_same", stop)  # the claim is written before
        assert refusal(made, tmp_path / "run", sweep, capsys) == "error: claimed"
    with_batches(names[np.arange(160) % 3 % 2]).write_h5ad(tmp_path / "cells.h5ad")
    monkeypatch.setattr(Pieces, "measure", None)  # a run that went on would be a TypeError
    line = refusal(made, tmp_path / "run", sweep, capsys)
    assert "belongs to a run with a different data" in line
    assert "batches_of_cells: not the same" in line
