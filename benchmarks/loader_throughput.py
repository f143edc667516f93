"""Cells per second that our reader gives from a file on disk, against other loaders of it.

python benchmarks/loader_throughput.py --num_cells=50000 --json=out.json

All loaders read the same cells of one uncompressed h5ad (simulated cells, or --path) in shuffled
order. They give sparse counts, as our training takes them; scvi-tools' gives dense minibatches of
128, as SCVI takes them, and so does `ours_dense`. They take turns in one process; every figure is a
median over repeats, every ratio a median of ratios within a repeat. The file has been read before,
so that the disk itself is not measured.

Ours reads ranges of the stored arrays, because the backed matrices of anndata, on which the other
loaders stand, read scattered rows one by one; `anndata_ranges` is what they give for whole blocks
as slices, and `ours_blocks_of` the same size is what the ranges give.
annbatch (Python 3.12 or later) reads zarr folders alone: it and `ours_zarr_blocks_of_64` read one
that anndata writes of the same cells, in shuffled blocks of 64 cells, 128 blocks at a time, both
through zarrs, as annbatch advises, where that is installed.
scvi-tools (extra `peers`), scdataset and annbatch are needed, or left out by --without.
"""

import argparse
import contextlib
import itertools
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata
import jax
import numpy as np
import zarr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.figures import tell
from benchmarks.kit.peers import EXTRA, add_without, present
from qbm_jax.data import StoredReader, open_cells, write_simulated
from qbm_jax.runtime.optional import installed

MINIBATCH = 128
STEPS = 64
"""Minibatches that ours reads at a time; a dispatch of the training loop has up to 100."""

ALL_GENES: dict[str, Any] = {"num_genes": 100_000, "min_cells_per_gene": 0}
BLOCK_SIZES = (1, 16, 64, 256)
PEER = "scvi_tools"
PEERS = {
    "scvi": EXTRA,
    "scdataset": "pip install scdataset",
    "annbatch": "pip install annbatch zarrs",
}
OURS_OF_ZARR, ANNBATCH = "ours_zarr_blocks_of_64", "annbatch_blocks_of_64"

Loader = Callable[[np.random.Generator], Iterator[int]]
"""Numbers of cells of one minibatch or load after another, each in memory when it is told."""


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", default="", help="h5ad file; default: simulated cells")
    parser.add_argument("--num_cells", type=int, default=50_000, help="of simulated cells")
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="per loader and repeat")
    add_without(parser)
    parser.add_argument("--smoke", action="store_true", help="few cells, one repeat")
    return parser.parse_args()


def ours(reader: StoredReader, block_size: int) -> Loader:
    """Our reader, 64 minibatches at a time, blocks of cells in shuffled order."""

    def load(rng: np.random.Generator) -> Iterator[int]:
        for cells in loads(rng, reader.num_cells, block_size):
            yield len(reader.read(cells).batch)

    return load


def ours_in_order(reader: StoredReader) -> Loader:
    """Our reader, all cells one after another."""

    def load(_: np.random.Generator) -> Iterator[int]:
        for start in range(0, reader.num_cells, MINIBATCH * STEPS):
            stop = min(start + MINIBATCH * STEPS, reader.num_cells)
            yield len(reader.read(np.arange(start, stop)).batch)

    return load


def ours_dense(reader: StoredReader, block_size: int) -> Loader:
    """Our reader with dense minibatches of 128."""

    def load(rng: np.random.Generator) -> Iterator[int]:
        for cells in loads(rng, reader.num_cells, block_size):
            counts = reader.counts(cells)
            for start in range(0, len(cells), MINIBATCH):
                yield len(counts[start : start + MINIBATCH].toarray())

    return load


