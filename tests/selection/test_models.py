"""Selecting with a fitted model: its embedding, in memory and on disk, and its utilities."""

import jax.numpy as jnp
import numpy as np
import pytest
from command_line import small_adata, untrained_model

from qbm_jax.data.on_disk import open_cells
from qbm_jax.errors import InputError
from qbm_jax.fitted.model import FittedModel
from qbm_jax.selection import SampleSelector, disagreement, objective, utilities


@pytest.fixture(scope="module")
def model():
    made = untrained_model()
    h = np.linspace(-1, 1, 8, dtype=np.float32)
    return FittedModel(made.settings, {**made.params, "prior": {"h": jnp.asarray(h)}})


@pytest.fixture(scope="module")
def adata():
    return small_adata()


def test_the_model_embeds_what_is_chosen_from(model, adata):
    by_model = SampleSelector(9, kernel="spins", solver="greedy", model=model).fit(adata)
    points = model.embed(adata)
    by_points = SampleSelector(9, kernel="spins", solver="greedy").fit(points)
    assert by_model.indices_.tolist() == by_points.indices_.tolist()
    assert objective(adata, by_model.indices_, kernel="spins", model=model) == by_points.energy_


def test_cells_on_disk_are_embedded_block_by_block(model, adata, tmp_path):
    path = tmp_path / "cells.h5ad"
    adata.write_h5ad(path)
    on_disk = SampleSelector(9, solver="greedy", model=model).fit(path)
    in_memory = SampleSelector(9, solver="greedy", model=model).fit(adata)
    assert on_disk.energy_ == pytest.approx(in_memory.energy_, rel=1e-5)
    with pytest.raises(InputError, match="expected model= with the path"):
        SampleSelector(9).fit(path)


def test_utilities_are_what_they_are_called(model, adata):
    up = 0.5 * (1 + model.embed(adata).astype(np.float64))
    h = np.asarray(model.params["prior"]["h"], np.float64)
    prior_up = 1 / (1 + np.exp(-2 * h))
    entropy = -(up * np.log(up) + (1 - up) * np.log(1 - up)).sum(axis=1)
    kl = (up * np.log(up / prior_up) + (1 - up) * np.log((1 - up) / (1 - prior_up))).sum(axis=1)
    np.testing.assert_allclose(utilities.entropy(model, adata), entropy, rtol=1e-4)
    log_z = np.log(2 * np.cosh(h)).sum()
    np.testing.assert_allclose(utilities.free_energy(model, adata) + log_z, kl, atol=1e-4)
    bound = model.bound(adata, num_draws=8)
    np.testing.assert_allclose(utilities.elbo(model, adata), -bound.per_cell)
    assert not disagreement([model, model], adata).any()
    moved = {"h": model.params["prior"]["h"] + np.linspace(-1, 1, len(h)).astype(np.float32)}
    other = type(model)(model.settings, {**model.params, "prior": moved}, model.measured)
    bounds = np.array([utilities.elbo(each, adata) for each in (model, other)])
    expected = np.std(bounds - bounds.mean(axis=1, keepdims=True), axis=0, ddof=1)
    assert expected.max() > 1e-3
    np.testing.assert_allclose(disagreement([model, other], adata), expected)
    with pytest.raises(InputError, match="at least 2 models"):
        disagreement([model], adata)


def test_a_utility_by_name_moves_the_choice_towards_it(model, adata):
    options = {"solver": "swap", "model": model, "num_chains": 1}
    worth = utilities.entropy(model, adata)
    plain = SampleSelector(10, **options).fit(adata).indices_
    moved = SampleSelector(10, utility="entropy", utility_weight=3.0, **options).fit(adata).indices_
    assert worth[moved].mean() > worth[plain].mean()


def test_a_utility_by_name_has_the_scale_of_all_that_counts(model, adata):
    options = {"solver": "swap", "num_chains": 1, "kernel": "spins"}
    labelled, worth = np.arange(30), utilities.entropy(model, adata)
    by_name = SampleSelector(10, utility="entropy", model=model, **options)
    given = SampleSelector(10, utility=utilities.standardised(worth, 40), **options)
    expected = given.fit(model.embed(adata), labelled)
    assert by_name.fit(adata, labelled).energy_ == pytest.approx(expected.energy_, rel=1e-9)
    assert by_name.indices_.tolist() == expected.indices_.tolist()


@pytest.mark.parametrize("column", ["batch", "kind"])
def test_groups_of_cells_on_disk_are_a_column_of_their_file(model, adata, tmp_path, column):
    path = tmp_path / "cells.h5ad"
    adata.write_h5ad(path)
    options = {"solver": "greedy", "model": model, "groups": column, "kernel": "spins"}
    quotas = dict(zip(adata.obs[column].cat.categories, (3, 6), strict=True))
    in_memory = SampleSelector(9, quotas=quotas, **options).fit(adata)
    cells = open_cells([path], gene_list=model.settings.genes, batch_column="batch")
    for on_disk in (path, cells):
        found = SampleSelector(9, quotas=quotas, **options).fit(on_disk)
        chosen = adata.obs[column].iloc[found.indices_]
        assert chosen.value_counts().to_dict() == quotas
        assert found.energy_ == pytest.approx(in_memory.energy_, rel=1e-5)
    with pytest.raises(InputError, match="expected column 'donor' in obs, which has: batch, kind"):
        SampleSelector(9, **(options | {"groups": "donor"})).fit(path)


def test_cells_of_a_file_without_counts_are_refused_and_left_out_by_rows(model, adata, tmp_path):
    path, counts = tmp_path / "cells.h5ad", adata.X.tolil()
    counts[[3, len(adata.obs) - 1]] = 0
    some = adata.copy()
    some.X = counts.tocsr()
    some.write_h5ad(path)
    with pytest.raises(InputError, match="got none in 2 of 160; open it with"):
        SampleSelector(9, model=model).fit(path)
    cells = open_cells([path], gene_list=model.settings.genes)
    found = SampleSelector(9, solver="greedy", model=model, groups="kind").fit(cells)
    rows = cells.rows[found.indices_]
    there = adata.obs["kind"].iloc[cells.rows]
    expected = SampleSelector(9, solver="greedy", groups=there).fit(model.embed(adata[cells.rows]))
    assert rows.tolist() == cells.rows[expected.indices_].tolist()
    for utility in ("elbo", "free_energy"):
        with pytest.raises(InputError, match=f"expected an AnnData for utility {utility}"):
            SampleSelector(9, utility=utility, model=model).fit(cells)
