"""Gene choice: right genes, original order, raw counts, and no crash on small or odd sets."""

import anndata
import numpy as np
import pandas as pd
import pytest
from refusals import refusal

from qbm_jax.data import Cells, align_genes, from_anndata, preprocess, read
from qbm_jax.errors import InputError

VARIABLE = np.arange(0, 300, 10)  # genes that differ between two halves of each batch


def make_cells(sizes=(150, 150), num_genes: int = 300, seed: int = 0) -> Cells:
    """Poisson counts of spread-out means; every tenth gene is on in every second cell only."""
    rng = np.random.default_rng(seed)
    num_cells = sum(sizes)
    mean = np.exp(rng.uniform(-1.5, 2.5, size=num_genes)) * np.ones((num_cells, 1))
    batch = np.repeat(np.arange(len(sizes)), sizes)
    mean *= np.exp(rng.normal(size=(len(sizes), num_genes)))[batch]  # batch effect: not variable
    mean[:, VARIABLE[num_genes > VARIABLE]] *= np.where(np.arange(num_cells) % 2, 3.0, 0.1)[:, None]
    obs = pd.DataFrame({"batch": batch}, index=[f"cell{c}" for c in range(num_cells)])
    var = pd.DataFrame(index=[f"gene{g}" for g in range(num_genes)])
    adata = anndata.AnnData(rng.poisson(mean).astype(np.float32), obs=obs, var=var)
    return from_anndata(adata, batch_column="batch")


def test_genes_that_vary_within_batches_are_chosen_in_their_order():
    cells = make_cells()
    chosen = preprocess(cells, num_genes=len(VARIABLE))
    positions = [cells.genes.index(gene) for gene in chosen.genes]
    assert positions == sorted(positions)
    assert len(set(positions) & set(VARIABLE)) >= 0.9 * len(VARIABLE)
    np.testing.assert_array_equal(chosen.counts.toarray(), cells.counts.toarray()[:, positions])
    assert chosen.notes == cells.notes


def test_a_mask_of_another_length_is_refused():
    cells = make_cells((30, 30), num_genes=20)
    assert cells.select(np.arange(60) < 3, np.arange(20) < 4).counts.shape == (3, 4)
    for mask in (np.ones(59, bool), np.ones(61, bool), np.ones((60, 1), bool)):
        with pytest.raises(InputError, match=r"expected a mask \[60\] of the cells, got one of sh"):
            cells.select(mask)
    with pytest.raises(InputError, match=r"expected a mask \[20\] of the genes"):
        cells.select(genes=np.ones(60, bool))


def test_positions_that_no_cell_has_are_refused():
    """-1 stands for a name that was not found, and is the last cell to numpy."""
    cells = make_cells((30, 30), num_genes=20)
    assert cells.select([]).num_cells == 0 and cells.select([3, 3]).num_cells == 2
    for wrong, told in (
        ([-1], "from 0 to 59, got -1 to -1"), ([60], "from 0 to 59, got 60 to 60"),
        ([1.5], "whole numbers, or a mask [60], got float64"), (["a"], "whole numbers"),
    ):  # fmt: skip
        assert told in refusal(cells.select, wrong)
    assert "genes once each" in refusal(cells.select, genes=[0, 0])


def test_numbers_and_lists_of_genes_that_are_none_are_refused():
    cells = make_cells((30, 30), num_genes=20)
    for wrong in (2.5, True, float("nan"), 0):
        assert f"num_genes must be a whole number of at least 1, got {wrong}" in refusal(
            preprocess, cells, num_genes=wrong
        )
    line = refusal(preprocess, cells, num_genes=5, min_cells_per_gene=-1)
    assert "min_cells_per_gene must be a whole number of at least 0, got -1" in line
    line = refusal(preprocess, cells, gene_list=cells.genes[0])
    assert f"expected genes as a list of names, got {cells.genes[0]!r}" in line


def test_fewer_genes_than_asked_for_are_all_kept_and_noted():
    cells = make_cells()
    chosen = preprocess(cells, num_genes=5000, min_cells_per_gene=1)
    assert chosen.genes == cells.genes
    assert "Kept all 300 genes, fewer than the 5000 asked for." in chosen.notes


