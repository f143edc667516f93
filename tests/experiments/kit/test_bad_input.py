"""The table of bad input: one line on standard error, exit code 2, nothing written."""

import os

import numpy as np
import pytest
from command_line import (
    ROOT,
    config,
    execute,
    launched,
    refused,
    refused_arguments,
    small_adata,
)

from experiments.kit import launch
from experiments.kit.disk import REMEDIES
from qbm_jax.data import locate as locate_cells
from qbm_jax.data.download import NoNetworkError


def _negative(adata):
    adata.X[3, 4] = -2.0


def _not_a_number(adata):
    adata.X[3, 4] = np.nan


def _expected_counts(adata):
    adata.X = adata.X * 0.5 + 0.0


def _repeated_gene(adata):
    adata.var_names = ["gene0", "gene0", *adata.var_names[2:]]


CONTENT = {
    "negative": (_negative, ["negative", "-2"]),
    "nan": (_not_a_number, ["NaN"]),
    "expected counts": (_expected_counts, ["likelihood nb", "whole", "normal"]),
    "duplicate genes": (_repeated_gene, ["gene0", "unique"]),
}


@pytest.mark.parametrize("fault", CONTENT)
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_counts_that_cannot_be_used_are_refused(fault, tmp_path, capsys):
    spoil, words = CONTENT[fault]
    adata = small_adata()
    adata.X = adata.X.toarray()
    spoil(adata)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    made = config(**{"data.path": str(tmp_path / "cells.h5ad")})
    line = refused(capsys, made, tmp_path / "run")
    assert "cells.h5ad" in line
    assert all(word in line for word in words), line


def test_fewer_than_fifty_cells_are_refused(tmp_path, capsys):
    small_adata(num_cells=49).write_h5ad(tmp_path / "cells.h5ad")
    line = refused(capsys, config(**{"data.path": str(tmp_path / "cells.h5ad")}), tmp_path / "run")
    assert "at least 50 cells" in line
    assert "49" in line


@pytest.fixture
def cells(tmp_path):
    """A sound file."""
    small_adata().write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def _remove(path):
    path.unlink()


