"""What is wrong with files of stored cells is one clear line that names the file.

Guards qbm_jax.data.on_disk.inputs and qbm_jax.data.on_disk.open.
"""

import os
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor

import anndata
import h5py
import jax
import numpy as np
import pytest
import scipy.sparse as sp
import zarr

from qbm_jax.data import open_cells, read, simulate
from qbm_jax.errors import InputError

QUIET = {"batch_column": "batch", "progress": False}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Passes in many blocks, and reads in many ranges, of these few cells."""
    for name, value in (("BLOCK_ENTRIES", 700), ("BLOCK_ROWS", 37), ("HDF5_GAP", 16)):
        monkeypatch.setattr(f"qbm_jax.data.on_disk.csr_file._{name}", value)


@pytest.fixture
def adata() -> anndata.AnnData:
    cells = simulate(jax.random.key(1), "toy", num_cells=300, num_genes=40)
    return anndata.AnnData(cells.counts, obs=cells.obs, var=cells.var)


def refused(paths, match: str, **options) -> None:
    with pytest.raises(InputError, match=match) as caught:
        open_cells(paths, **(QUIET | options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("storage", "kind"), [(sp.csc_matrix, "CSC"), (np.asarray, "dense")])
def test_other_storages_are_refused_with_the_way_to_convert(tmp_path, adata, storage, kind):
    adata.X = storage(adata.X.toarray())
    adata.write_h5ad(tmp_path / "a.h5ad")
    refused(tmp_path / "a.h5ad", rf"stored as CSR, X is {kind}; .*scipy.sparse.csr_matrix")


def test_missing_genes_are_listed_with_their_files(tmp_path, adata):
    adata.write_h5ad(tmp_path / "one.h5ad")
    adata[:, 2:].copy().write_h5ad(tmp_path / "two.h5ad")
    adata[:, :-1].copy().write_h5ad(tmp_path / "three.h5ad")
    refused(
        [tmp_path / f"{name}.h5ad" for name in ("one", "two", "three")],
        "two.h5ad lacks 2 of them: SIM0001, SIM0002; three.h5ad lacks 1 of them: SIM0040",
    )


def test_missing_columns_files_and_counts_are_told(tmp_path, adata):
    path = tmp_path / "a.h5ad"
    adata.write_h5ad(path)
    refused(path, "a.h5ad: expected column 'donor' in obs, which has: batch", batch_column="donor")
    refused(path, "counts in layer 'spliced', which does not exist", layer="spliced")
    refused(tmp_path / "b.h5ad", "b.h5ad does not exist")
    refused(tmp_path, "a plain directory")
    refused([], "at least one file of cells")
    refused(path, "at least 500 cells with counts, found 300", min_cells=500)
    refused(path, "num_genes must be a whole number of at least 1, got 0", num_genes=0)
    refused(path, "1 are missing: SIM9999", gene_list=["SIM0003", "SIM9999"])


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "1 entries are NaN"), (-1, "are negative")])
def test_counts_that_are_none_are_found_in_any_block(tmp_path, adata, value, reason):
    adata.X.data[-1] = value
    adata.write_h5ad(tmp_path / "a.h5ad")
    refused(tmp_path / "a.h5ad", f"a.h5ad: .*{reason}")


def test_a_matrix_that_does_not_fit_its_tables_is_damage(tmp_path, adata):
    path = tmp_path / "a.h5ad"
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file["X/indices"][7] = 40
    refused(path, "a.h5ad is damaged: a stored count has a gene outside the 40 genes")
    with h5py.File(path, "r+") as file:
        file["X/indices"][7] = 0
        file["X/indptr"][-1] += 1
    refused(path, "a.h5ad is damaged: its matrix is incomplete")


def test_a_file_cut_off_while_it_is_read_is_named(tmp_path, adata):
    path = tmp_path / "a.h5ad"
    adata.write_h5ad(path)
    reader = open_cells(path, **QUIET).reader()
    reader.read(np.arange(10))
    with path.open("r+b") as file:
        file.truncate(4096)
    with pytest.raises(InputError, match=r"a.h5ad (is damaged or truncated|has changed)"):
        reader.read(np.arange(300))
    reader.close()
    refused(path, "a.h5ad is damaged or truncated")


@pytest.mark.parametrize("array", ["data", "indices"])
@pytest.mark.filterwarnings("ignore")
def test_a_chunk_lost_from_a_zarr_folder_is_no_zeros(tmp_path, adata, array):
    path = tmp_path / "a.zarr"
    adata.write_zarr(path)
    reader = open_cells(path, **QUIET).reader()
    for chunk in (path / "X" / array).iterdir():
        if not chunk.name.startswith((".z", "zarr.json")):
            shutil.rmtree(chunk) if chunk.is_dir() else chunk.unlink()
    with pytest.raises(InputError, match=r"a.zarr has changed or lost data"):
        reader.read(np.arange(300))
    refused(path, "a.zarr is damaged: its matrix is incomplete")


@pytest.mark.filterwarnings("ignore")
def test_a_chunk_cut_off_in_a_compressed_zarr_folder_is_damage(tmp_path, adata):
    path = tmp_path / "a.zarr"
    with anndata.settings.override(zarr_write_format=3):
        adata.write_zarr(path)
    matrix = zarr.open_group(path)["X"]
    values, gzip = matrix["data"][:], zarr.codecs.GzipCodec()
    matrix.create_array("data", data=values, overwrite=True, compressors=gzip)
    zarr.consolidate_metadata(path)
    [chunk] = (path / "X/data/c").iterdir()
    for size in (chunk.stat().st_size // 2, 30):
        os.truncate(chunk, size)
        refused(path, "a.zarr is damaged or truncated")


def test_a_file_given_twice_is_refused_under_any_name(tmp_path, adata, monkeypatch):
    adata.write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "link.h5ad").symlink_to("a.h5ad")
    monkeypatch.chdir(tmp_path)
    for other in (tmp_path / "a.h5ad", "a.h5ad", "link.h5ad"):
        refused([tmp_path / "a.h5ad", other], "expected different files of cells, got .* twice")


def test_columns_are_checked_before_the_counts_are_read(tmp_path, adata, monkeypatch):
    adata.obs["holes"] = adata.obs["batch"].astype(object).where(np.arange(300) > 1, np.nan)
    adata.obs["holes"] = adata.obs["holes"].astype("category")
    adata.write_h5ad(tmp_path / "a.h5ad")
    monkeypatch.setattr("qbm_jax.data.on_disk.open.survey", None)
    refused(tmp_path / "a.h5ad", "column 'holes' has none for 2 of 300", batch_column="holes")


def test_a_cell_that_is_empty_needs_no_batch(tmp_path, adata):
    counts = adata.X.toarray()
    counts[:2] = 0
    adata.X = sp.csr_matrix(counts)
    adata.obs["batch"] = adata.obs["batch"].astype(object).where(np.arange(300) > 1, np.nan)
    adata.obs["batch"] = adata.obs["batch"].astype("category")
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert open_cells(tmp_path / "a.h5ad", **QUIET).num_cells == 298


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux does")
def test_no_file_stays_open_where_another_cannot_be_opened(tmp_path, adata):
    adata[:150].write_h5ad(tmp_path / "one.h5ad")
    adata[150:].write_h5ad(tmp_path / "two.h5ad")
    stored = open_cells([tmp_path / "one.h5ad", tmp_path / "two.h5ad"], **QUIET)
    with h5py.File(tmp_path / "two.h5ad", "r+") as file:
        file["X/indptr"][-1] += 1
    before = open_descriptors()
    with pytest.raises(InputError, match=r"two.h5ad is damaged") as caught:
        stored.reader()
    assert caught.value and open_descriptors() == before  # with its traceback still at hand


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux does")
@pytest.mark.parametrize("name", ["a.h5ad", "a.zarr"])
@pytest.mark.filterwarnings("ignore")
def test_too_many_open_files_are_told_as_such(tmp_path, adata, name):
    path = tmp_path / name
    adata.write_zarr(path) if path.suffix == ".zarr" else adata.write_h5ad(path)
    stored = open_cells(path, **QUIET)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(number) for number in os.listdir("/proc/self/fd"))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(highest + 2 - open_descriptors())]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(highest, *taken) + 1, limits[1]))
    try:
        with pytest.raises(InputError, match="as many files open as the system allows"):
            stored.reader()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)


def test_two_threads_read_as_one_does(tmp_path, adata):
    adata.write_h5ad(tmp_path / "a.h5ad")
    reader = open_cells(tmp_path / "a.h5ad", **QUIET).reader()
    rng = np.random.default_rng(0)
    wanted = [rng.integers(300, size=50) for _ in range(40)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(reader.read, wanted))
    for cells, block in zip(wanted, together, strict=True):
        alone = reader.read(cells)
        assert all(np.array_equal(a, b) for a, b in zip(block, alone, strict=True))


def test_a_zarr_folder_read_into_memory_is_told_from_other_folders(tmp_path, adata):
    adata.write_zarr(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"a.zarr is a zarr folder; leave it on disk"):
        read(tmp_path / "a.zarr")
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="b is a directory"):
        read(tmp_path / "b")


def test_a_name_too_long_for_a_file_is_no_file(tmp_path):
    refused(tmp_path / ("x" * 300), "does not exist")
    with pytest.raises(InputError, match="does not exist"):
        read(tmp_path / ("x" * 300))
