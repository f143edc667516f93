"""Energy against stages, anomaly scores, and corrupted cells."""

import numpy as np
import pytest
from scipy import sparse

from qbm_jax.errors import InputError
from qbm_jax.metrics.energy import anomaly_auroc, energy_order, shuffle_genes


def draw_counts(num_cells=60, num_genes=50):
    rng = np.random.default_rng(0)
    rates = rng.gamma(0.5, size=num_genes)
    return sparse.csr_matrix(rng.poisson(3 * rates, size=(num_cells, num_genes)).astype(np.float32))


def test_energy_that_falls_along_the_stages_has_correlation_minus_one():
    stages = np.array([0, 1, 2, 3, np.nan])
    assert energy_order(np.array([9, 5, 4, -1, 100]), stages) == {
        "energy_spearman": pytest.approx(-1),
        "energy_order": pytest.approx(1),
        "num_cells": 4,
    }
    assert np.isnan(energy_order(np.zeros(5), stages)["energy_spearman"])


def test_references_of_batches_on_scales_of_their_own_are_not_pooled():
    time, batch = np.tile(np.linspace(0, 1, 20), 2), np.repeat(["early", "late"], 20)
    energy = np.where(batch == "early", 0, 30) - 10 * time  # a batch's offset is no order
    found = energy_order(energy, time + (batch == "late"), batch)
    assert found == {"energy_spearman": -1, "energy_order": 1, "num_cells": 40}
    assert energy_order(energy, time + (batch == "late"))["energy_spearman"] > 0
    time[batch == "late"] = np.nan  # a batch without a reference has no part in the mean
    assert energy_order(energy, time, batch)["energy_spearman"] == -1


def test_auroc_is_the_probability_that_the_anomalous_cell_scores_higher():
    rng = np.random.default_rng(0)
    usual, anomalous = rng.integers(6, size=40), rng.integers(2, 9, size=25)
    above = (anomalous[:, None] > usual).mean() + 0.5 * (anomalous[:, None] == usual).mean()
    assert anomaly_auroc(usual, anomalous) == pytest.approx(above)
    assert anomaly_auroc(usual, usual) == pytest.approx(0.5)
    assert anomaly_auroc(usual, usual + 10) == 1


@pytest.mark.parametrize("fraction", [1.0, 0.3])
def test_shuffled_cells_keep_their_counts_and_library_size_but_not_their_genes(fraction):
    counts = draw_counts()
    before = counts.toarray()
    shuffled = shuffle_genes(1, counts, fraction).toarray()
    assert np.array_equal(np.sort(shuffled, axis=1), np.sort(before, axis=1))
    assert np.array_equal(shuffled.sum(axis=1), before.sum(axis=1))
    assert shuffled.dtype == before.dtype
    assert np.array_equal(counts.toarray(), before)
    assert 0 < (shuffled != before).sum(axis=1).max() <= fraction * 50
    assert np.array_equal(shuffled, shuffle_genes(1, counts, fraction).toarray())
    assert not np.array_equal(shuffled, shuffle_genes(2, counts, fraction).toarray())


def test_every_gene_is_as_likely_to_receive_a_count():
    counts = sparse.csr_matrix(([1.0] * 5000, (np.arange(5000), [7] * 5000)), shape=(5000, 20))
    found = np.asarray(shuffle_genes(0, counts).sum(axis=0)).ravel()
    # binomial, s.d. 15.4; five of them for 20 genes: false alarm below 2e-5
    assert abs(found - 250).max() < 5 * 15.4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: energy_order(np.ones(3), np.ones(4)), "expected one reference per cell"),
        (lambda: energy_order(np.arange(3.0), np.ones(3)), "3 cells on several stages"),
        (
            lambda: energy_order(np.array([1.0, 2.0, np.nan]), np.arange(3.0)),
            "expected finite energies, got 1 of others",
        ),
        (lambda: anomaly_auroc(np.ones(3), np.array([])), "got 3 and 0 cells, 0 not finite"),
        (lambda: anomaly_auroc(np.ones(3), np.array([np.nan])), "got 3 and 1 cells, 1 not finite"),
        (lambda: shuffle_genes(0, draw_counts(), 1.5), "expected a fraction in"),
        (lambda: shuffle_genes(0, draw_counts(), 0.02), "got 0.02 of 50 genes"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