def loads(rng: np.random.Generator, num_cells: int, block_size: int) -> Iterator[np.ndarray]:
    """Cells of one load after another, in an epoch over shuffled blocks."""
    first = rng.permutation(max(num_cells // block_size, 1)) * block_size
    cells = (first[:, None] + np.arange(min(block_size, num_cells))[None, :]).ravel()
    width = MINIBATCH * STEPS
    return (cells[start : start + width] for start in range(0, len(cells), width))


def anndata_rows(path: Path) -> Loader:
    """The backed matrix of anndata, the scattered rows of one minibatch at a time."""
    matrix = anndata.read_h5ad(path, backed="r").X

    def load(rng: np.random.Generator) -> Iterator[int]:
        cells = rng.permutation(matrix.shape[0])
        for start in range(0, len(cells), MINIBATCH):
            yield matrix[np.sort(cells[start : start + MINIBATCH])].shape[0]

    return load


def anndata_ranges(path: Path, block_size: int) -> Loader:
    """The backed matrix of anndata, blocks of rows as slices."""
    matrix = anndata.read_h5ad(path, backed="r").X

    def load(rng: np.random.Generator) -> Iterator[int]:
        for block in rng.permutation(matrix.shape[0] // block_size):
            yield matrix[block * block_size : (block + 1) * block_size].shape[0]

    return load


def scvi_loader(path: Path) -> Loader:
    """scvi-tools' own loader of a backed AnnData, shuffled, as SCVI trains on it."""
    import scvi
    from scvi.dataloaders import AnnDataLoader

    adata = anndata.read_h5ad(path, backed="r")
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch" if "batch" in adata.obs else None)
    manager = scvi.model.SCVI(adata).adata_manager

    def load(rng: np.random.Generator) -> Iterator[int]:
        scvi.settings.seed = int(rng.integers(2**31))
        for minibatch in AnnDataLoader(manager, batch_size=MINIBATCH, shuffle=True):
            yield len(minibatch["X"])

    return load


def scdataset_loader(path: Path, block_size: int) -> Loader:
    """The loader scDataset: shuffled blocks, as many minibatches per fetch as ours at a time."""
    from scdataset import BlockShuffling, scDataset

    adata = anndata.read_h5ad(path, backed="r")
    matrix = adata.X

    def load(rng: np.random.Generator) -> Iterator[int]:
        loader = scDataset(
            adata,
            BlockShuffling(block_size=block_size),
            fetch_callback=lambda _, rows: matrix[rows],
            batch_size=MINIBATCH,
            fetch_factor=STEPS,
            seed=int(rng.integers(2**31)),
        )
        return (minibatch.shape[0] for minibatch in loader)

    return load


def annbatch_loader(path: Path, block_size: int) -> Loader:
    """The loader annbatch: shuffled blocks, as many cells at a time as ours, minibatches of 128."""
    from annbatch import Loader as Annbatch

    matrix = anndata.io.sparse_dataset(zarr.open_group(str(path), mode="r")["X"])

    def load(rng: np.random.Generator) -> Iterator[int]:
        loader = Annbatch(
            chunk_size=block_size, preload_nchunks=MINIBATCH * STEPS // block_size, shuffle=True,
            batch_size=MINIBATCH, drop_last=False, preload_to_gpu=False, rng=rng,
        ).add_dataset(matrix)  # fmt: skip
        return (minibatch["X"].shape[0] for minibatch in loader)

    return load


def contenders(
    path: Path,
    reader: StoredReader,
    zarr_path: Path,
    zarr_reader: StoredReader | None,
    peers: set[str],
) -> dict[str, Loader]:
    """Our loaders and the peers; those of the zarr folder where there is a reader of it."""
    loaders = {f"ours_blocks_of_{size}": ours(reader, size) for size in BLOCK_SIZES}
    loaders["ours_dense_blocks_of_64"] = ours_dense(reader, 64)
    loaders["ours_in_order"] = ours_in_order(reader)
    loaders["anndata_rows"] = anndata_rows(path)
    loaders["anndata_ranges_of_64"] = anndata_ranges(path, 64)
    if "scvi" in peers:
        loaders[PEER] = scvi_loader(path)
    if "scdataset" in peers:
        loaders["scdataset_blocks_of_64"] = scdataset_loader(path, 64)
    if zarr_reader is not None:
        loaders[OURS_OF_ZARR] = ours(zarr_reader, 64)
        loaders[ANNBATCH] = annbatch_loader(zarr_path, 64)
    return loaders


def cells_per_second(load: Loader, seed: int, seconds: float) -> float:
    """Speed over some seconds of as many epochs as that takes; start-up of an epoch included."""
    rng, num_cells, start = np.random.default_rng(seed), 0, time.perf_counter()
    for count in itertools.chain.from_iterable(load(rng) for _ in itertools.count()):
        num_cells += count
        elapsed = time.perf_counter() - start
        if elapsed > seconds:
            return num_cells / elapsed
    raise AssertionError("epochs do not end")


def measure(loaders: dict[str, Loader], repeats: int, seconds: float) -> dict[str, float]:
    """Median cells per second of each loader, and ratios to the peers."""
    speeds: dict[str, list[float]] = {name: [] for name in loaders}
    for repeat in range(repeats + 1):
        for name, load in loaders.items():
            speeds[name].append(cells_per_second(load, repeat, seconds if repeat else 0.1))
    speeds = {name: values[1:] for name, values in speeds.items()}  # the first warms up
    figures = {f"cells_per_second_{n}": statistics.median(v) for n, v in speeds.items()}
    compared = ("ours_blocks_of_1", "ours_blocks_of_64", "ours_dense_blocks_of_64", OURS_OF_ZARR)
    for mine, peer in itertools.product(compared, loaders):
        same_file = (mine == OURS_OF_ZARR) == (peer == ANNBATCH)
        if not peer.startswith("ours") and same_file:
            pairs = [a / b for a, b in zip(speeds[mine], speeds[peer], strict=True)]
            figures[f"ratio_{mine}_to_{peer}"] = statistics.median(pairs)
    return figures


def main() -> None:
    """Measures, prints and writes."""
    options = arguments()
    if options.smoke:
        options.num_cells, options.repeats, options.seconds = 1000, 1, 0.05
    peers = present(PEERS, options)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(options.path or Path(folder) / "cells.h5ad")
        if not options.path:
            write_simulated(path, jax.random.key(0), num_cells=options.num_cells)
        stored = open_cells(path, **ALL_GENES)
        with contextlib.ExitStack() as readers:
            reader, zarr_reader = readers.enter_context(stored.reader()), None
            zarr_path = Path(folder) / "cells.zarr"
            if "annbatch" in peers:
                if installed("zarrs"):
                    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
                anndata.read_h5ad(path).write_zarr(zarr_path)
                zarr_reader = readers.enter_context(open_cells(zarr_path, **ALL_GENES).reader())
            loaders = contenders(path, reader, zarr_path, zarr_reader, peers)
            figures = measure(loaders, options.repeats, options.seconds)
    print(f"{stored.source}: {stored.num_cells} cells x {stored.num_genes} genes")
    tell(figures, options.json)


if __name__ == "__main__":
    main()
