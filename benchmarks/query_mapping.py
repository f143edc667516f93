"""A batch that is mapped onto a model trained without it, beside a model trained with it.

python benchmarks/query_mapping.py --path=cells.h5ad --batch_column=batch --label_column=cell_type

Each of the first batches (`--num_batches`) is left out in turn. Both models are at the default
configuration. Printed: wall time of `map_query` to that of training with the batch, for the frozen
model and with new batch effects trained, each compiled before, and of the first call of all; the
share of the batch's cells whose nearest cells of other batches tell their type; scIB of all cells.
The embedding is the frozen encoder's either way. Without --path on simulated cells.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import anndata
import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

import qbm_jax
from benchmarks.kit.figures import keep
from qbm_jax.data import simulate
from qbm_jax.metrics.nearest import nearest_types


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", default="", help="an h5ad file with raw counts in X")
    parser.add_argument("--batch_column", default="batch")
    parser.add_argument("--label_column", default="cell_type")
    parser.add_argument("--num_batches", type=int, default=3, help="left out, one after another")
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--smoke", action="store_true", help="few simulated cells and steps")
    return parser.parse_args()


def read(args: argparse.Namespace) -> anndata.AnnData:
    """The cells, of which all have a type."""
    if args.path and not args.smoke:
        cells = anndata.read_h5ad(args.path)
        return cells[cells.obs[args.label_column].notna()].copy()
    made = simulate(jax.random.key(0), num_cells=400, num_genes=100)
    return anndata.AnnData(made.counts, obs=made.obs, var=made.var)


def timed(call: Any) -> tuple[Any, float]:
    """What a call gives, and its seconds."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def compared(args: argparse.Namespace, cells: anndata.AnnData, batch: str) -> dict[str, float]:
    """One batch left out: times, transferred types, scores."""
    options: dict[str, Any] = {"batch_column": args.batch_column, "progress": False}
    if args.smoke:
        options["training_options"] = {"num_steps": 10}
    is_query = (cells.obs[args.batch_column] == batch).to_numpy()
    reference, query = cells[~is_query].copy(), cells[is_query].copy()
    types = cells.obs[args.label_column].astype(str).to_numpy()
    whole, seconds = timed(lambda: qbm_jax.fit(cells.copy(), **options))
    model = qbm_jax.fit(reference, **options)

    def mapping(fine_tune: bool = True) -> Any:
        return model.map_query(query, args.batch_column, fine_tune=fine_tune)

    mapped, first = timed(mapping)
    again, frozen = timed(mapping)[1], timed(lambda: mapping(False))[1]
    cells.obsm["X_mapped"], cells.obsm["X_trained"] = mapped.embed(cells), whole.embed(cells)
    found = {"seconds": seconds, "first": first, "tuned": again, "frozen": frozen}
    known = np.isin(types, types[~is_query])
    for name in ("mapped", "trained"):
        points = cells.obsm[f"X_{name}"]
        told = nearest_types(points[~is_query], types[~is_query], points[is_query & known])
        found[f"transfer_{name}"] = float(np.mean(told == types[is_query & known]))
    scores = mapped.score(
        cells, label_column=args.label_column, batch_column=args.batch_column,
        baselines=("X_mapped", "X_trained"),
    ).to_frame()  # fmt: skip
    for name in ("mapped", "trained"):
        found[f"scib_{name}"] = float(scores.loc[f"X_{name}", "total"])
    return found


def main() -> None:
    """Prints a line a batch, then medians."""
    args = arguments()
    cells = read(args)
    sizes = cells.obs[args.batch_column].value_counts()
    batches = list(sizes.index[: 1 if args.smoke else args.num_batches])
    figures = {}
    for batch in batches:
        one = figures[str(batch)] = compared(args, cells, batch)
        print(
            f"{batch}: map_query takes {one['frozen'] / one['seconds']:.3f} of the training when "
            f"frozen, {one['tuned'] / one['seconds']:.3f} with new effects trained "
            f"({one['first'] / one['seconds']:.3f} when first called); types transferred "
            f"{one['transfer_mapped']:.3f} (trained with it {one['transfer_trained']:.3f}), scIB "
            f"{one['scib_mapped']:.3f} ({one['scib_trained']:.3f})",
            flush=True,
        )
    for name, other in (("transfer", "types transferred"), ("scib", "scIB")):
        gaps = [one[f"{name}_mapped"] - one[f"{name}_trained"] for one in figures.values()]
        print(f"{other}, mapped minus trained: median {statistics.median(gaps):+.3f} of {gaps}")
    for way in ("frozen", "tuned", "first"):
        ratios = [one[way] / one["seconds"] for one in figures.values()]
        print(f"time of mapping to training, {way}: median {statistics.median(ratios):.3f}")
    keep(figures, args.json)


if __name__ == "__main__":
    main()