def _no_hdf5(path):
    path.write_text("cells\n")


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FILES = {
    "missing": (_remove, "does not exist"),
    "no hdf5": (_no_hdf5, "is not one"),
    "truncated": (_truncate, "damaged or truncated"),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_file_that_cannot_be_read_is_refused(fault, cells, tmp_path, capsys):
    spoil, words = FILES[fault]
    spoil(cells)
    line = refused(capsys, config(**{"data.path": str(cells)}), tmp_path / "run")
    assert words in line
    assert str(cells) in line


COLUMNS = {
    "data.batch_column": ("btach", ["batch", "kind"]),
    "data.label_column": ("cell_type", ["batch", "kind"]),
    "data.layer": ("counts", ["X"]),
}


@pytest.mark.parametrize("field", COLUMNS)
def test_a_missing_column_or_layer_is_refused_with_those_that_exist(field, cells, tmp_path, capsys):
    wrong, there = COLUMNS[field]
    line = refused(capsys, config(**{"data.path": str(cells), field: wrong}), tmp_path / "run")
    assert repr(wrong) in line
    assert all(name in line.split(repr(wrong))[1] for name in there), line


VALUES = {
    "experiment": ("integratoin", ["integration"]),
    "data.name": ("pancraes", ["pancreas", "lung", "immune", "simulated:toy"]),
    "model.prior": ("bolzmann", ["boltzmann", "bernoulli", "gaussian"]),
    "model.likelihood": ("bernouli", ["normal", "poisson", "nb", "zinb"]),
    "model.relaxation": ("hard", ["straight_through", "gumbel", "power_function"]),
    "model.decoder": ("deep", ["mlp", "linear"]),
    "sampler.name": ("metropolis", ["exact", "gibbs", "auxiliary_cim", "cim"]),
    "sampler.gibbs.num_steps": (0, ["num_steps", "at least 1"]),
    "model.num_latents": (1, ["num_latents", "at least 2"]),
    "baselines.gaussian_latents": (1, ["gaussian_latents", "at least 2"]),
    "model.sharpness": (0.0, ["sharpness", "above 0"]),
    "training.num_epochs": (0, ["training.num_epochs"]),
    "training.minibatch_size": (-1, ["training.minibatch_size"]),
    "training.learning_rate": (float("nan"), ["training.learning_rate"]),
    "training.validation_fraction": (1.0, ["training.validation_fraction", "between 0 and 1"]),
    "evaluation.posterior_draws": (0, ["evaluation.posterior_draws"]),
    "num_seeds": (0, ["num_seeds", "at least 1"]),
    "seed": (-1, ["seed"]),
    "data.num_genes": (1, ["data.num_genes", "at least 2"]),
    "data.num_cells": (-5, ["data.num_cells"]),
}


@pytest.mark.parametrize("field", VALUES)
def test_a_value_out_of_its_choices_is_refused_before_cells_are_read(
    field, tmp_path, capsys, monkeypatch
):
    value, words = VALUES[field]
    made = config(**{field: value})
    if field != "data.name":
        monkeypatch.setattr("experiments.integration.load_cells", _must_not_read)
    line = refused(capsys, made, tmp_path / "run")
    assert all(word in line for word in words), line
    assert str(value) in line


def _must_not_read(config):
    raise AssertionError("cells were read before the options were checked")


def test_a_sampler_that_cannot_take_so_many_spins_is_refused(tmp_path, capsys):
    line = refused(
        capsys, config(**{"sampler.name": "exact", "model.num_latents": 40}), tmp_path / "run"
    )
    assert "40" in line


def test_simulated_cells_are_refused_where_they_are_not_allowed(tmp_path, capsys, monkeypatch):
    def no_network(*args, **options):
        raise NoNetworkError("there is no network")

    monkeypatch.setitem(locate_cells.__globals__, "fetch", no_network)
    made = config(**{"data.name": "pancreas", "data.allow_simulated": False})
    line = refused(capsys, made, tmp_path / "run")
    assert "allow_simulated" in line
    assert "no network" in line
    assert "data.path" in line


ARGUMENTS = {
    "unknown flag": (["--config=configs/toy.py", "--bananas=3"], ["--bananas", "--workdir"]),
    "misspelt config": (["--confg=configs/toy.py"], ["--confg", "--config"]),
    "no config": (["--config.seed=1"], ["--config=NAME"]),
    "missing file": (["--config=configs/pancraes.py"], ["configs/pancreas.py", "configs/toy.py"]),
    "variant": (["--config=configs/toy.py:smok"], ["smok", "full", "smoke"]),
    "field": (["--config=configs/toy.py", "--config.model.num_latent=3"], ["num_latents"]),
    "section": (["--config=configs/toy.py", "--config.sampel.name=cim"], ["sampler", "model"]),
    "below a field": (["--config=configs/toy.py", "--config.seed.x=1"], ["config.seed"]),
    "whole section": (["--config=configs/toy.py", "--config.sampler=cim"], ["name", "gibbs"]),
    "no folder": (["--workdir", "--config=configs/toy.py:smoke"], ["--workdir needs a value"]),
    "no address": (["--coordinator", "--config=configs/toy.py"], ["--coordinator needs a value"]),
    "no name": (["--config", "--config=configs/toy.py"], ["--config needs a value: --config=VAL"]),
    "no value": (
        ["--config=configs/toy.py", "--config.data.path", "--workdir=x"],
        ["--config.data.path needs a value: --config.data.path=VALUE"],
    ),
    "no dashes": (["configs/toy.py"], ["configs/toy.py", "--name=value"]),
}


@pytest.mark.parametrize("fault", ARGUMENTS)
def test_arguments_that_mean_nothing_are_refused_with_what_there_is(fault, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments, words = ARGUMENTS[fault]
    line = refused_arguments(capsys, *arguments)
    assert all(word in line for word in words), line


@pytest.mark.slow
def test_a_truncated_file_ends_the_process_with_two_and_no_traceback(cells, tmp_path):
    _truncate(cells)
    done = execute("--config=configs/toy.py:smoke", f"--config.data.path={cells}",
                   f"--workdir={tmp_path / 'run'}")  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_value_of_the_wrong_type_ends_the_process_with_two_and_no_traceback(tmp_path):
    done = execute("--config=configs/toy.py:smoke", "--config.seed=abc",
                   f"--workdir={tmp_path / 'run'}")  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "--config.seed" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", REMEDIES)
def test_a_disk_that_refuses_ends_with_one_line(number, tmp_path, capsys, monkeypatch):
    def refusing(config, workdir, stop):
        raise OSError(number, os.strerror(number), str(workdir / "scores.json"))

    monkeypatch.setitem(launch.EXPERIMENTS, "integration", refusing)
    line = refused(capsys, config(), tmp_path / "run")
    assert os.strerror(number) in line and "scores.json" in line and REMEDIES[number] in line


def test_a_fault_of_the_program_keeps_its_traceback(tmp_path, monkeypatch):
    def broken(config, workdir, stop):
        raise FileNotFoundError(2, "No such file", "inner.txt")

    monkeypatch.setitem(launch.EXPERIMENTS, "integration", broken)
    with launched(), pytest.raises(FileNotFoundError):
        launch.run(config(), str(tmp_path / "run"))
