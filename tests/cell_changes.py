"""Changes of the cells of `small_adata`, and the parts of their fingerprint that they change."""

import numpy as np
import pandas as pd


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