def test_genes_in_too_few_cells_are_dropped_and_counted():
    cells = make_cells()
    sparse = cells.counts.toarray()
    sparse[2:, :7] = 0  # seven genes seen in two cells at most
    sparse[:2, :7] = 1
    adata = anndata.AnnData(sparse, obs=cells.obs, var=cells.var)
    chosen = preprocess(from_anndata(adata), num_genes=300, min_cells_per_gene=3)
    assert chosen.genes == cells.genes[7:]
    assert "Dropped 7 of 300 genes seen in fewer than 3 cells." in chosen.notes


def test_given_genes_come_in_the_given_order():
    cells = make_cells()
    chosen = preprocess(cells, gene_list=["gene9", "gene2"])
    assert chosen.genes == ("gene9", "gene2") and chosen.num_genes == 2
    np.testing.assert_array_equal(
        chosen.counts.toarray(), cells.counts.toarray()[chosen.rows][:, [9, 2]]
    )


def test_missing_genes_are_listed_with_their_number():
    wanted = ["gene1", *(f"absent{g}" for g in range(25))]
    with pytest.raises(InputError, match=r"25 are missing: absent0, .*absent9 and 15 more"):
        align_genes(make_cells(), wanted)


def test_cells_without_counts_in_the_kept_genes_are_dropped_and_counted():
    cells = make_cells()
    gene = cells.counts.getnnz(axis=0).argmin()
    chosen = preprocess(cells, gene_list=[cells.genes[gene]])
    assert chosen.num_cells == cells.counts[:, [gene]].nnz < cells.num_cells
    assert any("cells without a count in the genes kept" in note for note in chosen.notes)
    assert list(chosen.obs.index) == [f"cell{c}" for c in chosen.rows]


def test_small_batches_do_not_vote_and_are_noted():
    cells = make_cells(sizes=(150, 150, 40, 1))
    chosen = preprocess(cells, num_genes=100)  # more than vary: the last ones hang on every vote
    assert chosen.num_cells == cells.num_cells
    assert "Batches too small for a trend had no vote on genes: 2, 3." in chosen.notes
    only_large = preprocess(cells.select(cells=cells.batch < 2), num_genes=100)
    assert chosen.genes == only_large.genes


def test_only_small_batches_are_ranked_together_and_noted():
    chosen = preprocess(make_cells(sizes=(30, 30, 30)), num_genes=40)
    assert chosen.num_genes == 40
    assert any("ranked over all cells at once" in note for note in chosen.notes)


@pytest.mark.parametrize("num_genes", [3, 12])
def test_too_few_distinct_means_for_a_fit_do_not_crash(num_genes):
    counts = np.zeros((60, 15), dtype=np.float32)
    counts[np.arange(60), np.arange(60) % 15] = 1  # every gene has the same mean and variance
    counts[:4, 3] = 9
    cells = from_anndata(anndata.AnnData(counts))
    chosen = preprocess(cells, num_genes=num_genes)
    assert chosen.num_genes == num_genes and "3" in chosen.genes
    assert any("no trend could be fitted" in note for note in chosen.notes)


def test_batches_where_almost_no_gene_varies_do_not_kill_the_process():
    cells = make_cells()
    counts = cells.counts.toarray()
    counts[cells.batch == 1, 2:] = 1  # scikit-misc writes past its arrays on two points
    adata = anndata.AnnData(counts, obs=cells.obs, var=cells.var)
    chosen = preprocess(from_anndata(adata, batch_column="batch"), num_genes=30)
    assert chosen.num_genes == 30
    assert "Batches too small for a trend had no vote on genes: 1." in chosen.notes


def test_bad_numbers_are_refused():
    with pytest.raises(InputError, match="num_genes must be a whole number of at least 1, got 0"):
        preprocess(make_cells(), num_genes=0)
    with pytest.raises(InputError, match="seen in at least 400 cells"):
        preprocess(make_cells(), min_cells_per_gene=400)


def test_real_pancreas_keeps_markers(shared_data):
    cells = read(shared_data("pancreas_baron_segerstolpe.h5ad"), batch_column="batch")
    chosen = preprocess(cells, num_genes=500)
    assert chosen.counts.shape == (3514, 500)
    assert {"INS", "SST", "PPY", "KRT19"} <= set(chosen.genes)
