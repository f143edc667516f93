"""Training from disk: against memory, against the reader alone, and at twenty times the cells.

python benchmarks/streamed_training.py --json=out.json

Simulated cells (preset atlas: 2000 genes, about 90 % zeros) in h5ad files, which are made in
--folder if they are not there. In turns, in one process, the same model takes the same number of
dispatches of about 90 to 100 steps (equal parts of an epoch) of 128 cells in blocks of 64,

* from the smaller file, put into memory whole;
* from the smaller file on disk;
* from the larger file on disk;

and the larger file is read in the same order without a training step. The first dispatch of each
(compilation) is left out. Rates are medians over all dispatches, ratios are medians over repeats.
The peak of resident memory is that of the process, which holds the smaller file in memory as well.
"""

import argparse
import contextlib
import itertools
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.figures import keep
from qbm_jax import samplers, training
from qbm_jax.data import StoredCells, open_cells, write_simulated
from qbm_jax.feed.cell_source import CellSource, InMemory, Streamed
from qbm_jax.fitted.model import device_counts
from qbm_jax.model import vae
from qbm_jax.training.plan import dispatches, plan_epochs

KEY = jax.random.key(0)


def simulated(folder: Path, num_cells: int) -> StoredCells:
    """A file of simulated cells, made if it is not there."""
    path = folder / f"simulated-atlas-{num_cells}-seed0.h5ad"
    if not path.exists():
        write_simulated(path, KEY, "atlas", num_cells=num_cells)
    # All genes, so that files of any number of cells have the same model.
    genes = [f"SIM{g + 1:04d}" for g in range(2000)]
    return open_cells(path, batch_column="batch", label_column="cell_type", gene_list=genes)


class Loop:
    """Trains on, a few dispatches at a time."""

    def __init__(self, source: CellSource, model: vae.VAE, options: training.TrainOptions):
        """Starts the training, and takes the first dispatch, which compiles."""
        key_split, key_init, self.key_order, self.key_train, _ = jax.random.split(KEY, 5)
        self.plan = plan_epochs(source.num_cells, options, key_split)
        sampler = samplers.build("gibbs", num_steps=2)
        steps = self.plan.steps_per_epoch
        self.dispatch = training.build_dispatch(model, sampler, options, steps)
        optimiser = training.build_optimiser(options, options.num_epochs * steps)
        self.state = training.init_state(key_init, model, sampler, optimiser, options.num_chains)
        self.parts = source.stream(dispatches(self.key_order, self.plan, 0, options.num_epochs))
        self.rates(1)

    def rates(self, count: int) -> list[float]:
        """Cells per second of the next dispatches."""
        found = []
        for _ in range(count):
            start = time.perf_counter()
            data, rows = next(self.parts)
            self.state, metrics = self.dispatch(self.key_train, data, self.state, rows)
            jax.block_until_ready(metrics)
            found.append(rows.size / (time.perf_counter() - start))
        return found


class Reading:
    """Reads in the order of a training, without a step."""

    def __init__(self, source: CellSource, options: training.TrainOptions):
        """Reads the first dispatch."""
        key_split, _, key_order, *_ = jax.random.split(KEY, 5)
        plan = plan_epochs(source.num_cells, options, key_split)
        self.parts: Generator = source.stream(dispatches(key_order, plan, 0, options.num_epochs))
        next(self.parts)

    def rates(self, count: int) -> list[float]:
        """Cells per second of the next dispatches, ready on the device."""
        start = time.perf_counter()
        sizes = [rows.size for _, rows in itertools.islice(self.parts, count)]
        return [sum(sizes) / (time.perf_counter() - start)]


def main() -> None:
    """Prints and, with --json, writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", help="where the files are; a temporary folder if not given")
    parser.add_argument("--num_cells", default="50000,1000000", help="smaller, larger")
    parser.add_argument("--dispatches", type=int, default=3, help="of each in a repeat")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--smoke", action="store_true", help="seconds, and numbers without meaning")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.num_cells, arguments.dispatches, arguments.repeats = "1000,3000", 1, 2
    small, large = (int(number) for number in arguments.num_cells.split(","))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary)
        result = measure(folder, small, large, arguments)
    print(json.dumps(result, indent=1))
    keep(result, arguments.json)


def in_turns(
    contestants: dict[str, Loop | Reading], arguments: argparse.Namespace
) -> dict[str, list[list[float]]]:
    """Cells per second of each, a list for each repeat; they read no more afterwards."""
    rates: dict[str, list[list[float]]] = {name: [] for name in contestants}
    with contextlib.ExitStack() as stack:
        for contestant in contestants.values():
            stack.enter_context(contextlib.closing(contestant.parts))
        for _ in range(arguments.repeats):
            for name, contestant in contestants.items():
                rates[name].append(contestant.rates(arguments.dispatches))
    return rates


def measure(folder: Path, small: int, large: int, arguments: argparse.Namespace) -> dict:
    """All rates of one run."""
    options = training.TrainOptions(
        num_epochs=1000, block_size=64, max_steps_per_dispatch=5 if arguments.smoke else 100
    )
    stored = {size: simulated(folder, size) for size in (small, large)}
    shapes = {size: (cells.num_genes, len(cells.batch_names)) for size, cells in stored.items()}
    (num_genes, num_batches), *others = dict.fromkeys(shapes.values())
    if others:
        sys.exit(f"the files differ in genes or batches: {shapes}; choose larger ones")
    model = vae.build(num_genes=num_genes, num_batches=num_batches, num_latents=128)
    in_memory = device_counts(stored[small].select(np.arange(stored[small].num_cells)))
    with stored[small].reader() as small_reader, stored[large].reader() as large_reader:
        contestants = {
            "in_memory": Loop(InMemory(in_memory), model, options),
            "streamed": Loop(Streamed(small_reader), model, options),
            "streamed_large": Loop(Streamed(large_reader), model, options),
            # Without reading ahead, which would go on in the turns of the others.
            "reading_large": Reading(Streamed(large_reader, prefetch=0), options),
        }
        rates = in_turns(contestants, arguments)

    def ratio(one: str, other: str) -> float:
        pairs = zip(rates[one], rates[other], strict=True)
        return statistics.median(statistics.median(a) / statistics.median(b) for a, b in pairs)

    return {
        "num_cells": [small, large],
        "cells_per_second": {
            name: statistics.median(itertools.chain(*values)) for name, values in rates.items()
        },
        "streamed_to_in_memory": ratio("streamed", "in_memory"),
        "time_per_cell_large_to_small": ratio("streamed", "streamed_large"),
        "reading_to_training": ratio("reading_large", "in_memory"),
        "peak_resident_gibibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


if __name__ == "__main__":
    main()
