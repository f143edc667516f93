"""Differential expression: false ones at the stated rate, true ones found, batches kept apart."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from sklearn.metrics import roc_auc_score

from qbm_jax.errors import InputError
from qbm_jax.fitted import expression
from qbm_jax.fitted.model import FittedModel

PAIRS = (("b", "a"), ("c", "a"), ("b", "c"))


def refusal(function, *arguments, **options):
    with pytest.raises(InputError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def true_changes(world, group, reference):
    """Log2 ratios of shares beyond the median gene's [genes]."""
    changes = np.log2(world.shares[group] / world.shares[reference])
    return changes - np.median(changes)


@pytest.fixture(scope="module")
def tables(world):
    """The table of each pair of types."""
    find = world.model.differential_expression
    return {pair: find(world.adata, "kind", *pair) for pair in PAIRS}


def test_the_table_has_a_row_a_gene_the_surest_first(world, tables):
    for table in tables.values():
        assert sorted(table.index) == sorted(world.model.settings.genes)
        assert table.probability.between(0, 1).all()
        assert table.probability.is_monotonic_decreasing and table.fdr.is_monotonic_increasing
        np.testing.assert_allclose(table.fdr.iloc[-1], 1 - table.probability.mean())
        assert (table.standard_error > 0).all()


def test_the_changes_are_those_of_the_rates_and_their_errors_are_honest(world, tables):
    for pair, table in tables.items():
        truth = true_changes(world, *pair)
        found = table.loc[list(world.model.settings.genes)]
        assert np.corrcoef(found.log2_fold_change, truth)[0, 1] > 0.94
        null = np.abs(truth) < 0.5
        scores = (found.log2_fold_change - truth)[null] / found.standard_error[null]
        assert 0.7 < np.std(scores) < 1.4


def test_false_discoveries_stay_within_the_binomial_error_of_their_rate(world, tables):
    called = false = 0
    for pair, table in tables.items():
        chosen = table.index[table.fdr < 0.05]
        truth = dict(zip(world.model.settings.genes, true_changes(world, *pair), strict=True))
        called += len(chosen)
        false += sum(abs(truth[gene]) < 0.25 for gene in chosen)
    assert called > 40  # of 12 + 12 + 24 that change
    assert false <= 0.05 * called + 2 * np.sqrt(0.05 * called)


def test_the_power_is_at_most_0_02_of_auroc_below_that_of_wilcoxons_test(world, tables):
    adata = world.adata.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    genes = list(world.model.settings.genes)
    for (group, reference), table in tables.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of scanpy on its own frames
            sc.tl.rank_genes_groups(
                adata, "kind", groups=[group], reference=reference, method="wilcoxon"
            )
        tested = sc.get.rank_genes_groups_df(adata, group).set_index("names").loc[genes]
        truth = np.abs(true_changes(world, group, reference)) > 0.5
        own = roc_auc_score(truth, table.probability.loc[genes])
        assert own >= roc_auc_score(truth, -tested.pvals) - 0.02
        assert own > 0.97


def test_halves_of_one_type_do_not_differ(world):
    """Nothing is true here: any call is false."""
    draw = np.random.default_rng(0)
    adata = world.adata[world.adata.obs.kind == "a"].copy()
    calls = []
    for seed in range(10):
        adata.obs["half"] = np.where(draw.permutation(adata.n_obs) < adata.n_obs // 2, "x", "y")
        table = world.model.differential_expression(adata, "half", "x", "y", seed=seed)
        calls.append((table.fdr < 0.05).mean())
    assert np.mean(calls) < 0.05


def test_groups_that_fill_the_batches_unevenly_are_compared_within_each(world):
    """Type a is mostly in b1, half of it called x: a comparison across batches would find many."""
    adata = world.adata[world.adata.obs.kind == "a"].copy()
    in_b1 = (adata.obs.batch == "b1").to_numpy()
    draw = np.random.default_rng(1).random(adata.n_obs)
    adata.obs["part"] = np.where(draw < np.where(in_b1, 0.85, 0.15), "x", "y")
    table = world.model.differential_expression(adata, "part", "x", "y")
    assert (table.fdr >= 0.05).all()


def test_groups_without_a_common_batch_are_decoded_in_all_with_a_warning(world):
    adata = world.adata[world.adata.obs.kind == "a"].copy()
    with pytest.warns(UserWarning, match="no batch has 3 cells of both groups"):
        table = world.model.differential_expression(adata, "batch", "b1", "b2")
    assert (table.fdr >= 0.05).mean() > 0.8


def test_all_other_cells_are_the_reference_unless_one_is_named(world, tables):
    rest = world.model.differential_expression(world.adata, "kind", "b")
    up = rest[(rest.fdr < 0.05) & (rest.log2_fold_change > 0)].index
    raised = [f"gene{i}" for i in range(0, 12, 2)]
    assert set(raised) <= set(up)
    assert (rest.mean_group / rest.mean_reference).loc[raised].min() > 1.5


def test_the_probabilities_of_simulated_changes_are_calibrated():
    draw = np.random.default_rng(0)
    truth = np.where(draw.random(4000) < 0.7, 0.0, draw.normal(0, 1.0, 4000))
    error = draw.uniform(0.1, 0.6, 4000)
    found = expression.probability_beyond(0.25, truth + error * draw.normal(size=4000), error)
    for low in (0.0, 0.2, 0.5, 0.8):
        some = (found >= low) & (found < low + 0.2)
        assert abs((np.abs(truth[some]) > 0.25).mean() - found[some].mean()) < 0.06
    chosen = np.sort(found)[::-1]
    listed = expression.expected_fdr(chosen) < 0.05
    false = np.abs(truth[np.argsort(-found)[listed]]) <= 0.25
    assert false.mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / listed.sum())


def test_what_cannot_be_compared_is_refused_in_one_line(world):
    find = world.model.differential_expression
    assert "expected group column 'cluster' in obs, which has: batch, kind" in refusal(
        find, world.adata, "cluster", "a"
    )
    assert "the name of a group column of obs, got list" in refusal(
        find, world.adata, ["kind", "batch"], "a"
    )
    twice = world.adata.copy()
    twice.obs = pd.concat([twice.obs, twice.obs[["kind"]]], axis=1)
    assert "it is there 2 times" in refusal(find, twice, "kind", "a")
    assert "no cells of 'z' in column 'kind'; there are a, b, c" in refusal(
        find, world.adata, "kind", "z"
    )
    assert "two different groups" in refusal(find, world.adata, "kind", "a", "a")
    alone = world.adata[world.adata.obs.kind == "a"].copy()
    assert "at least 3 cells with counts of each group, got 0 of the reference" in refusal(
        find, alone, "kind", "a"
    )
    options = world.model.settings.model | {"likelihood": "normal"}
    model = FittedModel(
        dataclasses.replace(world.model.settings, model=options), world.model.params
    )
    line = refusal(model.differential_expression, world.adata, "kind", "a")
    assert "expected a likelihood of counts, got normal" in line
