"""Cells that stay on disk are those that reading gives, in every storage, order and selection.

Guards qbm_jax.data.on_disk.parts and qbm_jax.data.on_disk.sample.
"""

import tracemalloc

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

from qbm_jax.data import (
    check_likelihood,
    open_cells,
    preprocess,
    read,
    simulate,
)
from qbm_jax.data.cell_table import CellTable
from qbm_jax.data.on_disk.csr_file import CsrFile
from qbm_jax.data.on_disk.stored_cells import StoredCells
from qbm_jax.data.on_disk.survey import stratified_sample
from qbm_jax.errors import InputError

COLUMNS = {"batch_column": "batch", "label_column": "cell_type"}
QUIET = {**COLUMNS, "progress": False}
NUM_CELLS, NUM_GENES = 400, 60


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Passes in many blocks, and reads in many ranges, of these few cells."""
    small = {"BLOCK_ENTRIES": 700, "BLOCK_ROWS": 37, "HDF5_GAP": 16, "READ_ENTRIES": 1500}
    for name, value in small.items():
        monkeypatch.setattr(f"qbm_jax.data.on_disk.csr_file._{name}", value)


@pytest.fixture(scope="module")
def adata() -> anndata.AnnData:
    """Simulated counts; some cells are empty, some genes without any count."""
    cells = simulate(jax.random.key(1), "toy", num_cells=NUM_CELLS, num_genes=NUM_GENES)
    counts = cells.counts.toarray()
    counts[[3, 50, 399]] = 0
    counts[:, [0, 7]] = 0
    return anndata.AnnData(sp.csr_matrix(counts), obs=cells.obs, var=cells.var)


def write(adata: anndata.AnnData, path) -> str:
    """As h5ad, or as zarr of the format that the name tells."""
    if path.suffix == ".zarr":
        with anndata.settings.override(zarr_write_format=2 if "v2" in path.name else 3):
            adata.write_zarr(path)
    else:
        adata.write_h5ad(path)
    return str(path)


def unordered(adata: anndata.AnnData) -> anndata.AnnData:
    """The same counts with stored zeros, and genes in descending order within each row."""
    stored = sp.csr_matrix(adata.X, dtype=np.int64)
    dense = stored.toarray()
    stored = sp.csr_matrix(np.ones_like(dense))
    stored.data = dense.ravel().copy()
    by_row = np.arange(dense.size).reshape(dense.shape)[:, ::-1].ravel()
    stored = sp.csr_matrix((stored.data[by_row], stored.indices[by_row], stored.indptr))
    return anndata.AnnData(stored, obs=adata.obs, var=adata.var)


def assert_same(stored: StoredCells, cells) -> None:
    """Equal in everything but that the counts are on disk."""
    fields = ("genes", "batch_names", "label_names", "batch_column", "label_column")
    for field in (*fields, "is_integer", "num_cells", "num_genes"):
        assert getattr(stored, field) == getattr(cells, field), field
    for field in ("rows", "batch", "labels", "labelled"):
        np.testing.assert_array_equal(getattr(stored, field), getattr(cells, field))
    pd.testing.assert_frame_equal(stored.obs, cells.obs[list(stored.obs.columns)])
    pd.testing.assert_frame_equal(stored.var, cells.var)
    np.testing.assert_array_equal(stored.totals, np.asarray(cells.counts.sum(axis=1)).ravel())
    assert stored.max_nonzeros == np.diff(cells.counts.indptr).max()


def assert_reads(stored: StoredCells, counts: sp.csr_matrix) -> None:
    """Blocks, single cells, shuffled and repeated ones are the rows of `counts`."""
    rng = np.random.default_rng(0)
    reader = stored.reader()
    for cells in (
        np.arange(stored.num_cells),
        rng.permutation(stored.num_cells),
        np.array([5, 5, 2, 230, 2]),
        np.array([stored.num_cells - 1]),
        np.concatenate([np.arange(64, 96), np.arange(0, 32), np.arange(150, 182)]),
    ):
        block = reader.read(cells)
        expected = counts[cells]
        expected.sort_indices()
        np.testing.assert_array_equal(block.indptr, expected.indptr)
        np.testing.assert_array_equal(block.indices, expected.indices)
        np.testing.assert_array_equal(block.values, expected.data)
        np.testing.assert_array_equal(block.batch, stored.batch[cells])
        assert [a.dtype for a in block] == [np.int64, np.int32, np.float32, np.int32]
    reader.close()


@pytest.mark.parametrize("name", ["a.h5ad", "v2.zarr", "v3.zarr"])
@pytest.mark.filterwarnings("ignore")  # zarr's and anndata's on formats to come
def test_cells_on_disk_are_those_in_memory(tmp_path, adata, name):
    stored = open_cells(write(adata, tmp_path / name), num_genes=30, **QUIET)
    cells = preprocess(read(write(adata, tmp_path / "memory.h5ad"), **COLUMNS), num_genes=30)
    assert_same(stored, cells)
    assert_reads(stored, cells.counts)
    assert stored.notes == cells.notes
    assert not stored.simulated and stored.source == name


def test_both_kinds_of_cells_have_all_that_a_table_of_cells_has(tmp_path, adata):
    path = write(adata, tmp_path / "a.h5ad")
    names = [name for name in vars(CellTable) if not name.startswith("_")]
    assert {"genes", "batch", "largest", "fractions", "select"} <= set(names)
    for cells in (read(path, **COLUMNS), open_cells(path, **QUIET)):
        assert not [name for name in names if not hasattr(cells, name)]
        for name in set(names) - {"fractions", "select"}:
            with pytest.raises(AttributeError):
                setattr(cells, name, None)


def test_rows_stored_unsorted_with_zeros_and_as_whole_numbers_are_read_alike(tmp_path, adata):
    stored = open_cells(write(unordered(adata), tmp_path / "odd.h5ad"), num_genes=30, **QUIET)
    cells = preprocess(read(tmp_path / "odd.h5ad", **COLUMNS), num_genes=30)
    assert not stored.parts[0].is_clean
    assert_same(stored, cells)
    assert_reads(stored, cells.counts)


@pytest.mark.parametrize("options", [{"layer": "raw_counts"}, {"use_raw": True}])
def test_a_layer_and_raw_are_read_in_place_of_x(tmp_path, adata, options):
    other = anndata.AnnData(adata.X * 7, obs=adata.obs, var=adata.var)
    other.layers["raw_counts"] = adata.X
    other.raw = adata
    path = write(other, tmp_path / "a.h5ad")
    stored = open_cells(path, num_genes=30, **options, **QUIET)
    cells = preprocess(read(path, **options, **COLUMNS), num_genes=30)
    assert_same(stored, cells)
    assert_reads(stored, cells.counts)


@pytest.mark.filterwarnings("ignore")
def test_several_files_with_other_gene_orders_are_one_set(tmp_path, adata):
    first, second, third = adata[:150], adata[150:151], adata[151:]
    extra = anndata.AnnData(np.full((1, 1), 9.0), obs=second.obs, var=pd.DataFrame(index=["more"]))
    second = anndata.concat([second[:, ::-1], extra], axis=1, merge="first")
    second.X = sp.csr_matrix(second.X)
    paths = [
        write(first.copy(), tmp_path / "one.h5ad"),
        write(second, tmp_path / "two.zarr"),
        write(
            third[:, np.random.default_rng(0).permutation(NUM_GENES)].copy(), tmp_path / "3.h5ad"
        ),
    ]
    stored = open_cells(paths, num_genes=30, **QUIET)
    cells = preprocess(read(write(adata, tmp_path / "all.h5ad"), **COLUMNS), num_genes=30)
    assert stored.genes == cells.genes and stored.source == "one.h5ad, two.zarr, 3.h5ad"
    assert [stored.batch_names[b] for b in stored.batch] == [
        cells.batch_names[b] for b in cells.batch
    ]
    np.testing.assert_array_equal(stored.totals, np.asarray(cells.counts.sum(axis=1)).ravel())
    assert_reads(stored, cells.counts)
    assert "Left out 1 genes of two.zarr that one.h5ad lacks." in stored.notes


def chunked(path, **layout) -> None:
    """Writes the stored counts anew, with other chunks or shards."""
    matrix = zarr.open_group(path)["X"]
    for name in ("data", "indices"):
        matrix.create_array(name, data=matrix[name][:], overwrite=True, **layout)
    zarr.consolidate_metadata(path)


@pytest.mark.filterwarnings("ignore")
def test_a_zarr_folder_with_shards_is_read_as_any_other(tmp_path, adata):
    path = write(adata, tmp_path / "v3.zarr")
    chunked(path, chunks=(100,), shards=(700,))  # the last has room for more chunks than there are
    assert zarr.open_group(path)["X/data"].nchunks % 7
    stored = open_cells(path, num_genes=30, **QUIET)
    cells = preprocess(read(write(adata, tmp_path / "memory.h5ad"), **COLUMNS), num_genes=30)
    assert_same(stored, cells)
    assert_reads(stored, cells.counts)


@pytest.mark.filterwarnings("ignore")
def test_scattered_cells_take_no_memory_for_those_between(tmp_path, monkeypatch):
    monkeypatch.setattr("qbm_jax.data.on_disk.csr_file._READ_ENTRIES", 2**14)
    counts = sp.random(20_000, 100, density=0.5, format="csr", dtype=np.float32, random_state=0)
    path = write(anndata.AnnData(counts), tmp_path / "v3.zarr")
    chunked(path, chunks=(4096,))  # 80 cells: some of each chunk are wanted
    file, rows = CsrFile(tmp_path / "v3.zarr", None, False), np.arange(0, 20_000, 40)
    file.read(rows[:9])  # what is allocated once
    tracemalloc.start()
    found = file.read(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found != counts[rows]).nnz == 0
    wanted, between = 8 * found.nnz, 8 * counts.nnz  # bytes: 0.2 MB and 8 MB
    assert wanted < peak < wanted + between / 8


def test_genes_given_by_name_come_in_their_order(tmp_path, adata):
    path = write(adata, tmp_path / "a.h5ad")
    seen = adata.X.getnnz(axis=0)
    rare = np.flatnonzero(seen > 0)[np.argsort(seen[seen > 0])][[4, 2, 8]]
    genes = list(adata.var_names[[*rare, np.argmin(seen)]])
    assert seen.min() == 0  # a gene that no cell expresses is kept as well
    stored = open_cells(path, gene_list=genes, **QUIET)
    cells = read(path, genes=genes, **COLUMNS)
    assert stored.genes == cells.genes == tuple(genes)
    np.testing.assert_array_equal(stored.rows, cells.rows)
    assert_reads(stored, cells.counts)
    assert any("without a count in the genes kept" in note for note in stored.notes)


def test_selected_cells_in_memory_are_those_of_the_whole_set(tmp_path, adata):
    stored = open_cells(write(adata, tmp_path / "a.h5ad"), num_genes=30, **QUIET)
    cells = preprocess(read(tmp_path / "a.h5ad", **COLUMNS), num_genes=30)
    chosen = np.array([9, 2, 350, 17])
    part, expected = stored.select(chosen), cells.select(cells=chosen)
    assert (part.counts != expected.counts).nnz == 0
    assert list(part.obs.index) == list(expected.obs.index)
    np.testing.assert_array_equal(part.labels, expected.labels)
    np.testing.assert_array_equal(part.rows, expected.rows)


def test_genes_chosen_on_a_sample_are_the_same_each_time_and_mostly_those_of_all(tmp_path):
    cells = simulate(jax.random.key(2), "toy", num_cells=2000, num_genes=200)
    path = write(anndata.AnnData(cells.counts, cells.obs, cells.var), tmp_path / "a.h5ad")
    on_sample = [open_cells(path, num_genes=100, max_sample=1500, **QUIET) for _ in range(2)]
    assert on_sample[0].genes == on_sample[1].genes
    on_all = open_cells(path, num_genes=100, **QUIET)
    assert len(set(on_sample[0].genes) & set(on_all.genes)) > 80
    assert any("sample of 1500 of 2000 cells" in note for note in on_sample[0].notes)
    assert not any("sample" in note for note in on_all.notes)


def test_the_sample_has_fewer_cells_where_these_have_many_counts(tmp_path, adata, monkeypatch):
    path = write(adata, tmp_path / "a.h5ad")
    monkeypatch.setattr("qbm_jax.data.on_disk.sample.MAX_SAMPLE_COUNTS", adata.X.nnz * 3 // 4)
    stored = open_cells(path, num_genes=30, **QUIET)
    [note] = [note for note in stored.notes if "sample" in note]
    size = int(note.split("sample of ")[1].split()[0])
    assert 290 <= size <= 300  # of 400, less those that are empty


def test_a_sample_has_small_batches_whole_and_large_ones_in_proportion():
    strata = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [6000, 3000, 40]))
    sample = stratified_sample(strata, 940)
    assert len(sample) == 940 and np.all(np.diff(sample) > 0)
    sizes = np.bincount(strata[sample])
    assert sizes[2] == 40 and abs(sizes[0] - 600) <= 1
    np.testing.assert_array_equal(sample, stratified_sample(strata, 940))
    assert not np.array_equal(sample, stratified_sample(strata, 940, seed=1))
    np.testing.assert_array_equal(stratified_sample(strata, 9040), np.arange(9040))


def test_the_fingerprint_tells_other_cells_apart(tmp_path, adata):
    path = write(adata, tmp_path / "a.h5ad")
    print_of = open_cells(path, **QUIET).fingerprint()
    assert print_of == open_cells(path, **QUIET).fingerprint()
    more, other_genes = adata.copy(), adata.copy()
    more.X.data[len(more.X.data) // 2] += 1  # in no block of the checksum
    other_genes.var_names = adata.var_names[::-1]
    for altered in (more, other_genes, adata[::-1].copy(), adata[1:].copy()):
        assert open_cells(write(altered, tmp_path / "a.h5ad"), **QUIET).fingerprint() != print_of


def test_counts_that_are_not_whole_are_refused_for_a_law_of_counts_only(tmp_path, adata):
    halves = anndata.AnnData(adata.X / 2, obs=adata.obs, var=adata.var)
    stored = open_cells(write(halves, tmp_path / "a.h5ad"), **QUIET)
    assert not stored.is_integer
    check_likelihood(stored, "normal")
    with pytest.raises(InputError, match="nb expects whole-number counts, found values such as"):
        check_likelihood(stored, "nb")
