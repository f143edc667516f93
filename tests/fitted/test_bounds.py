"""The bound and log Z that a model gives are those of the rooms below, and of a run's report."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from refusals import refusal

from qbm_jax import objective, partition, training
from qbm_jax.errors import InputError
from qbm_jax.fitted.history import History
from qbm_jax.fitted.model import FittedModel, device_counts
from qbm_jax.fitted.model_cells import cells_of_model, with_batches_of
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.runtime import keys

NUM_CELLS, N = 160, 8


@pytest.fixture(scope="module")
def counts(toy):
    cells = cells_of_model(toy.model, toy.adata, batch_column="batch")
    assert cells.batch_names == toy.model.settings.batch_names
    return device_counts(cells)


@pytest.fixture(scope="module")
def found(toy):
    return toy.model.bound(toy.adata, batch_column="batch", num_draws=2, seed=3)


def with_prior(toy, prior, params, num_latents=N):
    """A model of another prior with these parameters of it, and of nothing else."""
    options = toy.model.settings.model | {"prior": prior, "num_latents": num_latents}
    return FittedModel(dataclasses.replace(toy.model.settings, model=options), {"prior": params})


def test_the_bound_is_that_of_training_with_the_key_of_a_runs_first_training(toy, counts, found):
    key = keys.named(keys.root(3), "bound", 0)
    model = toy.model
    expected = training.bound(
        key, model.vae, training.build_evaluation(model.vae), counts, model.params,
        np.arange(NUM_CELLS), num_draws=2, num_train_cells=144,
    )  # fmt: skip
    assert found.value == expected["elbo"]
    assert found.terms["reconstruction"] == expected["reconstruction"]
    assert found.terms["kl"] == expected["kl"]
    assert found.log_z.value == expected["log_z"]
    assert set(found.terms) == {*objective.Terms._fields, "kl", "global_kl"}
    assert found.value == pytest.approx(-found.terms["reconstruction"] - found.terms["kl"])


def test_the_cells_of_the_bound_have_its_draws_and_their_spread_is_its_error(toy, found):
    assert found.per_cell.shape == (NUM_CELLS,)
    assert found.per_cell.mean() == pytest.approx(found.value, rel=1e-6)
    assert found.log_z.standard_error == 0  # 8 spins are enumerated
    spread = found.per_cell.std(ddof=1) / np.sqrt(NUM_CELLS)
    assert found.standard_error == pytest.approx(spread)


def test_the_error_of_log_z_is_in_that_of_the_bound(toy, found, monkeypatch):
    def rough(*_, **__):
        return found.log_z._replace(standard_error=5.0)

    monkeypatch.setattr("qbm_jax.training.evaluation.estimate_log_z", rough)
    again = toy.model.bound(toy.adata, batch_column="batch", num_draws=2, seed=3)
    assert again.standard_error == pytest.approx(np.hypot(found.standard_error, 5.0))


def test_the_weighted_bound_is_tighter_and_its_terms_are_the_same(toy, found):
    weighted = toy.model.bound(
        toy.adata, batch_column="batch", num_draws=2, seed=3, importance_weighted=16
    )
    assert weighted.value == found.value
    assert weighted.importance_weighted > found.value + 0.1
    assert 0 < weighted.importance_weighted_standard_error < 10
    assert found.importance_weighted is None


def test_the_weighted_bound_has_a_key_of_its_own_and_the_same_log_z_and_share(toy, monkeypatch):
    asked = []

    def weighted_bound(key, *given, **options):
        asked.append((jax.random.key_data(key).tolist(), given[-2].size, given[-1], options))
        return np.tile([-3.0, -5.0], NUM_CELLS // 2), -4.0

    monkeypatch.setattr("qbm_jax.fitted.bounds.importance_weighted_bound", weighted_bound)
    found = toy.model.bound(
        toy.adata, batch_column="batch", num_draws=1, seed=3, importance_weighted=7
    )
    own = jax.random.key_data(keys.named(keys.root(3), "weighted bound", 0)).tolist()
    share = {"num_samples": 7, "num_train_cells": 144}
    assert asked == [(own, NUM_CELLS, found.log_z.value, share)]
    assert found.importance_weighted == -4
    assert found.importance_weighted_standard_error == pytest.approx(1 / np.sqrt(159))


def test_each_cell_is_decoded_in_its_own_batch_by_name(toy, monkeypatch):
    given = []

    def bound(seed, vae, params, data, **_):
        given.append(np.asarray(data.batch)[: data.num_cells])
        raise InputError("enough")

    monkeypatch.setattr("qbm_jax.fitted.bounds.bound", bound)
    for name, code in (("b1", 0), ("b2", 1)):
        few = toy.adata[toy.adata.obs.batch == name][:12].copy()  # one batch: code 0 among itself
        refusal(toy.model.bound, few, batch_column="batch")
        assert given.pop().tolist() == 12 * [code]
    settings = dataclasses.replace(
        toy.model.settings, batch_names=("all",), median_library=(100.0,)
    )
    cells = cells_of_model(toy.model, toy.adata, batch_column="batch")
    assert with_batches_of(settings, cells).batch.tolist() == NUM_CELLS * [0]


def test_the_column_of_batches_is_that_of_the_training_unless_another_is_named(toy, found):
    assert toy.model.settings.batch_column == "batch"
    assert toy.model.bound(toy.adata, num_draws=2, seed=3).value == found.value
    other = toy.adata[:12].copy()
    other.obs["lane"] = "b2"
    named = toy.model.bound(other, batch_column="lane", num_draws=1)
    assert named.value != toy.model.bound(other, num_draws=1).value


def test_cells_without_a_count_are_in_no_mean(toy):
    adata = toy.adata[:12].copy()
    whole = toy.model.bound(adata[np.arange(12) != 4].copy(), batch_column="batch")
    adata.X = sp.csr_matrix(adata.X.toarray() * (np.arange(12) != 4)[:, None])
    with pytest.warns(UserWarning, match="1 of 12 cells have no count"):
        found = toy.model.bound(adata, batch_column="batch")
    assert np.isnan(found.per_cell[4])
    np.testing.assert_array_equal(np.delete(found.per_cell, 4), whole.per_cell)
    assert found.value == whole.value


def test_what_cannot_be_bounded_is_refused_in_one_line(toy):
    few = toy.adata[:12].copy()
    nameless = few.copy()
    del nameless.obs["batch"]
    assert "the model knows 2 batches (b1, b2), got None" in refusal(toy.model.bound, nameless)
    few.obs["batch"] = "b7"
    line = refusal(toy.model.bound, few, batch_column="batch")
    assert "unknown batches b7" in line and "b1, b2" in line
    assert "num_draws" in refusal(toy.model.bound, few, batch_column="batch", num_draws=0)
    assert "2 are missing" in refusal(toy.model.bound, few[:, 2:].copy(), batch_column="batch")


def test_relaxed_bits_have_no_bound(toy):
    options = toy.model.settings.model | {"relaxation": "gumbel", "sharpness": None}
    settings = dataclasses.replace(toy.model.settings, model=options)
    model = FittedModel(settings, toy.model.params)
    assert "gumbel" in refusal(model.bound, toy.adata, batch_column="batch")


def test_log_z_is_enumerated_and_equal_to_that_of_the_bound(toy, found):
    exact = partition.log_z(None, toy.model.params["prior"], method="exact")
    log_z = toy.model.log_z(seed=3)
    assert log_z.value == float(exact.value)
    assert log_z == found.log_z
    assert log_z.standard_error == 0 and log_z.bracket == 0


FIELDS = np.linspace(-1, 1, 17, dtype=np.float32)
OF_FIELDS = float(np.sum(np.logaddexp(FIELDS, -FIELDS)))


def test_log_z_of_a_closed_form_has_no_error(toy):
    for prior, params, expected in (("gaussian", {}, 0), ("bernoulli", {"h": FIELDS}, OF_FIELDS)):
        log_z = with_prior(toy, prior, params, 17).log_z()
        assert log_z.value == pytest.approx(expected, rel=1e-6)
        assert log_z.standard_error == 0


def independent(toy):
    """A machine of 17 spins, too many to enumerate here, without couplings."""
    machine = Boltzmann(J=np.zeros((17, 17), np.float32), h=FIELDS)
    return with_prior(toy, "boltzmann", machine, 17)


def test_more_spins_are_annealed_as_asked(toy, monkeypatch):
    asked = []

    def estimate(*given, **options):
        asked.append((given, options))
        return partition.LogZ(3.0, 0.1, 2.9, 0.2, 3.1, 0.3)

    monkeypatch.setattr(partition, "log_z", estimate)
    model = independent(toy)
    assert model.log_z(num_temperatures=20, num_chains=32, seed=5) == (3.0, 0.1, 2.9, 0.2, 3.1, 0.3)
    (((key, machine), options),) = asked
    assert machine is model.params["prior"]
    assert options == {"method": "ais", "num_temperatures": 20, "num_chains": 32}
    own = jax.random.split(keys.named(keys.root(5), "bound", 0))[1]  # as `training.bound` splits it
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(own))
    assert "num_chains" in refusal(model.log_z, num_chains=1)


@pytest.mark.slow
def test_the_annealed_log_z_is_within_its_error_of_the_exact_one(toy):
    log_z = independent(toy).log_z(num_temperatures=20, num_chains=32)
    assert 0 < log_z.standard_error < 0.5
    assert abs(log_z.value - OF_FIELDS) < 5 * log_z.standard_error
    assert log_z.forward < log_z.reverse + 1


def test_the_kl_of_genes_is_shared_by_the_cells_trained_on(toy, monkeypatch):
    asked = []

    def bound(*_, **options):
        asked.append(options["num_train_cells"])
        raise InputError("enough")

    monkeypatch.setattr(training, "bound", bound)
    for history, expected in ((toy.model.measured, 144), (History({}, {}, 7), 7), (None, None)):
        model = FittedModel(toy.model.settings, toy.model.params, history)
        assert refusal(model.bound, toy.adata, batch_column="batch") == "enough"
        assert asked.pop() == expected
