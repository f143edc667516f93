"""What belongs to what: cells and checkpoints of another training are seen and refused."""

import dataclasses
import json
import logging
import shutil

import jax
import numpy as np
import pandas as pd
import pytest
from command_line import TINY_FIT, small_adata

from qbm_jax import training
from qbm_jax.data import from_anndata, open_cells
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.errors import InputError
from qbm_jax.fitted import trainings as fitting
from qbm_jax.runtime.identity import differences
from qbm_jax.training import TrainingStopped
from qbm_jax.training.checkpoint import Checkpoints

COLUMNS = {"batch_column": "batch", "label_column": "kind"}
NUM_CELLS = 160


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """The log reaches the test."""
    monkeypatch.setattr(logging.getLogger("qbm_jax"), "propagate", True)


def change_nothing(adata):
    return adata


def permute_batches(adata):
    adata.obs["batch"] = pd.Categorical(np.roll(adata.obs["batch"].astype(str), 1))
    return adata


def rename_batches(adata):
    adata.obs["batch"] = adata.obs["batch"].cat.rename_categories({"b1": "c1", "b2": "c2"})
    return adata


def split_a_batch(adata):
    names = adata.obs["batch"].astype(str).to_numpy(object)
    names[:40:2] = "b3"
    adata.obs["batch"] = pd.Categorical(names)
    return adata


def change_cell_types(adata):
    adata.obs["kind"] = pd.Categorical(np.roll(adata.obs["kind"].astype(str), 3))
    return adata


def rename_a_gene(adata):
    adata.var_names = ["other", *adata.var_names[1:]]
    return adata


def reverse_gene_names(adata):
    adata.var_names = adata.var_names[::-1]
    return adata


def rename_cells(adata):
    adata.obs_names = [f"x{name}" for name in adata.obs_names]
    return adata


def move_counts_to_the_next_cell(adata):
    adata.X.indptr[60] -= 1
    return adata


def change_a_count(adata):
    adata.X.data[len(adata.X.data) // 2] += 1
    return adata


CHANGES = {
    permute_batches: {"batches_of_cells"},
    rename_batches: {"batch_names"},
    split_a_batch: {"batch_names", "batches_of_cells"},
    change_cell_types: {"cell_types_of_cells"},
    rename_a_gene: {"gene_names"},
    reverse_gene_names: {"gene_names"},
    rename_cells: {"cell_names"},
    move_counts_to_the_next_cell: {"counts"},
    change_a_count: {"counts"},
}


def fingerprint_of(change, folder):
    """The fingerprint after a change; on disk where a folder is given."""
    adata = change(small_adata())
    if folder is None:
        return fingerprint(from_anndata(adata, **COLUMNS))
    adata.write_h5ad(folder / "cells.h5ad")
    return open_cells(folder / "cells.h5ad", progress=False, **COLUMNS).fingerprint()


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_every_change_of_the_cells_is_named_by_its_part(on_disk, tmp_path):
    folder = tmp_path if on_disk else None
    before = fingerprint_of(change_nothing, folder)
    assert fingerprint_of(change_nothing, folder) == before == json.loads(json.dumps(before))
    for change, parts in CHANGES.items():
        after = fingerprint_of(change, folder)
        assert {part for part in before if before[part] != after[part]} == parts, change
        line = differences(before, after)
        assert all(f"{part}: not the same" in line for part in parts) and "\n" not in line


def test_the_digest_of_counts_on_disk_does_not_depend_on_the_blocks(tmp_path, monkeypatch):
    from qbm_jax.data.on_disk.csr_file import CsrFile

    before = fingerprint_of(change_nothing, tmp_path)
    blocks = [slice(i, min(i + 7, NUM_CELLS)) for i in range(0, NUM_CELLS, 7)]
    monkeypatch.setattr(CsrFile, "blocks", lambda self: iter(blocks))
    assert fingerprint_of(change_nothing, tmp_path) == before


def fit_with(folder, adata=None, stop_after=None, seed=0, **changed):
    """A tiny training with checkpoints, stopped after so many dispatches."""
    model = {name: TINY_FIT[name] for name in ("num_latents", "encoder_widths", "decoder_widths")}
    fields = TINY_FIT["training_options"] | changed
    asked = iter(range(1, 1000))
    return fitting.fit_cells(
        jax.random.key(seed),
        from_anndata(small_adata() if adata is None else adata, **COLUMNS),
        model_options=model, sampler="gibbs", sampler_options=None,
        options=fitting.train_options(fields), checkpoints=Checkpoints(folder),
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
    "training.learning_rate: 0.02 there, 0.04 now": {"learning_rate": 0.04},
    "training.kl_weight: 3.0 there, 0.5 now": {"kl_weight": 0.5},
    "key: [0, 0] there, [0, 1] now": {"seed": 1},
}


@pytest.mark.parametrize("line", OTHERS)
def test_a_checkpoint_of_another_training_is_refused_and_the_part_is_named(line, stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "states")
    with pytest.raises(InputError) as error:
        fit_with(tmp_path / "states", **OTHERS[line])
    assert line in str(error.value) and "\n" not in str(error.value)


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
