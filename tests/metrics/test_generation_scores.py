"""Generated against held-out cells: equal laws, wrong laws, and each statistic against numpy."""

import numpy as np
import pytest
from scipy import sparse

from qbm_jax.errors import InputError
from qbm_jax.metrics import generation
from qbm_jax.metrics.generation import METRICS, gene_statistics, score_generation

NUM_GENES = 40


def draw(num_cells, seed, coupled=True, batch_shift=0.0):
    """Counts with gene-specific rates that share two hidden factors, unless not `coupled`."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(99)
    loadings = fixed.normal(size=(2, NUM_GENES))
    rates = fixed.gamma(1.0, 4.0, size=NUM_GENES)
    shift = np.exp(batch_shift * fixed.normal(size=NUM_GENES))
    factors = rng.normal(size=(num_cells, 2)) @ loadings
    if not coupled:
        factors = rng.permuted(factors, axis=0)
    return sparse.csr_matrix(rng.poisson(rates * shift * np.exp(0.6 * factors)))


def test_cells_of_one_law_cannot_be_told_apart():
    scores = score_generation(draw(600, 0), draw(600, 1)).scores
    # s.d. of the AUROC of 600 and 600 cells without difference is 0.017; four of them
    assert scores["two_sample_auroc"] == pytest.approx(0.5, abs=0.07)
    assert min(scores[name] for name in ("mean", "variance", "zeros", "gene_gene")) > 0.95


def test_a_set_against_itself_has_perfect_correlations():
    cells = draw(100, 0)
    scores = score_generation(cells, cells).scores
    for name in ("mean", "variance", "zeros", "gene_gene"):
        assert scores[name] == pytest.approx(1)


def test_genes_that_vary_on_their_own_fail_where_genes_are_taken_together():
    scores = score_generation(draw(400, 0, coupled=False), draw(400, 1)).scores
    assert min(scores[name] for name in ("mean", "variance", "zeros")) > 0.95
    assert abs(scores["gene_gene"]) < 0.5
    assert scores["two_sample_auroc"] > 0.7


def test_batches_on_both_sides_of_half_do_not_cancel(monkeypatch):
    found = iter((0.7, 0.3))
    monkeypatch.setattr(generation, "_two_sample_auroc", lambda *_: next(found))
    batch = np.repeat(["a", "b"], 30)
    result = score_generation(draw(60, 0), draw(60, 1), 0, batch, batch)
    assert result.scores["two_sample_auroc"] == pytest.approx(0.5)
    assert result.scores["two_sample_excess"] == pytest.approx(0.2)


def test_wrong_rates_are_recognised_and_lower_the_correlation_of_means():
    scores = score_generation(draw(300, 0, batch_shift=1.5), draw(300, 1)).scores
    assert scores["two_sample_auroc"] > 0.97
    assert scores["mean"] < 0.8


def test_statistics_of_genes_equal_those_of_numpy():
    counts = draw(50, 0)
    dense, ours = counts.toarray(), gene_statistics(counts)
    np.testing.assert_allclose(ours.mean, dense.mean(axis=0))
    np.testing.assert_allclose(ours.variance, dense.var(axis=0), rtol=1e-9)
    np.testing.assert_allclose(ours.zeros, (dense == 0).mean(axis=0))


def test_batches_are_compared_within_and_averaged():
    generated = sparse.vstack([draw(60, 0), draw(60, 1, batch_shift=1.5), draw(5, 2)])
    held_out = sparse.vstack([draw(60, 3), draw(60, 4, batch_shift=1.5), draw(40, 5)])
    ours = score_generation(
        generated,
        held_out,
        0,
        np.repeat(["x", "y", "z"], [60, 60, 5]),
        np.repeat(["x", "y", "z"], [60, 60, 40]),
    )
    assert list(ours.per_batch) == ["x", "y"]
    assert ours.notes == ["batches of fewer than 20 cells: z"]
    assert set(ours.scores) == set(METRICS)
    for name in METRICS:
        mean = (ours.per_batch["x"][name] + ours.per_batch["y"][name]) / 2
        assert ours.scores[name] == pytest.approx(mean)
    swapped = score_generation(
        generated[:120], held_out[:120], 0, np.repeat(["y", "x"], 60), np.repeat(["x", "y"], 60)
    )
    assert swapped.scores["two_sample_auroc"] > ours.scores["two_sample_auroc"] + 0.2


def test_scores_depend_on_the_seed_alone():
    first, second = (score_generation(draw(60, 0), draw(90, 1), seed=4) for _ in range(2))
    assert first.scores == second.scores


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: score_generation(x[:, :5], x), "got 5 generated and 40 held out"),
        (lambda x: score_generation(x[:5], x), "got 5 and 30 in all"),
        (lambda x: score_generation(x, x, 0, np.zeros(30)), "got one of the two"),
        (
            lambda x: score_generation(x, x, 0, np.zeros(29), np.zeros(30)),
            "expected one batch per cell",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(draw(30, 0))
