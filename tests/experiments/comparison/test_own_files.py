"""A user's own files as the sets of a comparison: what they become, and what is refused."""

import numpy as np
import pytest
from command_line import config, refused, small_adata

from experiments import attribution, benchmark, epochs

EXPERIMENTS = {"benchmark": benchmark, "attribution": attribution, "epochs": epochs}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two sound files, a namesake of the first, and some that cannot be used."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "other").mkdir()
    for name in ("first.h5ad", "the second v1.2.h5ad", "other/first.h5ad"):
        small_adata().write_h5ad(folder / name)
    halves = small_adata()
    halves.X = halves.X * 0.5
    halves.write_h5ad(folder / "halves.h5ad")
    untyped = small_adata()
    untyped.obs["kind"] = untyped.obs["kind"].where(np.arange(untyped.n_obs) < 20)
    untyped.write_h5ad(folder / "untyped.h5ad")
    orphans = small_adata()
    orphans.obs["donor"] = np.where(np.arange(orphans.n_obs) % 2, "d1", "d2")
    orphans.obs["donor"] = orphans.obs["donor"].where(np.arange(orphans.n_obs) > 3)
    orphans.write_h5ad(folder / "orphans.h5ad")
    alike = small_adata()
    alike.obs["kind"] = "alpha"
    alike.write_h5ad(folder / "alike.h5ad")
    small_adata(num_genes=1).write_h5ad(folder / "narrow.h5ad")
    return folder


def of_files(folder, *names, experiment="benchmark", **fields):
    """The smoke config of an experiment on these files."""
    path = ",".join(str(folder / name) for name in names)
    given = {"data.path": path, "data.batch_column": "batch", "data.label_column": "kind"}
    return config(f"configs/{experiment}.py:smoke", **(given | fields))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_files_are_the_sets_by_the_names_of_the_files(experiment, folder):
    made = of_files(folder, "first.h5ad", "the second v1.2.h5ad", experiment=experiment)
    plan = EXPERIMENTS[experiment].check(made)
    names = ["first", "the_second_v1_2"]
    assert [study.name for study in plan.studies] == names and not plan.simulated
    assert set(plan.studies[0].batch) == {"b1", "b2"}
    assert set(plan.studies[0].labels) == {"alpha", "beta"}
    assert set(plan.identity) == {*names, *(["trees"] if plan.substituted else [])}


def test_without_a_column_of_batches_harmony_and_integration_are_left_out(folder):
    made = of_files(
        folder, "first.h5ad", **{"data.batch_column": "", "methods": ("pca", "harmony")}
    )
    plan = benchmark.check(made)
    assert [method.name for method in plan.methods_on(plan.studies[0])] == ["pca"]
    assert "integration" not in plan.tasks["first"]
    assert any("harmony is left out" in note for note in plan.notes)


BAD = {
    "no file": ("none.h5ad", {}, "none.h5ad does not exist"),
    "no types": ("first.h5ad", {"data.label_column": ""}, "give config.data.label_column"),
    "no column": ("first.h5ad", {"data.batch_column": "donor"}, "'donor'"),
    "no layer": ("first.h5ad", {"data.layer": "counts"}, "'counts'"),
    "fractions": ("halves.h5ad", {}, "expects whole-number counts"),
    "few types": ("alike.h5ad", {}, "at least two cell types"),
    "few typed cells": ("untyped.h5ad", {}, "at least 50 cells with a type and 2 genes, got 20"),
    "few donors": (
        "orphans.h5ad",
        {"data.donor_column": "donor"},
        "a donor for every cell in donor_column",
    ),
    "one gene": ("narrow.h5ad", {}, "and 2 genes"),
    "left-out type": ("first.h5ad", {"data.left_out_type": "gamma"}, "'gamma' is no cell type"),
    "columns alone": ("", {"data.path": ""}, "config.data.batch_column is of config.data.path"),
    "two commas": ("", {"data.path": "a,,b"}, "one comma between two"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_one_line_and_leaves_no_trace(case, folder, tmp_path, capsys):
    name, fields, words = BAD[case]
    assert words in refused(capsys, of_files(folder, name, **fields), tmp_path / "run")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_two_files_of_one_name_are_refused(experiment, folder, tmp_path, capsys):
    made = of_files(folder, "first.h5ad", "other/first.h5ad", experiment=experiment)
    assert "two files of the name first" in refused(capsys, made, tmp_path / "run")
